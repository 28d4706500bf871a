"""GraphQL over HTTP: one request in, one answer out. https://graphql.github.io/graphql-over-http/draft/

Our own instead of Strawberry's view, because the fixed cost of a request decides the speed of small pages. Strawberry's
schema is executed by graphql-core directly; its extensions are not run.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import orjson
import strawberry
from graphql import ExecutionResult, GraphQLError, OperationDefinitionNode, OperationType
from starlette import requests
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from access.credentials import Attempt
from access.policy import Caller
from access.rates import Reservation
from access.requests import JSON, SMALL_BYTES, Refused, Request
from graph import idempotency, metrics, transport
from graph.answers import Answer, refused, send_answer
from graph.cost_levels import PageSizes
from graph.deadline import Deadline, End
from graph.documents import Document, Documents
from graph.errors import (
    BAD_INPUT,
    MORE_ERRORS,
    MOST_ERRORS,
    RequestError,
    bad_request,
    field_errors,
    forget,
    refusal,
    request_errors,
)
from graph.executor import Executor
from graph.limits import AnswerLimits, QueryLimits
from graph.metrics import Outcome
from graph.quick import Quick
from graph.room import Room
from graph.scalars import format_datetime
from graph.thread import in_thread
from graph.transport import GRAPHQL_RESPONSE, HTML, Parameters
from models.errors import TimedOut
from models.trace import RequestTrace, current

_LARGE_BYTES = 64 * 1024  # above it, coercing the variables, or counting them, can take more than a few milliseconds
_LONGEST_LOGGED_NAME = 100
_ENTRANCE = 1  # point of what is no operation, or not known before it is read; a part of the operation's price
_BYTES_A_POINT = 100_000  # of a body, beside the operation's price


class GraphQLEndpoint:
    """An ASGI application.

    ``authenticate`` is given the Authorization header and where the request comes from, before anything else of it is
    looked at, and raises Unauthenticated or RateLimited; ``reserve`` is asked to spend a request's points, all of them,
    those that are spent already, and those it costs to be refused, before the work is done that they are for;
    ``make_context`` makes ``info.context`` from the caller; ``confirm`` raises, before a mutation, where the context's
    caller is out by then; ``record`` writes down what the context has noted, before a mutation is kept and before an
    answer is given; ``changed`` is told of mutations that were made; ``page`` answers browsers that open the address,
    and needs no credential.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        *,
        limits: QueryLimits,
        answer_limits: AnswerLimits,
        page_sizes: PageSizes,
        introspection: bool,
        request_timeout_seconds: float,
        max_body_bytes: int,
        authenticate: Callable[[Attempt], Awaitable[Caller]],
        reserve: Callable[[Caller, int, int, int], Awaitable[Reservation]],
        make_context: Callable[[Caller], Any],
        confirm: Callable[[Any], Awaitable[None]],
        record: Callable[[Any], Awaitable[None]],
        changed: Callable[[], None],
        page: Callable[[requests.Request], Response],
    ) -> None:
        self._schema = schema._schema  # noqa: SLF001 - Strawberry has no public name for the graphql-core schema
        self._answer_limits = answer_limits
        self._documents = Documents(self._schema, limits, page_sizes, introspection=introspection)
        self._introspection = introspection
        self._timeout_seconds = request_timeout_seconds
        self._max_body_bytes = max_body_bytes
        self._authenticate = authenticate
        self._reserve = reserve
        self._make_context = make_context
        self._confirm = confirm
        self._record = record
        self._changed = changed
        self._room = Room(max_body_bytes)
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method != "POST":
            request.exchange = None
        accept = request.header(b"accept")
        if request.method in ("GET", "HEAD") and _prefers_page(request, accept):
            await self._page(requests.Request(scope, receive))(scope, receive, send)
            return
        media_type = transport.accepted(accept, JSON, GRAPHQL_RESPONSE)
        trace = current.get() or RequestTrace(request_id=secrets.token_hex(8))
        with Deadline(self._timeout_seconds) as deadline:
            try:
                answer = await self._serve(request, media_type, trace, deadline)
            except RequestError as error:
                answer = refused(error, media_type, trace)
            except Refused as error:
                answer = refused(bad_request(error.message, error.status, **error.headers), media_type, trace)
            except ClientDisconnect:
                deadline.end = End.GONE
            except asyncio.CancelledError as error:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # Not of this task but of one it waited for: somebody must answer.
                answer = refused(refusal(RuntimeError(repr(error)), trace.request_id), media_type, trace)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is masked and logged in one place
                answer = refused(refusal(error, trace.request_id), media_type, trace)
        if deadline.end is End.GONE:
            metrics.count(trace, Outcome.GONE)
            return
        if deadline.end is End.LATE:
            answer = refused(refusal(TimedOut(), trace.request_id), media_type, trace)
        metrics.count(trace, answer.outcome)
        await send_answer(send, answer, media_type or JSON, request.exchange, trace)

    async def _serve(self, request: Request, media_type: str | None, trace: RequestTrace, deadline: Deadline) -> Answer:
        """A successful answer. Raises RequestError, and whatever else goes wrong outside of the fields."""
        if media_type is None:
            raise bad_request(f"The answer can be {GRAPHQL_RESPONSE} or {JSON}.", 406)
        if request.method not in ("GET", "POST"):
            raise bad_request(f"{request.method} is not a method of GraphQL: use POST.", 405, allow="GET, POST")
        caller = await self._authenticate(_attempt(request))
        trace.key_id = caller.key_id
        least = _ENTRANCE
        try:
            if request.method == "GET":
                deadline.listen(request.receive)
                parameters = transport.from_query_string(request.scope["query_string"])
                return await self._answer(parameters, request, caller, trace)
            request.check_content()
            length = request.length(self._max_body_bytes)
            least += length // _BYTES_A_POINT
            if length <= SMALL_BYTES:
                return await self._read(length, request, caller, trace, deadline)
            await self._spend(least, caller, trace)
            async with self._room.taken(caller.tenant_id, length):
                return await self._read(length, request, caller, trace, deadline)
        except (RequestError, Refused, ClientDisconnect):
            if trace.cost is None:
                await self._spend(least, caller, trace)
            raise

    async def _read(
        self, length: int, request: Request, caller: Caller, trace: RequestTrace, deadline: Deadline
    ) -> Answer:
        body = await request.body(length)
        deadline.listen(request.receive)
        return await self._answer(transport.from_body(body), request, caller, trace, length // _BYTES_A_POINT)

    async def _answer(
        self, parameters: Parameters, request: Request, caller: Caller, trace: RequestTrace, points: int = 0
    ) -> Answer:
        """``points`` are what it costs beside the operation's price."""
        trace.operation_name = parameters.operation_name and parameters.operation_name[:_LONGEST_LOGGED_NAME]
        if (document := self._documents.known(parameters.query)) is None:
            await self._spend(_ENTRANCE + points, caller, trace)
            document = await self._documents.read(parameters.query)
        await self._spend(await _points(document, parameters) + points, caller, trace)
        if document.errors:
            raise RequestError(document.errors)
        operation = document.operation(parameters.operation_name)
        trace.operation = operation.operation._value_
        if operation.name:
            trace.operation_name = operation.name.value[:_LONGEST_LOGGED_NAME]
        _check_allowed(operation, request.method, parameters.size)
        key = request.header(idempotency.HEADER) if operation.operation is OperationType.MUTATION else None
        if key is not None:
            idempotency.checked(key)
        quick = document.quick(operation) if parameters.size <= _LARGE_BYTES else None
        if (answer := await self._shortest(quick, parameters, caller, trace)) is not None:
            return answer
        return await self._executed(operation, document, parameters, caller, key, trace)

    async def _shortest(
        self, quick: Quick | None, parameters: Parameters, caller: Caller, trace: RequestTrace
    ) -> Answer | None:
        """None where graphql-core has to answer."""
        if quick is None:
            return None
        context = self._make_context(caller)
        data = await quick.answer(context, parameters.variables, self._answer_limits)
        if data is None:
            return None
        await self._record(context)
        cost = orjson.dumps(trace.cost).decode()
        return Answer(200, f'{{"data":{data},"extensions":{{"cost":{cost}}}}}'.encode(), {}, Outcome.OK)

    async def _executed(
        self,
        operation: OperationDefinitionNode,
        document: Document,
        parameters: Parameters,
        caller: Caller,
        key: str | None,
        trace: RequestTrace,
    ) -> Answer:
        context = self._make_context(caller)
        if operation.operation is OperationType.MUTATION:
            try:
                result, _ = await self._execute(document, parameters, context, caller, key)
            finally:
                self._changed()
        else:
            result, has_guessed = await self._execute(document, parameters, context, caller, compiled=True)
            if has_guessed and result.errors:  # which may be one of having guessed too much
                forget(result.errors)
                context = self._make_context(caller)
                result, _ = await self._execute(document, parameters, context, caller)
        answer: dict[str, Any] = {}
        if result.errors:
            try:
                answer["errors"] = field_errors(result.errors, trace.request_id)
            finally:
                forget(result.errors)
        metrics.count_errors(answer.get("errors", ()))
        if result.data is not None:  # else nobody sees it; what a mutation noted that was undone stays unsaid
            await self._record(context)
        answer["data"] = result.data
        answer["extensions"] = {"cost": trace.cost}
        return Answer(200, orjson.dumps(answer), {}, Outcome.ERRORS if result.errors else Outcome.OK)

    async def _spend(self, points: int, caller: Caller, trace: RequestTrace) -> None:
        """In all, with what the request has spent. Raises RateLimited, or TooComplex for what could never be spent."""
        spent: Any = trace.cost["requested"] if trace.cost else 0
        if points == spent:
            return
        reservation = await self._reserve(caller, points, spent, _ENTRANCE)
        trace.cost = {
            "requested": reservation.requested,
            "remaining": reservation.remaining,
            "resetAt": format_datetime(reservation.reset_at),
        }
        if reservation.refusal is not None:
            raise reservation.refusal

    async def _execute(
        self,
        document: Document,
        parameters: Parameters,
        context: object,
        caller: Caller,
        key: str | None = None,
        *,
        compiled: bool = False,
    ) -> tuple[ExecutionResult, bool]:
        """With whether it has guessed how large the answer is. Raises RequestError if the variables are not what the
        operation declares.
        """
        coercing = document.coercing(document.operation(parameters.operation_name))

        def prepare() -> Any:
            given = parameters.variables or {}
            values = coercing.values(given) if coercing is not None else None
            return Executor.build(
                self._schema,
                document.node if coercing is None or values is None else coercing.bare,
                context_value=context,
                raw_variable_values=given,
                operation_name=parameters.operation_name,
                variables=values,
                max_coercion_errors=MOST_ERRORS - 1,
                hide_suggestions=not self._introspection,
                answer_limits=self._answer_limits,
                confirm=self._confirm,
                record=self._record,
                caller=caller,
                idempotency_key=key,
                page_writer=document.page_writer if compiled else _no_writer,
                item=document.item,
            )

        executor = await in_thread(prepare) if parameters.size > _LARGE_BYTES else prepare()
        if isinstance(executor, list):
            if len(executor) == MOST_ERRORS:  # the last one only says that graphql-core has given up
                executor[-1] = GraphQLError(MORE_ERRORS)
            raise RequestError(request_errors(executor, BAD_INPUT))
        result = executor.execute_operation()
        if not isinstance(result, ExecutionResult):
            result = await result
        return result, executor.has_guessed


def _no_writer(_: object) -> None:
    """Mutations are completed by graphql-core."""


async def _points(document: Document, parameters: Parameters) -> int:
    if parameters.size > _LARGE_BYTES:
        count = partial(document.points, remembered=False)
        return await in_thread(count, parameters.operation_name, parameters.variables)
    return document.points(parameters.operation_name, parameters.variables)


def _prefers_page(request: Request, accept: str | None) -> bool:
    return transport.accepted(accept, JSON, GRAPHQL_RESPONSE, HTML) == HTML and not request.has_parameter(b"query")


def _attempt(request: Request) -> Attempt:
    return Attempt(
        request.header(b"authorization"),
        address=request.address,
        agent=request.header(b"user-agent") or "",
        path=request.scope["path"],
        tenant=request.header(b"waybill-tenant"),
    )


def _check_allowed(operation: OperationDefinitionNode, method: str, size: int) -> None:
    if operation.operation is OperationType.SUBSCRIPTION:
        raise bad_request("There are no subscriptions.", None)
    if method == "GET" and operation.operation is not OperationType.QUERY:
        raise bad_request("A mutation needs the method POST.", 405, allow="POST")
    if size > SMALL_BYTES and operation.operation is not OperationType.MUTATION:
        raise bad_request(f"A query has at most {SMALL_BYTES:,} bytes; mutations may have more.", 413)
