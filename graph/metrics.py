"""Requests as Prometheus sees them. Labels have a few values that are known beforehand, whatever clients send."""

import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from prometheus_client import Counter, Histogram

from models.trace import RequestTrace


class Outcome(StrEnum):
    OK = "ok"
    ERRORS = "errors"  # of fields
    REFUSED = "refused"  # as a whole: by a status of 4xx, or of 200 for clients that want one
    FAILED = "failed"  # by a status of 5xx
    GONE = "gone"  # the client


_KINDS = ("query", "mutation", "subscription", "none")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

_requests = Counter("waybill_requests_total", "requests to /graphql", ["operation", "outcome"])
_durations = Histogram("waybill_request_seconds", "until they are answered", ["operation"], buckets=_SECONDS)
_errors = Counter("waybill_errors_total", "errors in answers", ["code"])

# Looking up what belongs to labels takes longer than counting.
_counted = {(kind, outcome): _requests.labels(kind, outcome) for kind in _KINDS for outcome in Outcome}
_timed = {kind: _durations.labels(kind) for kind in _KINDS}


def count(trace: RequestTrace, outcome: Outcome) -> None:
    _counted[trace.operation, outcome].inc()
    if outcome is not Outcome.GONE:
        _timed[trace.operation].observe(time.monotonic() - trace.began)


def count_errors(errors: Iterable[Mapping[str, Any]]) -> None:
    """In the form in which clients see them: each has one of our codes."""
    for error in errors:
        _errors.labels(error["extensions"]["code"]).inc()
