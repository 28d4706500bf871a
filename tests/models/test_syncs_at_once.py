"""Local copies that several change at the same time: nobody waits longer than he must, and nobody fails for it."""

import asyncio
from uuid import uuid4

import pytest

from models import copying, database
from models.copying import Copied
from models.notices import Outcome
from models.pages import Row
from tests.models.conftest import observing, until
from tests.models.test_notices import ask, mine, new_source, notice

pytestmark = pytest.mark.usefixtures("connected")

WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
DELETE = "DELETE FROM objects WHERE tenant_id = $1 AND object_id = 'r'"


@pytest.fixture
async def source() -> Row:
    return await new_source()


async def test_notice_of_an_object_that_is_being_deleted_finds_it_gone(source: Row, own_url: str) -> None:
    await ask(source, notice())
    async with observing(own_url) as other:
        deleting = other.transaction()
        await deleting.start()
        await other.execute(DELETE, source["tenant_id"])
        asking = asyncio.create_task(ask(source, notice(name="b.jpg"), notice("s")))
        await until(lambda: database.fetch(WAITING))
        await deleting.commit()
        assert await asking == [Outcome.GONE, Outcome.QUEUED]
    assert await ask(source, notice(name="b.jpg")) == [Outcome.QUEUED]


async def test_notice_waits_for_the_object_before_it_locks_copies(source: Row, own_url: str) -> None:
    """As finishing does: the other way round, they would deadlock."""
    await ask(source, notice())
    async with observing(own_url) as other:
        finishing = other.transaction()
        await finishing.start()
        await other.execute("SELECT FROM objects WHERE tenant_id = $1 FOR UPDATE", source["tenant_id"])
        asking = asyncio.create_task(ask(source, notice(), notice(name="b.jpg")))
        await until(lambda: database.fetch(WAITING))
        await other.execute("SELECT FROM syncs WHERE source_id = $1 FOR UPDATE NOWAIT", source["id"])
        await finishing.commit()
        assert await asking == [Outcome.ALREADY, Outcome.QUEUED]


async def test_what_is_just_being_finished_keeps_nothing_else_from_going_on(source: Row) -> None:
    await ask(source, notice("r"), notice("s"))
    token = uuid4()
    one, other = await mine(source, token)
    await database.execute("UPDATE syncs SET due_at = now() + interval '1 second' WHERE source_id = $1", source["id"])
    done, begun = asyncio.Event(), asyncio.Event()

    async def finish() -> None:
        async with copying.finishing(token, one, Copied("p", 1, bytes(32), "e")):
            begun.set()
            await done.wait()

    finishing = asyncio.create_task(finish())
    await begun.wait()
    async with asyncio.timeout(5):
        assert await copying.going_on(token, [one["id"], other["id"]]) == {one["id"], other["id"]}
        await copying.put_back(token, [one["id"]])
    [row] = await database.fetch("SELECT due_at - now() AS left FROM syncs WHERE id = $1", other["id"])
    assert row["left"] > copying.LEASE / 2
    done.set()
    await finishing
    [row] = await database.fetch("SELECT state FROM syncs WHERE id = $1", one["id"])
    assert row["state"] == "SYNCED"


async def test_retry_waits_for_the_object_before_it_locks_copies(source: Row, own_url: str) -> None:
    await ask(source, notice())
    token = uuid4()
    [one] = await mine(source, token)
    await copying.fail(token, one["id"], "NETWORK", "it does not answer")
    async with observing(own_url) as other:
        deleting = other.transaction()
        await deleting.start()
        await other.execute("SELECT FROM objects WHERE tenant_id = $1 FOR UPDATE", source["tenant_id"])
        retrying = asyncio.create_task(copying.retry(source["tenant_id"], [one["id"]]))
        await until(lambda: database.fetch(WAITING))
        await other.execute("SELECT FROM syncs WHERE source_id = $1 FOR UPDATE NOWAIT", source["id"])
        await deleting.commit()
        assert await retrying == {one["id"]}
