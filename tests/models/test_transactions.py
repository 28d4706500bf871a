"""Whenever a transaction is cancelled, its connection comes back and nothing of it is kept."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest
from tortoise.exceptions import IntegrityError

from models import Tenant, database
from tests.models.conftest import observing, until
from tests.models.relay import Relay, Side, relaying
from tests.models.transactions import (
    CONNECTIONS,
    INSERT,
    Undone,
    Work,
    insert,
    insert_nested,
    kept,
    nothing,
    read,
    use_all_connections,
)

ROUNDS = 10


@contextlib.asynccontextmanager
async def connected_through_relay(url: str) -> AsyncIterator[Relay]:
    async with relaying(url) as relay, database.connected(database.config(relay.url, max_connections=CONNECTIONS)):
        yield relay


@pytest.fixture
async def relay(own_url: str) -> AsyncIterator[Relay]:
    async with connected_through_relay(own_url) as relay:
        await database.fetch("TRUNCATE tenants CASCADE")
        yield relay


@pytest.fixture
async def observer(own_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with observing(own_url) as connection:
        yield connection


async def insert_and_undo() -> None:
    with contextlib.suppress(Undone):
        async with database.transaction():
            await database.execute(INSERT, secrets.token_hex(6))
            raise Undone


async def copy() -> None:
    async with database.transaction():
        rows = [(f"copied-{secrets.token_hex(6)}", "NONE", datetime.now(UTC)) for _ in range(100)]
        await database.copy("tenants", ["slug", "member_access", "created_at"], rows)


async def insert_meanwhile() -> None:
    async with database.one_transaction(nothing), database.transaction():
        await database.meanwhile(database.execute(INSERT, secrets.token_hex(6)))
        await database.meanwhile(database.execute(INSERT, secrets.token_hex(6)))


async def are_only(observer: asyncpg.Connection, pids: set[int]) -> bool:
    rows = await observer.fetch(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return {row["pid"] for row in rows} == pids


async def cancel_at(relay: Relay, work: Work, side: Side, text: bytes) -> None:
    """Cancel as many at once as there are connections, at the moment that this message is under way."""
    with relay.holding(side, text) as held:
        tasks = [asyncio.create_task(work()) for _ in range(CONNECTIONS)]
        await held.arrived(CONNECTIONS)
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * CONNECTIONS


BOTH: tuple[Side, ...] = ("request", "answer")


@pytest.mark.parametrize(
    ("work", "side", "text"),
    [
        *((insert, side, b"BEGIN") for side in BOTH),
        *((insert, side, b"INSERT") for side in BOTH),
        *((insert_nested, side, b"SAVEPOINT") for side in BOTH),
        *((insert_nested, side, b"RELEASE") for side in BOTH),
        *((insert_and_undo, side, b"ROLLBACK") for side in BOTH),
        *((insert_meanwhile, side, b"INSERT") for side in BOTH),
        *((copy, side, b"COPY") for side in BOTH),
        (copy, "request", b"copied"),
        *((read, side, b"read") for side in BOTH),
    ],
)
async def test_cancelled_work_gives_its_connection_back_and_leaves_nothing(
    relay: Relay, observer: asyncpg.Connection, work: Work, side: Side, text: bytes
) -> None:
    for _ in range(ROUNDS):
        await cancel_at(relay, work, side, text)
    pids = await use_all_connections()
    await until(lambda: are_only(observer, pids))
    assert await kept() == 0


@pytest.mark.parametrize("side", BOTH)
async def test_cancelled_commit_keeps_all_or_nothing_and_gives_its_connection_back(
    relay: Relay, observer: asyncpg.Connection, side: Side
) -> None:
    for _ in range(ROUNDS):
        await cancel_at(relay, insert_nested, side, b"COMMIT")
    pids = await use_all_connections()
    await until(lambda: are_only(observer, pids))
    # What was sent may have arrived: nobody can tell who cancels then. But never one row of the two.
    assert await kept() % 2 == 0


async def test_cancelled_begin_does_not_wait_for_a_server_that_hangs(relay: Relay) -> None:
    with relay.holding("request", b"BEGIN") as held:
        task = asyncio.create_task(insert())
        await held.arrived(1)
        task.cancel()
        await asyncio.wait([task], timeout=20)
        assert task.cancelled()


async def test_cancelled_wait_for_a_connection_takes_none(relay: Relay, observer: asyncpg.Connection) -> None:
    with relay.holding("request", b"read") as held:
        busy = [asyncio.create_task(read()) for _ in range(CONNECTIONS)]
        await held.arrived(CONNECTIONS)
        waiting = [asyncio.create_task(work()) for work in (insert, copy, read) for _ in range(ROUNDS)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    assert all(task.cancelled() for task in waiting)
    await asyncio.gather(*busy)
    pids = await use_all_connections()
    await until(lambda: are_only(observer, pids))
    assert await kept() == 0


@pytest.mark.parametrize(("side", "text"), [("request", b"waybill"), ("answer", b"server_version")])
async def test_cancelled_connecting_leaves_room_for_other_connections(
    own_url: str, observer: asyncpg.Connection, side: Side, text: bytes
) -> None:
    async with connected_through_relay(own_url) as relay:
        await cancel_connecting(relay, side, text)
        async with occupied_connection():
            await cancel_connecting(relay, side, text)
        pids = await use_all_connections()
        await until(lambda: are_only(observer, pids))


async def cancel_connecting(relay: Relay, side: Side, text: bytes) -> None:
    with relay.holding(side, text) as held:
        for number in range(ROUNDS):
            task = asyncio.create_task(insert())
            await held.arrived(number + 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


@contextlib.asynccontextmanager
async def occupied_connection() -> AsyncIterator[None]:
    async def occupy() -> None:
        async with database.transaction():
            occupied.set()
            await done.wait()

    occupied, done = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(occupy())
    await occupied.wait()
    yield
    done.set()
    await task


async def test_task_that_outlives_its_cancelled_transaction_is_not_left_in_it(relay: Relay) -> None:
    """As a request is that ends by its deadline: cancelled again for as long as the server does not react."""

    async def survive() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            async with database.transaction():
                await read()
        outlived.set()
        await insert()

    outlived = asyncio.Event()
    with relay.holding("request", b"read") as held:
        task = asyncio.create_task(survive())
        await held.arrived(1)
        while not outlived.is_set():
            task.cancel()
            await asyncio.sleep(0.01)
    await task
    assert await kept() == 1
    await use_all_connections()


@pytest.mark.usefixtures("relay")
async def test_nested_transaction_is_a_savepoint() -> None:
    async with database.transaction():
        await database.execute(INSERT, "kept-1")
        await insert_and_undo()
        await insert()
        with pytest.raises(IntegrityError):
            await insert_same("kept-1")
        await database.execute(INSERT, "kept-2")
    assert await kept() == 3
    with contextlib.suppress(Undone):
        async with database.transaction():
            await insert()
            raise Undone
    assert await kept() == 3


async def insert_same(slug: str) -> None:
    async with database.transaction():
        await Tenant.create(slug=slug)


async def test_connection_that_cannot_be_given_back_does_not_hide_what_ended_the_transaction(own_url: str) -> None:
    under_way: asyncio.Task[object] = asyncio.create_task(asyncio.sleep(0))

    async def broken_off() -> None:
        nonlocal under_way
        async with database.transaction() as client, client.acquire_connection() as connection:
            # As after COPY on a connection whose server has said goodbye and not yet hung up.
            under_way = asyncio.create_task(connection.fetch("SELECT pg_sleep(600)"))
            await asyncio.sleep(0)
            raise Undone

    async with database.connected(database.config(own_url, max_connections=1)):
        for _ in range(2):
            with pytest.raises(Undone):
                await broken_off()
            with pytest.raises(asyncpg.PostgresError):
                await under_way
        assert await database.fetch("SELECT 1")
