"""Prometheus metrics on a port of their own, so that whoever reaches the public one does not see them."""

import errno
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from threading import Thread
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import disable_created_metrics, make_wsgi_app

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
    shown = make_wsgi_app()
    try:
        server = make_server(host, port, _with_readiness(shown, lacks) if lacks else shown, _server_for(host), _Silent)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise MetricsError(
                f"port {port} on {host} is taken, where the metrics should be: each process needs a"
                " WAYBILL_METRICS_PORT of its own, or 0 for none"
            ) from None
        raise MetricsError(f"cannot serve metrics on {host}, port {port}: {error.strerror}") from error
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Being asked every few seconds is nothing to tell of."""


def _server_for(host: str) -> type[_Server]:
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    return type("_Server", (_Server,), {"address_family": family})


def _with_readiness(shown: "WSGIApplication", lacks: Callable[[], Sequence[str]]) -> "WSGIApplication":
    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            return shown(environ, start_response)
        names = lacks()
        headers = [("content-type", "application/json"), ("cache-control", "no-store")]
        start_response("503 Service Unavailable" if names else "200 OK", headers)
        return [orjson.dumps({"status": lacking(names) if names else "ok"})]

    return answer
