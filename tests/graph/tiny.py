"""A schema of a few fields that behave badly on request, for claims about the endpoint alone."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NewType

import httpx
import orjson
import strawberry
from graphql import GraphQLError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from strawberry.schema.config import StrawberryConfig

from access.buckets import Memory
from access.credentials import Attempt
from access.policy import Viewer
from access.rates import RateLimits, Rates
from graph.coercion import build_inputs
from graph.cost_levels import PageSizes
from graph.endpoint import GraphQLEndpoint
from graph.limits import AnswerLimits, QueryLimits
from models import AccessLevel, Role
from models.errors import NotFound, Unauthenticated, Unavailable
from models.trace import current
from waybill.logs import RequestLog

VIEWER = Viewer("0123456789abcdef", 1, "someone", Role.ADMIN, 1, "tenant", AccessLevel.NONE, AccessLevel.ADMIN)


def parse_thread(value: object) -> str:
    """The name of the thread that coerces."""
    threads.append(threading.current_thread().name)
    return str(value)


threads: list[str] = []
Spot = NewType("Spot", str)


@strawberry.input
class Pair:
    key: str
    value: str | None = "none"


@strawberry.input
class Thing:
    name: str
    pairs: list[Pair] = strawberry.field(default_factory=list)
    parent: "Thing | None" = None
    note: strawberry.Maybe[str]
    label: strawberry.Maybe[str | None]


@strawberry.input(one_of=True)
class Choice:
    word: strawberry.Maybe[str] = strawberry.field(default=None)
    number: strawberry.Maybe[int] = strawberry.field(default=None)


companions = 0


@strawberry.type
class Node:
    @strawberry.field
    def name(self) -> str:
        return "node"

    @strawberry.field
    def node(self) -> "Node":
        return Node()

    @strawberry.field
    def fails(self) -> str | None:
        raise RuntimeError("the secret of the node")


@strawberry.type
class Query:
    @strawberry.field
    def hello(self, name: str = "world") -> str:
        return f"hello {name}"

    @strawberry.field
    def node(self) -> Node:
        return Node()

    @strawberry.field
    def nodes(self, count: int) -> list[Node]:
        return [Node() for _ in range(count)]

    @strawberry.field
    def describe(self, thing: Thing) -> str:
        return repr(thing)

    @strawberry.field
    def spot(self, at: list[Spot]) -> int:
        return len(at)

    @strawberry.field
    def choose(self, choice: Choice) -> str:
        return repr(choice)

    @strawberry.field
    async def wait(self, info: strawberry.Info[dict[str, Any], None], seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            info.context["ended"].append("cancelled")
            if seconds > 100:  # as a rollback on a database that hangs
                await asyncio.sleep(100)
            raise
        return "waited"

    @strawberry.field
    def raises(self, error: str) -> str | None:
        raise {
            "known": NotFound("no such thing", id="x"),
            "unavailable": Unavailable(),
            "refused": ConnectionRefusedError("10.0.0.1:5432"),
            "graphql": GraphQLError("the secret of the resolver"),
            "unknown": RuntimeError("the secret of the resolver"),
        }[error]

    @strawberry.field
    def not_a_number(self) -> int | None:
        return "the secret of the result"  # type: ignore[return-value]

    @strawberry.field
    def odd(self) -> strawberry.scalars.JSON:
        return {"at": datetime, "text": "\ud800"}  # type: ignore[return-value]

    @strawberry.field
    def request_id(self) -> str | None:
        return trace.request_id if (trace := current.get()) else None


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def company(self) -> int:
        """How many requests for it are under way at once."""
        global companions  # noqa: PLW0603 - of all requests
        companions += 1
        try:
            await asyncio.sleep(0.05)
            return companions
        finally:
            companions -= 1

    @strawberry.mutation
    async def change(self) -> str:
        return "changed"


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self) -> AsyncIterator[int]:
        yield 1


config = StrawberryConfig(scalar_map={Spot: strawberry.scalar(name="Spot", parse_value=parse_thread)})
schema = strawberry.Schema(Query, Mutation, Subscription, config=config)
build_inputs(schema)


async def nothing(_: object) -> None:
    """Is noted here, and so is nothing recorded; and nobody is revoked."""


async def anyone(_: Attempt) -> Viewer:
    return VIEWER


async def only_with_key(attempt: Attempt) -> Viewer:
    if attempt.authorization != "Bearer key":
        raise Unauthenticated
    return VIEWER


async def without_database(_: Attempt) -> Viewer:
    raise ConnectionRefusedError("10.0.0.1:5432")


class Tiny:
    """The endpoint behind the middleware it has in the service; ``ended`` tells of resolvers that were stopped."""

    def __init__(
        self,
        *,
        limits: QueryLimits = QueryLimits(),  # noqa: B008 - frozen
        answer_limits: AnswerLimits = AnswerLimits(),  # noqa: B008 - frozen
        introspection: bool = True,
        timeout_seconds: float = 60,
        max_body_bytes: int = 1_000_000,
        authenticate: Callable[[Attempt], Awaitable[Viewer]] = anyone,
        rates: RateLimits = RateLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.ended: list[str] = []
        self.endpoint = GraphQLEndpoint(
            schema,
            limits=limits,
            answer_limits=answer_limits,
            introspection=introspection,
            request_timeout_seconds=timeout_seconds,
            max_body_bytes=max_body_bytes,
            page_sizes=PageSizes(),
            authenticate=authenticate,
            reserve=Rates(Memory(), rates).reserve,
            make_context=lambda viewer: {"ended": self.ended, "viewer": viewer},
            confirm=nothing,
            record=nothing,
            changed=lambda: None,
            page=lambda _: HTMLResponse("<p>the page"),
        )
        self.app = Starlette(routes=[Route("/graphql", self.endpoint)], middleware=[Middleware(RequestLog)])

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://tiny.test") as client:
            # httpx would ask for */* on its own.
            client.headers.clear()
            yield client

    async def post(self, content: bytes | object, **headers: str | None) -> httpx.Response:
        """``content`` is sent as it is, or as JSON. Headers are written with underscores; None leaves one out."""
        async with self.client() as client:
            body = content if isinstance(content, bytes) else orjson.dumps(content)
            given = {"content_type": "application/json"} | headers
            named = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
            return await client.post("/graphql", content=body, headers=named)

    async def query(self, query: str, **variables: Any) -> httpx.Response:
        body = {"query": query, "variables": variables}
        return await self.post(body, accept="application/graphql-response+json")

    async def get(self, accept: str | None = None, **parameters: str) -> httpx.Response:
        async with self.client() as client:
            return await client.get("/graphql", params=parameters, headers={"accept": accept} if accept else {})


def message(answer: httpx.Response) -> str:
    return str(answer.json()["errors"][0]["message"])


def code(answer: httpx.Response) -> str:
    """Of the only error."""
    [error] = answer.json()["errors"]
    return str(error["extensions"]["code"])
