"""The HTTP side of a GraphQL request: which answer it accepts, and its parameters."""

import asyncio
import gc
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from graph.errors import RequestError, bad_request
from graph.room import SMALL_BYTES

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
HTML = "text/html"

_BODY_SECONDS = 30
_LONGEST_ACCEPT = 1_000  # characters that are looked at; browsers send about a hundred
_UTF_8 = ("utf-8", "utf8")


@lru_cache(maxsize=256)
def _accepted(header: str, offers: tuple[str, ...]) -> str | None:
    ranges: dict[str, tuple[float, int]] = {}
    for position, part in enumerate(header.split(",")):
        name, parameters = _media_type(part)
        quality = _quality(parameters.get("q", "1"))
        if quality is not None and parameters.get("charset", "utf-8") in _UTF_8:
            ranges.setdefault(name, (quality, -position))
    best: tuple[float, int] = (0.0, 0)
    chosen = None
    for offer in offers:
        # The most specific range that covers the offer decides, even if it forbids what a wider one allows.
        names = (offer, f"{offer.partition('/')[0]}/*", "*/*")
        found = next((ranges[name] for name in names if name in ranges), (0.0, 0))
        if found[0] > 0 and (chosen is None or found > best):
            best, chosen = found, offer
    return chosen


def accepted(header: str | None, *offers: str) -> str | None:
    """The offer that an Accept header asks for most, the first offer if it is absent; None if it wants none of them.

    Equally wanted ones go by their place in the header, and covered by one wildcard, by their place in ``offers``.
    """
    return _accepted(header[:_LONGEST_ACCEPT], offers) if header and not header.isspace() else offers[0]


class Request:
    """What the endpoint looks at of an HTTP request; Starlette's takes ten times as long to find a header."""

    __slots__ = ("_headers", "method", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self._headers: dict[bytes, bytes] = dict(scope["headers"])

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
        """Raises RequestError (415) unless it is JSON in UTF-8, which other sites' pages cannot send unasked."""
        name, parameters = _media_type(self.header(b"content-type") or "")
        if name != JSON:
            raise bad_request(f'The request needs the header "Content-Type: {JSON}".', 415, accept=JSON)
        if parameters.get("charset", "utf-8") not in _UTF_8:
            raise bad_request("The request must be encoded in UTF-8.", 415, accept=JSON)
        if self.header(b"content-encoding") not in (None, "", "identity"):
            raise bad_request("The request must not be compressed.", 415, accept_encoding="identity")

    def length(self, most_bytes: int) -> int:
        """Of the body. Raises RequestError: 413 if it is longer, 411 if it is not declared and may be large.

        Starlette's max_body_size is of no use here: it replaces every answer to a long request by plain text.
        """
        declared = self._headers.get(b"content-length")
        if declared is None:
            return min(SMALL_BYTES, most_bytes)
        if not declared.isdigit() or int(declared[:20]) > most_bytes:
            raise _too_large(most_bytes)
        return int(declared)

    async def body(self, most_bytes: int) -> bytes:
        """Raises RequestError when it is longer than that (413) or takes too long (408), and ClientDisconnect."""
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                return await self._body(most_bytes)
        except TimeoutError:
            message = f"The body did not arrive within {_BODY_SECONDS} seconds."
            raise bad_request(message, 408, connection="close") from None

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
                    raise bad_request(f"A body of more than {most_bytes:,} bytes needs the header Content-Length.", 411)
                raise _too_large(most_bytes)
        return b"".join(chunks)


def _too_large(most_bytes: int) -> RequestError:
    return bad_request(f"The body has more than {most_bytes:,} bytes.", 413)


def _media_type(text: str) -> tuple[str, dict[str, str]]:
    name, *parts = text.lower().split(";")
    pairs = (part.partition("=") for part in parts)
    return name.strip(), {key.strip(): value.strip().strip('"') for key, _, value in pairs}


def _quality(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


class Parameters(NamedTuple):
    """A well-formed GraphQL request."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None
    extensions: dict[str, Any] | None
    size: int  # bytes of it all as it was sent


def from_body(body: bytes) -> Parameters:
    """Raises RequestError (400). orjson takes no NaN, no lone surrogates and no deep nesting."""
    if not body:
        raise bad_request('The body is empty: send a JSON object like {"query": "{ __typename }"}.')
    parameters = _json(body, "The body")
    if isinstance(parameters, list):
        raise bad_request("The body is a list, but operations are taken one at a time: send one JSON object.")
    if not isinstance(parameters, dict):
        raise bad_request("The body is JSON but not an object.")
    return _checked(parameters, len(body))


def from_query_string(query_string: bytes) -> Parameters:
    """Raises RequestError (400)."""
    try:
        text = query_string.decode()
        given = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100, errors="strict"))
    except UnicodeDecodeError as error:
        raise bad_request("The URL's parameters must be encoded in UTF-8.") from error
    except ValueError as error:
        raise bad_request("The URL has too many parameters.") from error
    parameters: dict[str, Any] = {name: given.get(name) for name in ("query", "operationName")}
    for name in ("variables", "extensions"):
        if value := given.get(name):
            parameters[name] = _json(value.encode(), f'The parameter "{name}"')
    return _checked(parameters, len(query_string))


def _json(text: bytes, what: str) -> Any:
    # Every few hundred containers would set off a collection that finds nothing, and a large body takes thrice as long.
    # orjson keeps the GIL, so that nobody misses one meanwhile, and a thread would not free the event loop.
    collecting = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"{what} is not valid JSON: {error}.") from error
    finally:
        if collecting:
            gc.enable()


def _checked(parameters: Mapping[str, Any], size: int) -> Parameters:
    query = parameters.get("query")
    if query is None:
        raise bad_request('The parameter "query" is missing.')
    if not isinstance(query, str):
        raise bad_request('The parameter "query" must be a string.')
    operation_name = parameters.get("operationName")
    if operation_name is not None and not isinstance(operation_name, str):
        raise bad_request('The parameter "operationName" must be a string or null.')
    for name in ("variables", "extensions"):
        if not isinstance(parameters.get(name), dict | None):
            raise bad_request(f'The parameter "{name}" must be an object or null.')
    return Parameters(query, operation_name or None, parameters.get("variables"), parameters.get("extensions"), size)
