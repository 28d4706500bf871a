"""Notices over HTTP: another application tells of a file in S3, signed, and asks how many are copied.

In the form of the system that had this address before, whose clients go on as they are: not that of GraphQL's errors.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from access.requests import Refused, Request
from access.senders import NotSigned, Senders, Source
from access.signatures import TIMESTAMP_HEADER
from models import faults, sources
from models.errors import (
    Conflict,
    NotFound,
    QuotaExceeded,
    RateLimited,
    TenantSuspended,
    Unavailable,
    WaybillError,
    short,
)
from models.notices import Outcome
from sync import metrics, notice
from sync.notice import BadNotice
from sync.queue import Crowded, Queue

MOST_BYTES = 16 * 1024
_METHODS = "GET, HEAD, POST"
_TIMESTAMP = TIMESTAMP_HEADER.lower().encode()
_AGAIN_SECONDS = 1
_PAUSED_SECONDS = 60
_LONGEST_LOGGED = 200

_MASKED = "Something went wrong on our side. Report the X-Request-Id of this answer."
_UNAVAILABLE = "The service cannot take notices at the moment: send it again later. If it was queued you get 409 then."
_KNOWN = {
    Outcome.ALREADY: "The file is queued or synced already.",
    Outcome.SEALED: "The batch is sealed: nothing is added to it.",
    Outcome.OTHER_BATCH: "The object is in another batch.",
}

_log = logging.getLogger(__name__)


class Known(Conflict):
    """There is nothing to be done, or nothing that may be."""


class SourcePaused(Unavailable):
    """The source is paused: send it again later."""


class NoSecrets(Unavailable):
    """There is no key that opens secrets: set WAYBILL_ENCRYPTION_KEYS."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""  # for the log, of a request that is refused


class NoticeEndpoint:
    """An ASGI application, for paths with and without a parameter ``source``.

    ``senders`` is None where there is no key that opens their secrets. ``reserve`` raises RateLimited when the source
    of that id has sent too much, ``count_failed`` when too much came from an address that nobody had signed.
    """

    def __init__(
        self,
        senders: Senders | None,
        queue: Queue,
        *,
        reserve: Callable[[int], Awaitable[None]],
        count_failed: Callable[[str], Awaitable[None]],
        limited_status: int,
        max_id_characters: int,
        timeout_seconds: float,
    ) -> None:
        self._senders = senders
        self._queue = queue
        self._reserve = reserve
        self._count_failed = count_failed
        self._limited_status = limited_status
        self._max_id_characters = max_id_characters
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        address: str | None = scope["path_params"].get("source")
        try:
            async with asyncio.timeout(self._timeout_seconds):
                answer = await self._serve(request, address)
        except ClientDisconnect:
            if request.method == "POST":
                metrics.count_gone()
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is masked and logged in one place
            answer = self._refusal(error)
        if answer.reason:
            source = address if self._senders is None else self._senders.name(address)
            extra = {"source": short(source or "", _LONGEST_LOGGED), "reason": answer.reason, "status": answer.status}
            _log.log(logging.WARNING if answer.status >= 500 else logging.INFO, "a notice was refused", extra=extra)
        if request.method == "POST":
            metrics.count(answer.status)
        await _send(send, answer, with_body=request.method != "HEAD")

    async def _serve(self, request: Request, address: str | None) -> _Answer:
        """Raises what ``_refusal`` knows, and whatever else goes wrong."""
        if request.method not in ("GET", "HEAD", "POST"):
            raise Refused(f"{short(request.method)} is no method of this address: use POST.", 405, allow=_METHODS)
        if self._senders is None:
            raise NoSecrets
        if request.method != "POST":
            source = await (self._senders.default() if address is None else self._signed(self._senders, request, b""))
            stats = await sources.stats(source.tenant_id, source.id)
            counts = {"synced_objects_count": stats.synced, "queued_objects_count": stats.queued + stats.running}
            return _Answer(200, counts)
        request.check_content()
        body = await request.body(request.length(MOST_BYTES))
        source = await self._signed(self._senders, request, body)
        if source.paused:
            raise SourcePaused
        await self._reserve(source.id)
        signature = bytes.fromhex(request.header(b"authorization") or "")
        told = notice.read(body, signature, max_id_characters=self._max_id_characters)
        outcome = await self._queue.request(source.tenant_id, source.id, told)
        if outcome is not Outcome.QUEUED:
            raise Known(_KNOWN[outcome])
        return _Answer(201, {"detail": "Object queued for sync"})

    async def _signed(self, senders: Senders, request: Request, body: bytes) -> Source:
        try:
            return await senders.let_in(
                request.scope["path_params"].get("source"),
                body,
                request.header(b"authorization"),
                request.header(_TIMESTAMP),
            )
        except NotSigned:
            await self._count_failed(request.address)
            raise

    def _refusal(self, error: Exception) -> _Answer:
        match error:
            case Refused():
                return _Answer(error.status, {"detail": error.message}, error.headers, error.message)
            case BadNotice():
                shown = {"detail": str(error)} | ({"errors": error.errors} if error.errors else {})
                fields = ", ".join(one["field"] for one in error.errors)
                return _Answer(400, shown, reason=f"bad fields: {fields}" if fields else str(error))
            case NotSigned():
                return _refused(401, error, error.reason, {"www-authenticate": "HMAC-SHA256"})
            case RateLimited():
                headers = {"retry-after": str(error.extensions["retryAfter"])}
                return _refused(self._limited_status, error, "too many requests", headers)
            case TenantSuspended() | QuotaExceeded():
                return _refused(403, error, str(error))
            case NotFound():
                return _refused(404, error, str(error))
            case Known():
                return _refused(409, error, str(error))
            case SourcePaused():
                return _refused(503, error, "the source is paused", {"retry-after": str(_PAUSED_SECONDS)})
        known = error if isinstance(error, WaybillError) else faults.translate(error)
        if known is None:
            _log.error("unexpected %s", type(error).__name__, exc_info=error)
            return _Answer(500, {"detail": _MASKED}, reason=type(error).__name__)
        detail = str(known) if isinstance(known, Crowded) else _UNAVAILABLE
        cause = str(known) if known is error else repr(error)
        return _Answer(503, {"detail": detail}, {"retry-after": str(_AGAIN_SECONDS)}, cause)


def _refused(status: int, error: Exception, reason: str, headers: Mapping[str, str] | None = None) -> _Answer:
    return _Answer(status, {"detail": str(error)}, headers or {}, reason)


async def _send(send: Send, answer: _Answer, *, with_body: bool) -> None:
    body = orjson.dumps(answer.content)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *((name.encode(), value.encode()) for name, value in answer.headers.items()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body if with_body else b""})
