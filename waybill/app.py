"""The ASGI application: puts the parts together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from access import copy_urls
from access.boxes import Boxes
from access.buckets import Memory
from access.copy_urls import CopyUrls
from access.credentials import Attempt, Authenticator
from access.policy import Caller
from access.rates import Payer, RateLimits, Rates, Reservation
from access.remembered import Remembered
from access.requests import EXCHANGE
from access.senders import Senders
from graph.context import S3, Context, InputLimits
from graph.cost_levels import PageSizes
from graph.endpoint import GraphQLEndpoint
from graph.limits import AnswerLimits, QueryLimits
from graph.schema import schema
from models import database
from models.errors import Forbidden, NotFound, Unauthenticated
from models.trace import current
from storage.client import Config, connected
from storage.signing import Credentials
from storage.urls import signing
from sync.copies import Copies
from sync.endpoint import NoticeEndpoint
from sync.queue import Queue
from waybill import door
from waybill.graphiql import GraphiqlAssets, graphiql_page
from waybill.health import healthz, readyz
from waybill.logs import RequestLog
from waybill.refusals import HANDLERS, OnlyHosts
from waybill.settings import Settings
from waybill.syncing import sync_sources

PATH = "/graphql"
_S3_SECONDS = 10


def create_app(
    settings: Settings,
    *,
    graphiql_key: str | None = None,
    hosts: Collection[str] = (),
    s3_credentials: Credentials | None = None,
    works: bool = False,
) -> Starlette:
    """``graphiql_key`` is shown to whoever opens the page: for `waybill dev` on loopback only.

    ``hosts`` are the names that a request may have in its header Host; any if there are none. Without
    ``s3_credentials`` they are those that the AWS SDK finds. ``app.state.storage`` is the Storage while the application
    runs, None without buckets. ``works`` does the background work beside the requests.
    """
    limits = InputLimits(
        page_size=settings.page_size,
        max_page_size=settings.max_page_size,
        max_objects_per_call=settings.max_objects_per_call,
        max_id_characters=settings.max_id_characters,
        max_key_characters=settings.max_key_characters,
        max_value_characters=settings.max_value_characters,
        max_pairs_per_object=settings.max_pairs_per_object,
        max_rows_per_request=settings.max_rows_per_request,
        max_file_bytes=settings.max_file_bytes,
        max_verified_bytes=settings.max_verified_bytes,
        upload_seconds=settings.upload_seconds,
        multipart_bytes=settings.multipart_bytes,
        multipart_seconds=settings.multipart_seconds,
        default_quotas=settings.default_quotas,
    )

    sources = sync_sources(settings)
    s3: S3 | None = None
    authenticator = Remembered(Authenticator())  # lets keys in; the lifespan's does all that the settings say
    rates = Rates(Memory(), rate_limits(settings))  # of this process alone
    urls = CopyUrls(Boxes(settings.encryption_key_bytes).derived(copy_urls.PURPOSE))

    async def authenticate(attempt: Attempt) -> Caller:
        try:
            return await authenticator(attempt)
        except (Unauthenticated, Forbidden, NotFound):  # the latter two for the header Waybill-Tenant
            await rates.count_failed_login(attempt.address)
            raise

    def changed() -> None:
        authenticator.forget()

    async def count_failed_login(address: str) -> None:
        await rates.count_failed_login(address)

    def reserve(caller: Payer, points: int, spent: int, least: int = 0) -> Awaitable[Reservation]:
        return rates.reserve(caller, points, spent, least)

    def make_context(caller: Caller) -> Context:
        if (trace := current.get()) is not None:
            trace.tenant_id = caller.tenant_id
        return Context(caller, limits, s3, sources, urls)

    copies = Copies(
        Path(settings.sync_root) if settings.sync_root else None,
        urls,
        authenticate=authenticate,
        count_failed_login=count_failed_login,
        reserve=reserve,
        timeout_seconds=settings.request_timeout_seconds,
    )

    endpoint = GraphQLEndpoint(
        schema,
        limits=QueryLimits(
            depth=settings.max_query_depth,
            fields=settings.max_query_fields,
            aliases=settings.max_query_aliases,
            root_fields=settings.max_query_root_fields,
            directives=settings.max_query_directives,
            tokens=settings.max_query_tokens,
        ),
        answer_limits=AnswerLimits(settings.max_answer_values, settings.max_answer_characters),
        page_sizes=PageSizes(
            settings.page_size, settings.max_page_size, settings.max_rows_per_request, settings.multipart_bytes
        ),
        introspection=settings.introspection,
        request_timeout_seconds=settings.request_timeout_seconds,
        max_body_bytes=settings.max_body_bytes,
        authenticate=authenticate,
        reserve=reserve,
        make_context=make_context,
        confirm=Context.confirm,
        record=Context.record,
        changed=changed,
        page=graphiql_page(graphiql_key),
    )

    async def reserve_notice(source_id: int) -> None:
        await rates.reserve_notice(source_id)

    queue = Queue()
    notices = NoticeEndpoint(
        Senders(sync_sources(settings), settings.sync_default_source) if settings.encryption_key_bytes else None,
        queue,
        reserve=reserve_notice,
        count_failed=count_failed_login,
        limited_status=settings.sync_limited_status,
        max_id_characters=settings.max_id_characters,
        timeout_seconds=settings.request_timeout_seconds,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        nonlocal s3, authenticator, rates
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(database.connected(database_config(settings), everywhere=True))
            stack.push_async_callback(queue.close)
            authenticator = Remembered(await stack.enter_async_context(door.opened(settings)))
            if url := str(settings.redis_url):
                from access import redis_buckets  # noqa: PLC0415 - takes 0.2 s, which those without Redis do without

                rates = Rates(await stack.enter_async_context(redis_buckets.connected(url)), rate_limits(settings))
            await stack.enter_async_context(copies.running())
            app.state.storage = app.state.copies = None
            if settings.s3_buckets:
                storage = await stack.enter_async_context(connected(storage_config(settings, s3_credentials)))
                s3 = S3(storage, await stack.enter_async_context(signing(storage, settings.s3_sse)))
                app.state.storage = storage
                # So that what is wrong with it is in the log before the first file is.
                stack.callback(asyncio.create_task(storage.answers(_S3_SECONDS)).cancel)
                if works:
                    from waybill.background import background  # noqa: PLC0415 - takes 0.5 s, which others do without

                    app.state.copies = await stack.enter_async_context(background(settings, storage, s3_credentials))
            yield

    middleware = []
    if hosts:
        middleware.append(Middleware(OnlyHosts, hosts=hosts))
    if settings.cors_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"],
                expose_headers=["X-Request-Id", "Retry-After", "Content-Disposition", "Content-Range", "ETag"],
                max_age=3600,
            )
        )
    routes = [
        Route(PATH, endpoint),  # also below the path that a proxy has it at
        Mount("/graphiql/assets", GraphiqlAssets()),
        Route("/copies/{copy}", copies.file),
        Route("/copies/{copy}/thumbnail", copies.thumbnail),
        # Both, for a redirect would lose a notice's body in many clients.
        *(Route(path, notices) for path in ("/sync/", "/sync", "/sync/{source}/", "/sync/{source}")),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
    ]
    return _Application(endpoint, routes, middleware, lifespan, at_once=not settings.cors_origins)


class _Application(Starlette):
    """Middleware of ours comes first, then GraphQL's endpoint; Starlette has the rest.

    Its router and its two kinds of error handlers take as long as the endpoint does to read a small request, and what
    they would do the endpoint and RequestLog do by themselves.
    """

    def __init__(
        self,
        endpoint: ASGIApp,
        routes: list[BaseRoute],
        outer: list[Middleware],
        lifespan: Lifespan[Starlette],
        *,
        at_once: bool,
    ) -> None:
        """``at_once`` is False where middleware adds to answers, which are to be sent by way of it then."""
        super().__init__(routes=routes, exception_handlers=HANDLERS, lifespan=lifespan)
        self._endpoint = endpoint
        self._outer = outer
        self._at_once = at_once

    def build_middleware_stack(self) -> ASGIApp:
        endpoint, rest = self._endpoint, super().build_middleware_stack()

        def either(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            chosen = endpoint if scope["type"] == "http" and scope["path"] == PATH else rest
            if chosen is rest or not self._at_once:
                scope.pop(EXCHANGE, None)
            return chosen(scope, receive, send)

        app: ASGIApp = either
        for middleware in reversed(self._outer):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return RequestLog(app)


def database_config(settings: Settings) -> dict[str, Any]:
    return database.config(
        str(settings.database_url),
        max_connections=settings.database_connections,
        statement_timeout_seconds=settings.statement_timeout_seconds,
    )


def rate_limits(settings: Settings) -> RateLimits:
    return RateLimits(
        key_points=settings.rate_limit_key_points,
        tenant_points=settings.rate_limit_tenant_points,
        failed_logins=settings.rate_limit_failed_logins,
        sync_notices=settings.rate_limit_sync_notices,
    )


def storage_config(settings: Settings, credentials: Credentials | None = None) -> Config:
    return Config(
        buckets=list(settings.s3_buckets),
        region=settings.s3_region,
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        path_style=settings.s3_path_style,
        credentials=credentials,
    )
