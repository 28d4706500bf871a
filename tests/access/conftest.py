import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from unittest.mock import patch

import httpx
import pytest
from starlette.datastructures import Secret

from models import database
from tests.access.issuer import AUDIENCE, Issuer, issuing, rsa_key
from tests.conftest import running
from waybill import seaweedfs
from waybill.settings import Settings

TOKEN_SECRET = "tests know it, nobody else does. " * 2

Door = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@contextlib.asynccontextmanager
async def beside(settings: Settings, seaweed: seaweedfs.Server) -> AsyncIterator[httpx.AsyncClient]:
    """Another application, on the connections of the one that runs: a process has one set of them."""
    async with contextlib.AsyncExitStack() as stack:
        with patch.object(database, "connected", lambda *_, **__: contextlib.nullcontext()):
            http = await stack.enter_async_context(running(settings, seaweed.credentials))
        yield http


@pytest.fixture
def door(http: httpx.AsyncClient, settings: Settings, seaweed: seaweedfs.Server) -> Door:
    """An application with these settings besides."""
    assert http
    return lambda **changed: beside(dataclasses.replace(settings, **changed), seaweed)


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        issuer.keys["one"] = rsa_key()
        yield issuer


@pytest.fixture(scope="session")
async def with_tokens(
    http: httpx.AsyncClient, settings: Settings, seaweed: seaweedfs.Server, issuer: Issuer
) -> AsyncIterator[httpx.AsyncClient]:
    """An application that takes tokens, its own and the issuer's."""
    assert http
    changed = dataclasses.replace(
        settings, token_secret=Secret(TOKEN_SECRET), oidc_issuer=issuer.url, oidc_audience=AUDIENCE
    )
    async with beside(changed, seaweed) as with_tokens:
        yield with_tokens
