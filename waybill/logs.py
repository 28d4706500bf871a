"""One JSON object per line for everything that is logged, with the id of the request and without secrets."""

import json
import logging
import random
import re
import sys
import time
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from graph.errors import refusal
from models.trace import RequestTrace, current

# What every record has; whatever else is on one was given as ``extra``.
_STANDARD = {*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "color_message"}
_SECRETS = (  # what to look for first, in lower case, because expressions take twenty times as long
    ("wb_", re.compile(r"(wb_[0-9a-z]+_)[0-9a-z_-]+", re.IGNORECASE), r"\1***"),
    ("eyj", re.compile(r"(?<![\w-])(eyJ[\w-]*\.)[\w-]+\.[\w-]*"), r"\1***"),  # a JSON Web Token
    ("bearer", re.compile(r"(bearer\s+)(?!wb_)[^\s\"',}\\]+", re.IGNORECASE), r"\1***"),
    (
        "://",
        re.compile(r"((?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,31}://[^\s/:@\"]*:)[^\s\"/\\]*@", re.IGNORECASE),
        r"\1***@",
    ),
    ("password", re.compile(r"(password\\?[\"']?\s*[=:]\s*\\?[\"']?)[^\s\"',;&\\]+", re.IGNORECASE), r"\1***"),
)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{8,64}")
_LONGEST_PATH = 500
_CLIENT_CLOSED_REQUEST = 499  # nginx's number for a client that went away

_access = logging.getLogger("waybill.access")
_random = random.Random()  # noqa: S311 - ids are no secrets, and each of the system's numbers is a call of it


def redact(text: str) -> str:
    """``text`` without the secrets of API keys and without passwords."""
    lowered = text.lower()
    for hint, pattern, replacement in _SECRETS:
        if hint in lowered:
            text = pattern.sub(replacement, text)
    return text


class JsonFormatter(logging.Formatter):
    """Redacts the finished line, so that a secret is caught wherever it came from: arguments, extras or a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (trace := current.get()) is not None:
            line["request_id"] = trace.request_id
        line.update((name, value) for name, value in record.__dict__.items() if name not in _STANDARD)
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return redact(_encode(line))


def _encode(line: dict[str, Any]) -> str:
    try:
        return orjson.dumps(line, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits
        return json.dumps(line, default=repr, ensure_ascii=False).encode(errors="replace").decode()


def configure(level: str) -> None:
    """Send the records of ``level`` and above, uvicorn's and warnings included, to standard error.

    Raises ValueError if there is no such level. Start uvicorn with ``log_config=None`` and ``access_log=False``.
    """
    root = logging.getLogger()
    root.setLevel(level.upper())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root.handlers = [handler]
    logging.captureWarnings(True)
    # Their records below that hold the parameters of every statement, that is the users' data, and signed URLs.
    for name in ("tortoise", "asyncpg", "aiobotocore", "botocore", "httpx"):
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))


class RequestLog:
    """ASGI middleware, to be the first: names every request, logs it in one line, and answers what failed unforeseen.

    A client's own X-Request-Id is kept if it is well-formed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        trace = RequestTrace(_request_id(scope))

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                trace.status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", trace.request_id.encode())]
            await send(message)

        token = current.set(trace)
        try:
            await self.app(scope, receive, send_named)
        except Exception as error:  # noqa: BLE001 - the last one who can tell the client its request id
            refused = refusal(error, trace.request_id)
            if trace.status is None:
                response = JSONResponse({"errors": refused.errors}, refused.status or 500, refused.headers)
                await response(scope, receive, send_named)
        finally:
            if _access.isEnabledFor(logging.INFO):
                extra = {
                    "method": scope["method"],
                    "path": scope["path"][:_LONGEST_PATH],
                    "status": trace.status or _CLIENT_CLOSED_REQUEST,
                    "duration_ms": round((time.perf_counter() - started) * 1000, 2),
                    "operation": trace.operation_name,
                    "key_id": trace.key_id,
                    "points": trace.cost and trace.cost["requested"],
                    "statements": trace.statements,
                }
                _access.info("request", extra=extra)
            current.reset(token)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return f"{_random.getrandbits(64):016x}"
