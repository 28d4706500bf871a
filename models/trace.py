"""What is known of the request being answered, for its line in the log. Tasks of one request share one record."""

import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

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
    status: int | None = None  # of the answer, as soon as it is sent
    let_in: float | None = None  # when its caller was, where that was before it began


class _Statements(Collector):
    """Counted by ourselves, as prometheus_client's counters take as long as sending one does."""

    sent = 0

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "waybill_statements_total", "SQL statements, transaction control not counted", value=self.sent
        )


_statements = _Statements()
REGISTRY.register(_statements)
current: ContextVar[RequestTrace | None] = ContextVar("request_trace", default=None)


def count_statement() -> None:
    _statements.sent += 1
    if (trace := current.get()) is not None:
        trace.statements += 1


def turns(tenants: Tenants) -> Turns | None:
    """Of the request, if there is one: what nobody asked for by a request waits for none."""
    trace = current.get()
    if trace is None or trace.tenant_id is None:
        return None
    if trace.turns is None:
        trace.turns = tenants.turns(trace.tenant_id)
    return trace.turns
