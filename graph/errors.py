"""The one place where errors get the form that clients see. Known ones pass; everything else is masked and logged."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphql import ArgumentNode, GraphQLError, ValueNode
from strawberry.exceptions import StrawberryInputCoercionError

from models import faults
from models.errors import (
    RateLimited,
    TenantSuspended,
    TimedOut,
    TooComplex,
    Unauthenticated,
    Unavailable,
    WaybillError,
    short,
)

FormattedError = dict[str, Any]

BAD_INPUT = "BAD_INPUT"
BAD_REQUEST = "BAD_REQUEST"
INTERNAL = "INTERNAL"
PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"

MASKED = "Something went wrong on our side. Report the request id."
MOST_ERRORS = 50  # of one answer
MORE_ERRORS = f"More than {MOST_ERRORS - 1} errors: the rest are not shown; correct these first."
_LONGEST_MESSAGE = 500  # characters
RETRY_AFTER_SECONDS = 1

_log = logging.getLogger(__name__)


class RequestError(Exception):
    """The request ends without data.

    ``status`` is None where it depends on the media type of the answer: 400, but 200 for application/json, whose
    clients could not tell our 400 from a proxy's.
    """

    def __init__(
        self,
        errors: Sequence[FormattedError],
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(errors)
        self.errors = errors
        self.status = status
        self.headers = headers or {}


def bad_request(message: str, status: int | None = 400, **headers: str) -> RequestError:
    """``headers`` are written with underscores: ``content_type="..."``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return RequestError([{"message": message, "extensions": {"code": BAD_REQUEST}}], status, named)


def request_errors(errors: Sequence[GraphQLError], code: str) -> list[FormattedError]:
    """Of a document or its variables; ``code`` is for those that have none of their own."""
    return _bounded([_formatted(error, error.message, {"code": code} | (error.extensions or {})) for error in errors])


def field_errors(errors: Sequence[GraphQLError], request_id: str) -> list[FormattedError]:
    """Of an execution. Raises Unavailable if the database failed one of them, for then the others mean nothing."""
    shown: list[FormattedError] = []
    logged: set[type] = set()
    for error in errors:
        origin = _origin(error)
        if (known := _known(origin)) is not None:
            if isinstance(known, Unavailable):
                raise known from origin
            shown.append(_formatted(error, str(known), known.extensions))
        elif _is_callers(origin):
            shown.append(_formatted(error, error.message, {"code": BAD_INPUT}))
        else:
            if type(origin) not in logged:  # a fault in a list comes once per item
                logged.add(type(origin))
                _log_unexpected(origin, path=".".join(map(str, error.path or ())))
            shown.append(_formatted(error, MASKED, {"code": INTERNAL, "requestId": request_id}))
    return _bounded(shown)


def forget(errors: Iterable[GraphQLError]) -> None:
    """Where they were raised: it keeps what was worked on there, pages of rows, until the collector looks, and that is
    seldom.
    """
    waiting: list[BaseException | None] = list(errors)
    seen: set[int] = set()
    while waiting:
        error = waiting.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            error.__traceback__ = None
            origin = error.original_error if isinstance(error, GraphQLError) else None
            waiting += origin, error.__cause__, error.__context__


def refusal(error: Exception, request_id: str) -> RequestError:
    """What is answered when ``error`` ended the request outside of a field."""
    known = _known(error)
    if known is None:
        _log_unexpected(error)
        return RequestError([{"message": MASKED, "extensions": {"code": INTERNAL, "requestId": request_id}}], 500)
    if isinstance(known, Unavailable):
        _log.warning(
            "%s", known.extensions["code"], extra={"cause": repr(error if known is not error else error.__cause__)}
        )
    status, headers = _http(known)
    return RequestError([{"message": str(known), "extensions": known.extensions}], status, headers)


def _http(error: WaybillError) -> tuple[int | None, dict[str, str]]:
    match error:
        case Unauthenticated():
            return 401, {"www-authenticate": "Bearer"}
        case TenantSuspended():
            return 403, {}
        case RateLimited():
            return 429, {"retry-after": str(error.extensions["retryAfter"])}
        case TooComplex():
            return None, {}
        case TimedOut():
            return 504, {}
        case Unavailable():
            return 503, {"retry-after": str(RETRY_AFTER_SECONDS)}
        case _:
            return 400, {}


def _known(error: BaseException) -> WaybillError | None:
    return error if isinstance(error, WaybillError) else faults.translate(error)


def _origin(error: GraphQLError) -> BaseException:
    origin: BaseException = error
    while isinstance(origin, GraphQLError) and origin.original_error is not None:
        origin = origin.original_error
    return origin


def _is_callers(error: BaseException) -> bool:
    """Whether graphql-core refused an argument that only the values of the variables made wrong.

    Its errors about our own results are GraphQLErrors too, and may quote them; those point at no argument.
    """
    if isinstance(error, StrawberryInputCoercionError):
        return True
    nodes = error.nodes if isinstance(error, GraphQLError) else None
    return bool(nodes) and all(isinstance(node, ArgumentNode | ValueNode) for node in nodes or ())


def _log_unexpected(error: BaseException, **where: str) -> None:
    _log.error("unexpected %s", type(error).__name__, exc_info=error, extra=where)


def _formatted(error: GraphQLError, message: str, extensions: Mapping[str, object]) -> FormattedError:
    # graphql-core quotes the whole of a wrong value, each time.
    shown: FormattedError = {"message": short(message, _LONGEST_MESSAGE)}
    if error.locations:
        shown["locations"] = [location.formatted for location in error.locations]
    if error.path:
        shown["path"] = error.path
    shown["extensions"] = extensions
    return shown


def _bounded(errors: list[FormattedError]) -> list[FormattedError]:
    if (more := len(errors) - MOST_ERRORS) > 0:
        errors = errors[:MOST_ERRORS]
        errors[-1] = errors[-1] | {"message": f"{errors[-1]['message']} ({more} more errors are not shown)"}
    return errors
