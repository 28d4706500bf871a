"""An answer of the endpoint, and how it is sent."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from starlette.types import Send

from access.requests import JSON, Exchange
from graph import metrics
from graph.errors import RequestError
from graph.metrics import Outcome
from graph.transport import GRAPHQL_RESPONSE
from models.trace import RequestTrace

_HEADERS = {
    media_type: [(b"content-type", f"{media_type}; charset=utf-8".encode()), (b"cache-control", b"no-store")]
    for media_type in (JSON, GRAPHQL_RESPONSE)
}
_HEADS = {
    media_type: b"".join(b"%b: %b\r\n" % header for header in headers) + b"x-request-id: "
    for media_type, headers in _HEADERS.items()
}


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str]
    outcome: Outcome


def refused(error: RequestError, media_type: str | None, trace: RequestTrace) -> Answer:
    status = error.status or (400 if media_type == GRAPHQL_RESPONSE else 200)
    answer: dict[str, Any] = {"errors": error.errors}
    if trace.cost is not None:
        answer["extensions"] = {"cost": trace.cost}
    metrics.count_errors(error.errors)
    outcome = Outcome.FAILED if status >= 500 else Outcome.REFUSED
    return Answer(status, orjson.dumps(answer, default=str), error.headers, outcome)


async def send_answer(
    send: Send, answer: Answer, media_type: str, exchange: Exchange | None, trace: RequestTrace
) -> None:
    """By the ``exchange``, if there is one."""
    if exchange is not None and not answer.headers:
        head = _HEADS[media_type] + trace.request_id.encode() + b"\r\n"
        if exchange.answer(answer.status, head, answer.body):
            trace.status = answer.status
            return
    headers = [*_HEADERS[media_type], (b"content-length", str(len(answer.body)).encode())]
    headers.extend((name.encode(), value.encode()) for name, value in answer.headers.items())
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
