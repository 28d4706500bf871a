"""An answer of the endpoint, and how it is sent."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from starlette.types import Send

from access.requests import JSON
from graph import metrics
from graph.errors import RequestError
from graph.metrics import Outcome
from graph.transport import GRAPHQL_RESPONSE
from models.trace import RequestTrace

_HEADERS = {
    media_type: [(b"content-type", f"{media_type}; charset=utf-8".encode()), (b"cache-control", b"no-store")]
    for media_type in (JSON, GRAPHQL_RESPONSE)
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


async def send_answer(send: Send, answer: Answer, media_type: str) -> None:
    headers = [*_HEADERS[media_type], (b"content-length", str(len(answer.body)).encode())]
    headers.extend((name.encode(), value.encode()) for name, value in answer.headers.items())
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
