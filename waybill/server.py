"""How uvicorn runs the application, in `waybill serve` and `waybill dev` alike."""

import asyncio
import gc
import logging
import resource
import secrets
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from access.requests import EXCHANGE
from graph.errors import bad_request
from waybill.awake import Awake
from waybill.settings import Settings
from waybill.unsent import Unsent

HEAD_SECONDS = 20
MOST_HEAD_BYTES = 64 * 1024
# Each takes a file descriptor, and the connections to PostgreSQL and the page's files need some too.
MOST_CONNECTIONS = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] * 9 // 10)

_awake = Awake()
_unsent = Unsent()
_access = logging.getLogger("waybill.access")


class _Exchange:
    """A request and its answer: the transport of what ASGI sends, and the way past its messages.

    The head of an answer waits for what comes next, so that small answers are sent at once: by themselves they would be
    one call of the system more, and wake up the client for a part of what it waits for. ASGI's messages take as long as
    a tenth of a small request; ``body`` and ``answer`` do without.
    """

    def __init__(self, protocol: "Protocol", cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle
        self._transport = protocol.transport
        self._head: bytes | None = None
        self.is_closing = protocol.transport.is_closing

    def write(self, data: bytes) -> None:
        if self._head is None and not data.startswith(b"HTTP/1.1 100 "):
            self._head = data
        elif not self.is_closing():
            head, self._head = self._head or b"", b""
            self._transport.write(head + data if head else data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def ended(self) -> None:
        self._flush()
        self._cycle.transport = self._transport  # lest the two keep each other for the collector
        self._protocol.unanswered.remove(self._cycle)
        _awake.answered(self._protocol.loop, self._protocol.tasks)
        self._protocol.on_response_complete()

    def _flush(self) -> None:
        if self._head:
            self.write(b"")

    def body(self) -> bytes | None:
        return None if self._cycle.more_body else bytes(self._cycle.body)

    def answer(self, status: int, head: bytes, body: bytes) -> bool:
        cycle, protocol = self._cycle, self._protocol
        if protocol.flow.write_paused or cycle.response_started:
            return False
        if cycle.disconnected or self.is_closing():
            cycle.disconnected = True  # of which it is told in another turn of the event loop
            return True
        dated = [b"%b: %b\r\n" % header for header in protocol.server_state.default_headers]
        length = b"content-length: %d\r\n" % len(body)
        end = b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n"
        self._transport.write(b"".join((STATUS_LINE[status], *dated, head, length, end, body)))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self._transport.close()
        self.ended()
        return True


class Protocol(HttpToolsProtocol):
    """Bounds what uvicorn does not: connections, the size of a request's head, how long it may be on its way, and what
    waits for a client that does not take its answer, who is not asked for his next request before.

    A client that sends nothing between two requests is left to ``timeout_keep_alive``, and one that is slow with a body
    that somebody waits for, to the endpoint.
    """

    _late: asyncio.TimerHandle | None = None
    _is_answered = False  # and the answer is waiting to be taken
    _broken: tuple[int, str] | None = None  # what follows requests that wait for their answers
    _bytes = 0  # of the request on its way, without its body: the head, the framing of chunks, trailers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.unanswered: list[RequestResponseCycle] = []
        if len(self.connections) > MOST_CONNECTIONS:
            _access.warning("a connection was refused: there are %d", MOST_CONNECTIONS)
            transport.abort()
        else:
            self._late = self.loop.call_later(HEAD_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        _unsent.ended(self.transport)
        while self.unanswered:  # uvicorn tells the last one only
            self._tell(self.unanswered.pop())
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._broken is not None:
            return
        self._bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._bytes > MOST_HEAD_BYTES:
            message = f"The request has more than {MOST_HEAD_BYTES:,} bytes beside its body: send long queries by POST."
            self._refuse(431, message)
        elif self._late is None and (self.cycle is None or self.cycle.response_complete):
            # Of the next request, or of a body that nobody waits for any more.
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def on_headers_complete(self) -> None:
        self._in_time()
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not None and self.cycle is not before:  # it begins in another turn of the event loop
            self.unanswered.append(self.cycle)
            exchange = _Exchange(self, self.cycle)
            self.cycle.transport = exchange  # type: ignore[assignment]  # all that it needs
            self.cycle.on_response = exchange.ended
            _awake.asked(self.loop, self.tasks)
            self.scope[EXCHANGE] = exchange  # type: ignore[literal-required]

    def on_body(self, body: bytes) -> None:
        self._bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        _unsent.began(self.transport)

    def resume_writing(self) -> None:
        _unsent.ended(self.transport)
        super().resume_writing()
        if self._is_answered:
            self._is_answered = False
            self.on_response_complete()

    def on_response_complete(self) -> None:
        if self.flow.write_paused and not self.transport.is_closing():
            self._is_answered = True
            self.flow.pause_reading()
        elif self._broken is not None and not self.pipeline:
            self._say(*self._broken)
        else:
            super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _tell(self, cycle: RequestResponseCycle) -> None:
        """That nobody waits for its answer."""
        cycle.disconnected = True
        cycle.message_event.set()
        cycle.transport = self.transport

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: int, message: str) -> None:
        """Where requests before it wait for their answers, after those, lest one is taken for another."""
        if self.unanswered and self.unanswered[-1].more_body:  # of the request itself, which is not to begin
            if self.pipeline:
                self.pipeline.popleft()
            self._tell(self.unanswered.pop())
        if self.unanswered:
            self._broken = status, message
        else:
            self._say(status, message)

    def _say(self, status: int, message: str) -> None:
        """In the form of all errors, although no application sees the request."""
        request_id = secrets.token_hex(8)
        body = orjson.dumps({"errors": bad_request(message).errors})
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
        _access.info("request", extra={"request_id": request_id, "status": status})


# The log is ours, requests included, and nobody is told what serves them.
UVICORN: dict[str, Any] = {
    "http": Protocol,
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
    "server_header": False,
}


def settle() -> None:
    """Spare the garbage collector what is there by now and stays: the schema, the modules, the application.

    It would look at all of it again and again, which took a quarter of the time of small requests; and what they leave
    behind has few cycles. It may have been kept from looking until now.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000, 20, 20)


def uvicorn_options(settings: Settings) -> dict[str, Any]:
    """``scope["client"]`` is the first address before the trusted proxies, or the peer's own."""
    proxies = list(settings.trusted_proxies)
    return {**UVICORN, "proxy_headers": bool(proxies), "forwarded_allow_ips": proxies}
