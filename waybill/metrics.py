"""Prometheus metrics on a port of their own, so that whoever reaches the public one does not see them."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from prometheus_client import disable_created_metrics, make_wsgi_app, start_http_server

from waybill.health import lacking
from waybill.settings import Settings

if TYPE_CHECKING:  # there is none of it at run time
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class MetricsError(Exception):
    """The metrics cannot be served; the message says what is wrong and what to do."""


@contextmanager
def served(settings: Settings, lacks: Callable[[], Sequence[str]] | None = None) -> Iterator[None]:
    """By threads: whoever asks is answered while the event loop works, which does not wait for him either.

    With ``lacks``, which says what a process without another port lacks to work, beside its readiness (``/readyz``).
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
    if lacks is not None:
        server.set_app(_with_readiness(make_wsgi_app(), lacks))
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _with_readiness(shown: "WSGIApplication", lacks: Callable[[], Sequence[str]]) -> "WSGIApplication":
    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            return shown(environ, start_response)
        names = lacks()
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        start_response("503 Service Unavailable" if names else "200 OK", headers)
        return [orjson.dumps({"status": lacking(names) if names else "ok"})]

    return answer
