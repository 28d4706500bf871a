"""Prometheus metrics on a port of their own, so that whoever reaches the public one does not see them."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import disable_created_metrics, start_http_server

from waybill.settings import Settings


class MetricsError(Exception):
    """The metrics cannot be served; the message says what is wrong and what to do."""


@contextmanager
def served(settings: Settings) -> Iterator[None]:
    """By threads: whoever asks is answered while the event loop works, which does not wait for him either.

    Raises MetricsError.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if port == 0:
        yield
        return
    disable_created_metrics()  # type: ignore[no-untyped-call]  # when each was made: it would double them all
    try:
        server, thread = start_http_server(port, host)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise MetricsError(
                f"port {port} on {host} is taken, where the metrics should be: each process needs a"
                " WAYBILL_METRICS_PORT of its own, or 0 for none"
            ) from None
        raise MetricsError(f"cannot serve metrics on {host}, port {port}: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
