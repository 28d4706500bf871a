"""Connections that are kept at hand between two statements."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from models import database, pool
from models.pool import Pool
from tests.models.conftest import is_gone, observing, until


@pytest.fixture
async def two(own_url: str) -> AsyncIterator[None]:
    async with database.connected(database.config(own_url, max_connections=2)):
        await database.fetch("SELECT 1")
        yield


def of_client() -> Pool:
    return cast("Pool", database.client()._pool)


async def backend() -> int:
    [row] = await database.fetch("SELECT pg_backend_pid() AS pid")
    return int(row["pid"])


@pytest.mark.usefixtures("two")
async def test_the_connection_given_back_last_is_lent_next() -> None:
    assert len({await backend() for _ in range(5)}) == 1
    assert of_client().get_idle_size() == of_client().get_size() == 1


@pytest.mark.usefixtures("two")
async def test_a_connection_given_back_twice_is_lent_once() -> None:
    connection = await of_client().acquire()
    await of_client().release(connection)
    await of_client().release(connection)
    one, other = await asyncio.gather(of_client().acquire(), of_client().acquire())
    assert one is not other
    assert one.get_server_pid() != other.get_server_pid()
    await of_client().release(one)
    await of_client().release(other)


@pytest.mark.usefixtures("two")
async def test_who_waits_gets_the_next_connection() -> None:
    held = [await of_client().acquire(), await of_client().acquire()]
    waiting = asyncio.create_task(database.fetch("SELECT 1"))
    await asyncio.sleep(0)
    await of_client().release(held.pop())
    assert len(await waiting) == 1
    await of_client().release(held.pop())
    assert of_client().get_idle_size() == 2


@pytest.mark.usefixtures("two")
async def test_a_connection_in_a_transaction_is_not_kept_in_it() -> None:
    connection = await of_client().acquire()
    connection_pid = connection.get_server_pid()
    await connection.execute("BEGIN")
    await of_client().release(connection)
    again = await of_client().acquire()
    assert again.get_server_pid() == connection_pid
    assert not again.is_in_transaction()
    await of_client().release(again)


@pytest.mark.usefixtures("two")
async def test_a_statement_that_is_cancelled_leaves_the_next_one_alone() -> None:
    for _ in range(3):
        sleeping = asyncio.create_task(database.fetch("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.02)
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        [row] = await database.fetch("SELECT 7 AS seven")
        assert row["seven"] == 7
    assert of_client().get_idle_size() == of_client().get_size()


@pytest.mark.usefixtures("two")
async def test_a_connection_that_the_server_has_ended_is_not_lent(own_url: str) -> None:
    before = await backend()
    async with observing(own_url) as observer:
        await observer.execute("SELECT pg_terminate_backend($1)", before)
        await until(lambda: is_gone(observer, before))
    await asyncio.sleep(0.05)  # its last words are on their way
    assert await backend() != before
    assert of_client().get_size() == 1


@pytest.mark.usefixtures("two")
async def test_what_nobody_has_wanted_for_a_while_is_asyncpg_s_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_SECONDS", 0.01)
    for connection in [await of_client().acquire(), await of_client().acquire()]:
        await of_client().release(connection)
    assert len(of_client()._at_hand) == 2

    async def given_back() -> Any:
        return not of_client()._at_hand and of_client().get_idle_size() == 2

    await until(given_back)
    assert of_client()._look is None


async def test_a_pool_that_is_closed_closes_what_is_at_hand(own_url: str) -> None:
    async with database.connected(database.config(own_url, max_connections=2)):
        pids = set(await asyncio.gather(backend(), backend()))
    async with observing(own_url) as observer:
        for pid in pids:
            await until(lambda pid=pid: is_gone(observer, pid))  # type: ignore[misc]
