"""What two calls at once do to each other."""

import asyncio
import contextvars
import secrets

from models import Role, Tenant, User, database, writes
from models.errors import AlreadyExists
from models.pages import Scope
from models.writes import NewObject
from tests.models.conftest import observing, until


async def test_calls_with_the_same_ids_in_opposite_order_do_not_deadlock(database_url: str) -> None:
    """One of two waits for the other, and is told that they exist; a deadlock would end both now and then."""
    async with database.connected(database.config(database_url)):
        tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
        user = await User.create(tenant=tenant, name="u", role=Role.ADMIN)
        for turn in range(10):
            new = [NewObject(f"{turn}-{number}", "[]") for number in range(1_000)]
            calls = [
                writes.create_batch(tenant.id, user.id, f"{turn}{name}", objects)
                for name, objects in (("a", new), ("b", new[::-1]))
            ]
            made, refused = sorted(
                await asyncio.gather(*calls, return_exceptions=True), key=lambda one: isinstance(one, BaseException)
            )
            assert isinstance(made, writes.Made)
            assert isinstance(refused, AlreadyExists)


async def test_deletion_locks_objects_in_the_order_in_which_everybody_does(database_url: str) -> None:
    """By primary key, so that it and announcements of files, in whatever order of ids, do not end in a deadlock."""
    async with database.connected(database.config(database_url)):
        tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
        user = await User.create(tenant=tenant, name="u", role=Role.ADMIN)
        await writes.create_batch(tenant.id, user.id, "b", [NewObject(one, "[]") for one in "zyxa"])
        lock = "SELECT FROM objects WHERE tenant_id = $1 AND object_id = $2 FOR UPDATE"
        outside = contextvars.copy_context()
        async with observing(database_url) as observer, database.transaction():
            await database.fetch(lock, tenant.id, "z")
            deleting = asyncio.create_task(writes.delete_objects(Scope(tenant.id), list("axyz")), context=outside)
            await until(lambda: observer.fetch(WAITING))
            assert len(await observer.fetch(f"{lock} NOWAIT", tenant.id, "a")) == 1
        await deleting


WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_objects_are_listed_in_the_order_given_whatever_their_ids(database_url: str) -> None:
    async with database.connected(database.config(database_url)):
        tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
        user = await User.create(tenant=tenant, name="u", role=Role.ADMIN)
        await writes.create_batch(tenant.id, user.id, "b", [NewObject(one, "[]") for one in "cab"])
        rows = await database.fetch("SELECT object_id FROM objects WHERE tenant_id = $1 ORDER BY id", tenant.id)
        assert [row["object_id"] for row in rows] == ["c", "a", "b"]
