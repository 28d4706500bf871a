"""Notices as Prometheus sees them."""

from prometheus_client import Counter

_OUTCOMES = {
    201: "queued",
    401: "unsigned",
    403: "forbidden",
    409: "known",
    412: "limited",
    429: "limited",
    503: "unavailable",
    500: "failed",
}

_notices = Counter("waybill_sync_notices_total", "notices of files to copy, by what became of them", ["outcome"])


def count(status: int) -> None:
    """By the status of the answer: others are invalid."""
    _notices.labels(_OUTCOMES.get(status, "invalid")).inc()


def count_gone() -> None:
    """Whose sender did not wait for the answer."""
    _notices.labels("gone").inc()
