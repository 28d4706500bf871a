"""What is known of the request being answered, for its line in the log. Tasks of one request share one record."""

import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from prometheus_client import Counter

from models.turns import Tenants, Turns


@dataclass(slots=True)
class RequestTrace:
    request_id: str
    operation: str = "none"  # its kind, as soon as that is known: query, mutation
    operation_name: str | None = None
    key_id: str | None = None  # the public part of the API key
    cost: Mapping[str, object] | None = None  # in points, as the answer shows it
    statements: int = 0  # SQL statements, transaction control not counted
    tenant_id: int | None = None  # whose turns at the database it takes, as soon as that is known
    turns: Turns | None = None  # since it took the first
    began: float = field(default_factory=time.monotonic)
    let_in: float | None = None  # when its caller was, where that was before it began


_statements = Counter("waybill_statements_total", "SQL statements, transaction control not counted")
current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


def count_statement() -> None:
    _statements.inc()
    if (trace := current.get()) is not None:
        trace.statements += 1


async def take_turn(tenants: Tenants) -> Turns | None:
    """To be given back, if there is one: what nobody asked for by a request waits for none."""
    trace = current.get()
    if trace is None or trace.tenant_id is None:
        return None
    if trace.turns is None:
        trace.turns = tenants.turns(trace.tenant_id)
    turns = trace.turns
    await turns.take()
    return turns
