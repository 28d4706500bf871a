"""Jobs make background work happen sooner, and nothing depends on them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from unittest.mock import patch

import asyncpg
import pytest

from models import database, files, jobs
from models.errors import StorageUnavailable
from storage.client import Storage, Stored
from tests.conftest import Caller, new_database
from tests.models.conftest import observing, until
from tests.uploads import announced, due_now, put, stored
from worker import queue, work
from worker.queue import working

NEVER = "0 0 29 2 *"
EVERY_SECOND = "* * * * * *"


@pytest.fixture
async def only_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_SWEEP", NEVER)


@pytest.fixture
async def clean(http: object) -> AsyncIterator[None]:  # noqa: ARG001 - which has the database
    """No schedule of another test, nothing that another test has left."""
    for table in ("deletions", "pgqueuer", "pgqueuer_schedules"):
        await database.execute(f"DELETE FROM {table}")
    yield
    await database.execute("DELETE FROM pgqueuer_schedules")


pytestmark = pytest.mark.usefixtures("clean")


async def delete(caller: Caller, object_id: str = "o") -> None:
    await caller.execute(f'mutation {{ deleteObjects(input: {{objectIds: ["{object_id}"]}}) {{ deletedObjectIds }} }}')


async def key_of(caller: Caller) -> tuple[str, str]:
    [row] = await database.fetch("SELECT bucket, key FROM uploads WHERE tenant_id = $1", caller.tenant.id)
    return row["bucket"], row["key"]


@contextlib.asynccontextmanager
async def listening(storage: Storage, database_url: str, count: int = 1) -> AsyncIterator[None]:
    """Workers that have done what was due when they began, and listen."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(working(storage, database_url))
        await until(lambda: connected(count))
        await jobs.add("forget jobs")
        await until(all_taken_up)
        yield


async def connected(count: int) -> bool:
    return len(await database.fetch(f"SELECT {CONNECTIONS}")) == count


async def all_taken_up() -> bool:
    return not await database.fetch("SELECT FROM pgqueuer")


CONNECTIONS = "FROM pg_stat_activity WHERE application_name = 'waybill jobs' AND datname = current_database()"


@pytest.mark.usefixtures("only_jobs")
async def test_bytes_of_what_is_deleted_go_at_once(admin: Caller, storage: Storage, database_url: str) -> None:
    await stored(admin, b"hello")
    bucket, key = await key_of(admin)
    async with listening(storage, database_url):
        await delete(admin)

        async def gone() -> bool:
            return await storage.head(bucket, key) is None

        await until(gone)


async def test_uploads_to_be_read_are_a_job(admin: Caller) -> None:
    await jobs.clear()
    await stored(admin, b"hello")
    [row] = await database.fetch("SELECT id FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    await files.settle(admin.tenant.id, [], [row["id"]])
    rows = await database.fetch("SELECT entrypoint FROM pgqueuer WHERE status = 'queued'")
    assert [row["entrypoint"] for row in rows] == ["verify"]


@pytest.mark.usefixtures("only_jobs")
async def test_no_upload_waits_for_a_large_one_that_is_being_read(
    admin: Caller, storage: Storage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LARGE", 6)
    keys = {}
    for object_id, body in (("large", b"hello!"), ("small", b"hello")):
        assert await put(await announced(admin, body, object_id), body) == 200
    for row in await database.fetch("SELECT id, size_bytes FROM uploads WHERE tenant_id = $1", admin.tenant.id):
        keys[row["size_bytes"]] = row["id"]
    original, begun = Storage.head, asyncio.Event()

    async def small_is_complete() -> bool:
        return await admin.object_ids({"fileState": "COMPLETE"}) == ["small"]

    async def head(self: Storage, bucket: str, key: str) -> Stored | None:
        found = await original(self, bucket, key)
        if found is not None and found.size == 6 and not begun.is_set():
            begun.set()
            await until(small_is_complete)
        return found

    with patch.object(Storage, "head", head):
        await files.settle(admin.tenant.id, [], [keys[6]])
        async with working(storage, database_url):
            await begun.wait()
            await files.settle(admin.tenant.id, [], [keys[5]])
            await until(small_is_complete)


async def test_sweep_finds_the_work_of_lost_jobs(
    admin: Caller, storage: Storage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_SWEEP", EVERY_SECOND)
    await stored(admin, b"hello")
    bucket, key = await key_of(admin)
    async with listening(storage, database_url):
        async with database.transaction():
            await database.execute("DELETE FROM objects WHERE tenant_id = $1", admin.tenant.id)
            await jobs.clear()

        async def gone() -> bool:
            return await storage.head(bucket, key) is None

        await until(gone)


async def test_deletions_of_one_tenant_do_not_wait_for_one_another(admin: Caller, database_url: str) -> None:
    for object_id in "ab":
        await stored(admin, b"hello", object_id)
    own = "DELETE FROM objects WHERE tenant_id = $1 AND object_id = $2"
    async with observing(database_url) as one, observing(database_url) as other:
        for connection, object_id in ((one, "a"), (other, "b")):
            await connection.execute("SET lock_timeout = '2s'; BEGIN")
            await connection.execute(own, admin.tenant.id, object_id)
        await other.execute("COMMIT")
        await one.execute("COMMIT")


@pytest.mark.usefixtures("only_jobs")
async def test_work_goes_on_when_its_connection_is_lost_and_whatever_fails(
    admin: Caller, storage: Storage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_PAUSE_SECONDS", 0.01)
    await stored(admin, b"hello")
    original, calls = Storage.delete_many, 0

    async def failing(self: Storage, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        nonlocal calls
        calls += 1
        if calls <= 2:
            raise [RuntimeError("a fault of ours"), StorageUnavailable()][calls % 2]
        return await original(self, bucket, keys)

    async def asked(times: int) -> bool:
        await due_now()
        await jobs.add(jobs.DELETE)
        return calls >= times

    with patch.object(Storage, "delete_many", failing):
        async with listening(storage, database_url):
            await delete(admin)
            await until(lambda: asked(2))
            await database.execute(f"SELECT pg_terminate_backend(pid) {CONNECTIONS}")
            await until(lambda: asked(3))


@pytest.mark.usefixtures("only_jobs")
async def test_what_is_begun_is_finished_when_a_worker_ends(admin: Caller, storage: Storage, database_url: str) -> None:
    await stored(admin, b"hello")
    original = Storage.delete_many
    begun, go = asyncio.Event(), asyncio.Event()

    async def slow(self: Storage, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        begun.set()
        await go.wait()
        return await original(self, bucket, keys)

    with patch.object(Storage, "delete_many", slow):
        async with listening(storage, database_url):
            await delete(admin)
            await begun.wait()
            asyncio.get_running_loop().call_later(0.1, go.set)
    rows = await database.fetch("SELECT attempts FROM deletions WHERE tenant_id = $1", admin.tenant.id)
    assert [row["attempts"] for row in rows] == [0]  # it waits for the URL to be over, not for another attempt


@pytest.mark.usefixtures("only_jobs")
async def test_what_takes_too_long_when_a_worker_ends_is_broken_off(
    admin: Caller, storage: Storage, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_STOP_SECONDS", 0.1)
    await stored(admin, b"hello")
    begun = asyncio.Event()

    async def hanging(*_: object) -> dict[str, str]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    async with asyncio.timeout(20):
        with patch.object(Storage, "delete_many", hanging):
            async with listening(storage, database_url):
                await delete(admin)
                await begun.wait()


@pytest.mark.usefixtures("only_jobs")
async def test_more_than_one_batch_is_shared_among_workers(storage: Storage, database_url: str) -> None:
    """Two batches at once are in two workers, each of which does one at a time; one is offered with every batch."""
    both = asyncio.Event()
    running = 0

    async def meeting(*_: object) -> dict[str, str]:
        nonlocal running
        running += 1
        if running == 2:
            both.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(both.wait(), 0.1)
        running -= 1
        return {}

    kinds = [kind._replace(most=1) if kind.name == jobs.DELETE else kind for kind in work.KINDS]
    with (
        patch.object(Storage, "delete_many", meeting),
        patch("worker.deletions.KEYS_PER_DELETE", 1),
        patch.object(queue, "KINDS", kinds),
    ):
        async with listening(storage, database_url, 2):
            await database.execute(
                "INSERT INTO deletions (tenant_id, bucket, key, reserved_bytes, due_at, over_at, until_at, attempts)"
                " SELECT 0, 'bucket', n, 0, now(), now(), now(), 0 FROM generate_series(1, 100) AS n"
            )
            async with asyncio.timeout(20):
                await both.wait()


async def test_nothing_is_left_in_the_queue_when_all_is_drained(admin: Caller, storage: Storage) -> None:
    await stored(admin, b"hello")
    await delete(admin)
    await work.drain(storage)
    assert await database.fetch("SELECT FROM pgqueuer") == []


async def test_tables_of_the_queue_are_those_that_pgqueuer_wants() -> None:
    connection = await asyncpg.connect(await new_database())
    try:
        plan = await queue.queries_on(connection).plan_upgrade()
    finally:
        await connection.close()
    assert (plan.statements, plan.notes) == ((), ())
