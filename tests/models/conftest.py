import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from models import database
from tests.conftest import new_database
from tests.models.shared import Shared, new_shared


@pytest.fixture(scope="session")
async def own_url() -> str:
    """A migrated database that only this worker's tests of models use: they may empty it and kill its connections."""
    return await new_database()


@pytest.fixture(scope="module")
async def shared() -> Shared:
    return await new_shared()


@pytest.fixture
async def connected(own_url: str) -> AsyncIterator[None]:
    """The models on the database of ``own_url``, with at most four connections."""
    async with database.connected(database.config(own_url, max_connections=4)):
        yield


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def observing(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of its own, outside of the pool."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def is_gone(observer: asyncpg.Connection, process: int) -> bool:
    return not await observer.fetch("SELECT FROM pg_stat_activity WHERE pid = $1", process)
