"""Requests as Prometheus sees them. Labels have a few values that are known beforehand, whatever clients send."""

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import accumulate
from typing import Any

from prometheus_client import REGISTRY, Counter, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from models.trace import RequestTrace


class Outcome(StrEnum):
    OK = "ok"
    ERRORS = "errors"  # of fields
    REFUSED = "refused"  # as a whole: by a status of 4xx, or of 200 for clients that want one
    FAILED = "failed"  # by a status of 5xx
    GONE = "gone"  # the client


_KINDS = ("query", "mutation", "subscription", "none")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_errors = Counter("waybill_errors_total", "errors in answers", ["code"])


class _Requests(Collector):
    """Counted by ourselves: prometheus_client's counters and histograms take ten times as long."""

    def __init__(self) -> None:
        self._counts = {kind: dict.fromkeys(Outcome, 0) for kind in _KINDS}
        self._slots = {kind: [0] * (len(_SECONDS) + 1) for kind in _KINDS}  # of durations, the longest in the last
        self._seconds = dict.fromkeys(_KINDS, 0.0)

    def count(self, kind: str, outcome: Outcome) -> None:
        self._counts[kind][outcome] += 1

    def observe(self, kind: str, seconds: float) -> None:
        self._slots[kind][bisect_left(_SECONDS, seconds)] += 1
        self._seconds[kind] += seconds

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "waybill_requests_total", "requests to /graphql", labels=["operation", "outcome"]
        )
        durations = HistogramMetricFamily("waybill_request_seconds", "until they are answered", labels=["operation"])
        bounds = [*map(floatToGoString, _SECONDS), "+Inf"]
        for kind in _KINDS:
            for outcome, count in self._counts[kind].items():
                requests.add_metric([kind, outcome], count)
            until = list(zip(bounds, accumulate(self._slots[kind]), strict=True))
            durations.add_metric([kind], until, self._seconds[kind])
        yield requests
        yield durations


_requests = _Requests()
REGISTRY.register(_requests)


def count(trace: RequestTrace, outcome: Outcome) -> None:
    _requests.count(trace.operation, outcome)
    if outcome is not Outcome.GONE:
        _requests.observe(trace.operation, time.monotonic() - trace.began)


def count_errors(errors: Iterable[Mapping[str, Any]]) -> None:
    """In the form in which clients see them: each has one of our codes."""
    for error in errors:
        _errors.labels(error["extensions"]["code"]).inc()
