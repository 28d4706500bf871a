"""Requests that reach no part of the service, refused in the form of all errors, so that clients read one form only."""

from collections.abc import Collection, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, ExceptionHandler, Receive, Scope, Send

from graph.errors import bad_request, refusal
from graph.metrics import count_errors
from models.errors import (
    Conflict,
    FileNotComplete,
    Forbidden,
    NotFound,
    NoThumbnail,
    StorageUnavailable,
    WaybillError,
)
from models.trace import current

# Of what graph.errors gives none of its own, because a field has it and not the request.
_STATUS: Mapping[type[WaybillError], int] = {
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    FileNotComplete: 409,
    NoThumbnail: 422,
    StorageUnavailable: 503,
}


def _refused(message: str, status: int, **headers: str) -> JSONResponse:
    error = bad_request(message, status, **headers)
    return JSONResponse({"errors": error.errors}, status, error.headers)


async def _not_routed(request: Request, error: Any) -> JSONResponse:
    """``error`` is an HTTPException of Starlette's router or of its static files."""
    if error.status_code == 404:
        return _refused("There is nothing at this path: the API is at /graphql.", 404)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "GET, HEAD")  # which the static files leave out
        return _refused(f"{request.method} is not a method of this path: use one of {allowed}.", 405, allow=allowed)
    refused = _refused(error.detail, error.status_code)
    refused.headers.update(error.headers or {})
    return refused


async def _known(_: Request, error: Any) -> JSONResponse:
    """``error`` is a WaybillError of an endpoint that is not GraphQL's."""
    trace = current.get()
    refused = refusal(error, trace.request_id if trace else "")
    count_errors(refused.errors)
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), refused.status or 400)
    return JSONResponse({"errors": refused.errors}, status, {**refused.headers, "cache-control": "no-store"})


HANDLERS: Mapping[Any, ExceptionHandler] = {HTTPException: _not_routed, WaybillError: _known}


class OnlyHosts:
    """ASGI middleware that refuses requests to other hosts. Ports are not looked at."""

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] == "http" and _host(scope) not in self.hosts:
            app = _refused(f"This service answers to the hosts {', '.join(self.hosts)} only: use one of them.", 400)
        await app(scope, receive, send)


def _host(scope: Scope) -> str:
    """IPv6 addresses have colons of their own, inside of brackets."""
    host = Headers(scope=scope).get("host", "").lower()
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
