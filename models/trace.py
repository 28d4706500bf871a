"""What is known of the request being answered, for its line in the log. Tasks of one request share one record."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class RequestTrace:
    request_id: str
    operation_name: str | None = None
    key_id: str | None = None  # the public part of the API key
    statements: int = 0  # SQL statements, transaction control not counted


current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


def count_statement() -> None:
    if (trace := current.get()) is not None:
        trace.statements += 1
