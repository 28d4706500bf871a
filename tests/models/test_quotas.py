"""What tenants use is counted right whatever happens, and what is beyond a quota is refused when it is committed."""

import asyncio
import contextlib
import contextvars
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from tortoise.migrations.executor import MigrationExecutor, MigrationTarget

from models import Tenant, User, database, files, people, writes
from models.errors import AlreadyExists, NotFound, QuotaExceeded
from models.files import NewFile
from models.filters import Everything
from models.pages import Scope
from models.writes import NewObject
from tests.conftest import new_database
from tests.models.conftest import until

TRUTH = """
    SELECT t.slug, coalesce(u.used, 0) AS used_bytes,
           coalesce(u.reserved, 0)
           + (SELECT coalesce(sum(reserved_bytes), 0) FROM deletions WHERE tenant_id = t.id) AS reserved_bytes,
           (SELECT count(*) FROM objects WHERE tenant_id = t.id) AS used_objects
    FROM tenants t LEFT JOIN (
        SELECT tenant_id, sum(size_bytes) FILTER (WHERE state = 'COMPLETE') AS used,
               sum(size_bytes) FILTER (WHERE state IN ('PENDING', 'VERIFYING')) AS reserved
        FROM uploads GROUP BY tenant_id) AS u ON u.tenant_id = t.id
    ORDER BY t.slug
"""
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
FIGURES = ("slug", "used_bytes", "reserved_bytes", "used_objects")


@pytest.fixture(scope="session")
async def url() -> str:
    """A database of these tests alone: what they delete leaves deletions behind."""
    return await new_database()


@pytest.fixture
async def counting(url: str) -> AsyncIterator[None]:
    async with database.connected(database.config(url, max_connections=4)):
        yield


def file(size_bytes: int) -> NewFile:
    return NewFile("a", "b/c", size_bytes, None, "bucket", secrets.token_hex(16), timedelta(hours=1))


async def new_tenant(**quotas: int) -> tuple[Tenant, User]:
    tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}", **quotas)  # type: ignore[arg-type]
    return tenant, await User.create(tenant=tenant, name="u")


async def counted() -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in FIGURES) for row in await people.usage_of_all()]


async def true() -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in FIGURES) for row in await database.fetch(TRUTH)]


class Life:
    """Of some tenants, at random: everything that makes, completes, replaces, gives up and deletes."""

    def __init__(self, seed: int, tenants: list[tuple[Tenant, User]]) -> None:
        self._random = random.Random(seed)
        self._tenants = tenants
        self.refused = 0

    async def step(self) -> None:
        steps: list[Callable[[Tenant, User], Awaitable[object]]] = [
            *[self.create_batch] * 2, *[self.create_objects] * 3, *[self.announce] * 3, *[self.complete] * 3,
            self.verify, self.give_up, self.expire, self.delete_objects, self.delete_batch, *[self.delete_bytes] * 3,
            self.correct, self.undo,
        ]  # fmt: skip
        try:
            await self._random.choice(steps)(*self._random.choice(self._tenants))
        except QuotaExceeded:
            self.refused += 1
        except (NotFound, AlreadyExists):
            pass  # somebody else was there before

    def _objects(self) -> list[NewObject]:
        return [
            NewObject(
                secrets.token_hex(8), "[]", file(self._random.randrange(50)) if self._random.random() < 0.7 else None
            )
            for _ in range(self._random.randrange(6))
        ]

    async def _some(self, sql: str, tenant: Tenant) -> list[Any]:
        rows = await database.fetch(f"{sql} WHERE tenant_id = $1 ORDER BY random() LIMIT 5", tenant.id)
        return rows[: self._random.randrange(1, 6)]

    async def create_batch(self, tenant: Tenant, user: User) -> None:
        await writes.create_batch(tenant.id, user.id, secrets.token_hex(8), self._objects())

    async def create_objects(self, tenant: Tenant, user: User) -> None:
        for batch in (await self._some("SELECT id, batch_id, created_by_id FROM batches", tenant))[:1]:
            await writes.create_objects(tenant.id, user.id, batch, self._objects())

    async def announce(self, tenant: Tenant, _: User) -> None:
        rows = await self._some("SELECT id FROM objects", tenant)
        await files.announce(tenant.id, [(row["id"], file(self._random.randrange(50))) for row in rows])

    async def complete(self, tenant: Tenant, _: User) -> None:
        rows = [row["id"] for row in await self._some("SELECT id FROM uploads", tenant)]
        await files.settle(tenant.id, rows[::2], rows[1::2])

    async def verify(self, _: Tenant, __: User) -> None:
        for row in await files.unread(3):
            await files.settle(row["tenant_id"], [row["file_pk"]])

    async def give_up(self, tenant: Tenant, _: User) -> None:
        for row in (await self._some("SELECT id FROM uploads", tenant))[:1]:
            await files.give_up([row["id"]], "SIZE_MISMATCH")

    async def expire(self, tenant: Tenant, _: User) -> None:
        rows = [row["id"] for row in await self._some("SELECT id FROM uploads", tenant)]
        await database.execute(
            "UPDATE uploads SET expires_at = now() - interval '1 hour' WHERE id = ANY($1::bigint[])", rows[:1]
        )
        await files.give_up(rows[:1], None)

    async def delete_objects(self, tenant: Tenant, _: User) -> None:
        rows = await self._some("SELECT object_id FROM objects", tenant)
        await writes.delete_objects(Scope(tenant.id, Everything()), sorted(row["object_id"] for row in rows))

    async def delete_batch(self, tenant: Tenant, _: User) -> None:
        for row in (await self._some("SELECT id FROM batches", tenant))[:1]:
            await writes.delete_batch(tenant.id, row["id"], cascade=True)

    async def delete_bytes(self, _: Tenant, __: User) -> None:
        """Of keys whose URLs work, and of keys whose URLs are over."""
        await database.execute(
            "UPDATE deletions SET due_at = now(), over_at = now() WHERE id = ANY(ARRAY(SELECT id FROM deletions"
            " WHERE due_at > now() + interval '10 minutes' LIMIT $1 FOR UPDATE SKIP LOCKED))",
            self._random.randrange(20),
        )
        rows = [row["id"] for row in await files.due(20)]
        await files.deleted(rows[2:], [(row, "AccessDenied") for row in rows[:2]])

    async def correct(self, tenant: Tenant, _: User) -> None:
        """By hand, as no code of ours does it."""
        for row in (await self._some("SELECT id FROM uploads", tenant))[:1]:
            async with database.transaction():
                await database.execute(
                    "UPDATE uploads SET size_bytes = $2 WHERE id = $1", row["id"], self._random.randrange(50)
                )

    async def undo(self, tenant: Tenant, user: User) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with database.transaction():
                with contextlib.suppress(ZeroDivisionError):
                    async with database.transaction():  # a savepoint
                        await self.create_batch(tenant, user)
                        raise ZeroDivisionError
                await self.delete_objects(tenant, user)
                if self._random.random() < 0.5:
                    raise ZeroDivisionError


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("counting")
async def test_counts_are_the_truth_whatever_happens_at_once_and_no_quota_is_exceeded(seed: int) -> None:
    await database.fetch("TRUNCATE tenants CASCADE")
    limited = [await new_tenant(quota_bytes=500, quota_objects=25) for _ in range(2)]
    lives = [Life(seed * 10 + number, [*limited, await new_tenant()]) for number in range(4)]

    async def live(life: Life) -> None:
        for _ in range(15):
            await life.step()

    for _ in range(8):
        await asyncio.gather(*(live(life) for life in lives))
        assert await counted() == await true()
        for row in await people.usage_of_all():
            if row["quota_bytes"] is not None:
                assert row["used_bytes"] + row["reserved_bytes"] <= row["quota_bytes"]
                assert row["used_objects"] <= row["quota_objects"]
    assert any(life.refused for life in lives)
    assert sum(used + reserved for _, used, reserved, _ in await counted()) > 0


@pytest.mark.parametrize("statement", ["TRUNCATE uploads", "TRUNCATE objects CASCADE", "TRUNCATE batches CASCADE"])
@pytest.mark.usefixtures("counting")
async def test_emptied_tables_count_what_is_left_of_them(statement: str) -> None:
    tenant, user = await new_tenant()
    made = await writes.create_batch(tenant.id, user.id, "b", [NewObject(one, "[]", file(9)) for one in "abc"])
    await files.settle(tenant.id, [made.uploads[made.object_keys[0]]["file_pk"]])
    await writes.delete_objects(Scope(tenant.id, Everything()), ["c"])
    assert (tenant.slug, 9, 18, 2) in await counted()
    await database.fetch(statement)
    assert await counted() == await true()
    objects = 2 if statement == "TRUNCATE uploads" else 0
    assert (tenant.slug, 0, 27, objects) in await counted()  # the URLs still work
    await database.fetch("TRUNCATE deletions")
    assert await counted() == await true()
    assert (tenant.slug, 0, 0, objects) in await counted()


@pytest.mark.usefixtures("counting")
async def test_changes_do_not_pile_up() -> None:
    tenant, user = await new_tenant()
    for number in range(3):
        await writes.create_batch(tenant.id, user.id, f"{number}", [NewObject(f"{number}", "[]", file(9))])
        await writes.delete_objects(Scope(tenant.id, Everything()), [f"{number}"])
    rows = await database.fetch(
        "SELECT objects, reserved_bytes, kept_bytes FROM usage_changes WHERE tenant_id = $1", tenant.id
    )
    assert sorted(tuple(row) for row in rows) == [(-1, 0, 0), (0, -9, 0), (0, 0, 9)]  # of the last deletion


@pytest.mark.usefixtures("counting")
async def test_bytes_that_a_deletion_keeps_count_for_a_statement_that_was_earlier_and_is_settled_later() -> None:
    tenant, user = await new_tenant(quota_bytes=10)
    made = await writes.create_batch(tenant.id, user.id, "b", [NewObject("a", "[]", file(6)), NewObject("b", "[]")])
    outside = contextvars.copy_context()

    async def announce_while_another_deletes() -> None:
        async with database.transaction():
            await files.announce(tenant.id, [(made.object_keys[1], file(5))])
            delete = writes.delete_objects(Scope(tenant.id, Everything()), ["a"])
            await asyncio.create_task(delete, context=outside)

    with pytest.raises(QuotaExceeded) as refused:
        await announce_while_another_deletes()
    assert (refused.value.extensions["used"], refused.value.extensions["reserved"]) == (0, 6)
    assert (tenant.slug, 0, 6, 1) in await counted()


@pytest.mark.usefixtures("counting")
async def test_row_of_a_tenant_that_somebody_holds_keeps_only_what_takes_more_waiting(url: str) -> None:
    tenant, user = await new_tenant(quota_bytes=100)
    made = await writes.create_batch(tenant.id, user.id, "b", [NewObject(one, "[]", file(9)) for one in "abc"])
    first, second, _ = (made.uploads[key]["file_pk"] for key in made.object_keys)
    holder = await asyncpg.connect(url)
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM tenants WHERE id = $1 FOR NO KEY UPDATE", tenant.id)
            async with asyncio.timeout(10):
                await files.settle(tenant.id, [first])
                await files.give_up([second], "SIZE_MISMATCH")
                await writes.delete_objects(Scope(tenant.id, Everything()), ["c"])
            more = asyncio.create_task(writes.create_objects(tenant.id, user.id, made.batch, [NewObject("d", "[]")]))
            await until(lambda: database.fetch(WAITING))
        await more
    finally:
        await holder.close()
    assert (tenant.slug, 9, 18, 3) in await counted()


@pytest.mark.usefixtures("counting")
async def test_what_is_refused_at_commit_is_undone_and_gives_the_connection_back() -> None:
    tenant, user = await new_tenant(quota_bytes=10)
    for number in range(10):  # more than there are connections
        with pytest.raises(QuotaExceeded) as refused:
            await writes.create_batch(tenant.id, user.id, f"b{number}", [NewObject("o", "[]", file(11))])
        assert refused.value.extensions == {
            "code": "QUOTA_EXCEEDED", "quota": "bytes", "used": 0, "reserved": 0, "limit": 10, "requested": 11,
        }  # fmt: skip
    assert await database.fetch("SELECT FROM batches WHERE tenant_id = $1", tenant.id) == []
    assert (tenant.slug, 0, 0, 0) in await counted()


async def test_migration_counts_what_is_there_already() -> None:
    url = await new_database()
    async with database.connected(database.config(url)):
        tenant, user = await new_tenant()
        made = await writes.create_batch(tenant.id, user.id, "b", [NewObject(one, "[]", file(9)) for one in "abc"])
        first, second, _ = (made.uploads[key]["file_pk"] for key in made.object_keys)
        await files.settle(tenant.id, [first])
        await files.give_up([second], "SIZE_MISMATCH")
        await new_tenant()
        before = await counted()
        assert (tenant.slug, 9, 18, 3) in before
        async with database.transaction() as client:
            executor = MigrationExecutor(client, database._APPS_OF_MIGRATIONS)
            await executor.migrate([MigrationTarget("models", "0002_files")], direction="backward")
    assert "0004_quotas" in await database.migrate(url)
    async with database.connected(database.config(url)):
        assert await counted() == before == await true()
