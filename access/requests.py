"""What is read of an HTTP request before anybody knows whose it is: bounded, and the same for all endpoints."""

import asyncio
from typing import Protocol

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

JSON = "application/json"
UTF_8 = ("utf-8", "utf8")
SMALL_BYTES = 512 * 1024  # that a body may have whose length is not declared

EXCHANGE = "waybill.exchange"  # in the scope

_PLAIN = JSON.encode()
_BODY_SECONDS = 30


class Refused(Exception):
    """The request is not one that the endpoint takes. ``headers`` are written with underscores."""

    def __init__(self, message: str, status: int, **headers: str) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Exchange(Protocol):
    """What our server offers beside ASGI: a small request and its answer, each at once."""

    def body(self) -> bytes | None:
        """The whole of it, where it has arrived."""

    def answer(self, status: int, head: bytes, body: bytes) -> bool:
        """False where ``send`` has to do it. ``head`` are lines of headers, without the body's length."""


class Request:
    """What endpoints look at of an HTTP request; Starlette's takes ten times as long to find a header."""

    __slots__ = ("_headers", "exchange", "method", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self.exchange: Exchange | None = scope.pop(EXCHANGE, None)  # which has the scope in turn

    def header(self, name: bytes) -> str | None:
        value = self._headers.get(name)
        return value if value is None else value.decode("latin-1")

    @property
    def address(self) -> str:
        """Of the client, or of the proxy it comes by unless that is trusted; empty where there is none."""
        client = self.scope.get("client")
        return client[0] if client else ""

    def has_parameter(self, name: bytes) -> bool:
        return any(part.partition(b"=")[0] == name for part in self.scope["query_string"].split(b"&"))

    def check_content(self) -> None:
        """Raises Refused (415) unless it is JSON in UTF-8, which other sites' pages cannot send unasked."""
        if self._headers.get(b"content-type") == _PLAIN and b"content-encoding" not in self._headers:
            return
        name, parameters = media_type(self.header(b"content-type") or "")
        if name != JSON:
            raise Refused(f'The request needs the header "Content-Type: {JSON}".', 415, accept=JSON)
        if parameters.get("charset", "utf-8") not in UTF_8:
            raise Refused("The request must be encoded in UTF-8.", 415, accept=JSON)
        if self.header(b"content-encoding") not in (None, "", "identity"):
            raise Refused("The request must not be compressed.", 415, accept_encoding="identity")

    def length(self, most_bytes: int) -> int:
        """Of the body. Raises Refused: 413 if it is longer, 411 if it is not declared and may be large.

        Starlette's max_body_size is of no use here: it replaces every answer to a long request by plain text.
        """
        declared = self._headers.get(b"content-length")
        if declared is None:
            return min(SMALL_BYTES, most_bytes)
        if not declared.isdigit() or int(declared[:20]) > most_bytes:
            raise _too_large(most_bytes)
        return int(declared)

    async def body(self, most_bytes: int) -> bytes:
        """Raises Refused when it is longer than that (413) or takes too long (408), and ClientDisconnect."""
        if self.exchange is not None and (body := self.exchange.body()) is not None and len(body) <= most_bytes:
            return body
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await self._body(most_bytes)
        except TimeoutError:
            message = f"The body did not arrive within {_BODY_SECONDS} seconds."
            raise Refused(message, 408, connection="close") from None

    async def _body(self, most_bytes: int) -> bytes:
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
            size += len(chunks[-1])
            if size > most_bytes:
                if most_bytes == SMALL_BYTES and b"content-length" not in self._headers:
                    raise Refused(f"A body of more than {most_bytes:,} bytes needs the header Content-Length.", 411)
                raise _too_large(most_bytes)
        return b"".join(chunks)


def _too_large(most_bytes: int) -> Refused:
    return Refused(f"The body has more than {most_bytes:,} bytes.", 413)


def media_type(text: str) -> tuple[str, dict[str, str]]:
    name, *parts = text.lower().split(";")
    pairs = (part.partition("=") for part in parts)
    return name.strip(), {key.strip(): value.strip().strip('"') for key, _, value in pairs}
