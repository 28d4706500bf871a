"""The HTTP side of a GraphQL request: which answer it accepts, and its parameters."""

import gc
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from access.requests import UTF_8, media_type
from graph.errors import bad_request

GRAPHQL_RESPONSE = "application/graphql-response+json"
HTML = "text/html"

_LONGEST_ACCEPT = 1_000  # characters that are looked at; browsers send about a hundred


@lru_cache(maxsize=256)
def _accepted(header: str, offers: tuple[str, ...]) -> str | None:
    ranges: dict[str, tuple[float, int]] = {}
    for position, part in enumerate(header.split(",")):
        name, parameters = media_type(part)
        quality = _quality(parameters.get("q", "1"))
        if quality is not None and parameters.get("charset", "utf-8") in UTF_8:
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
