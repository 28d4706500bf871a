"""What two calls at once do to each other."""

import asyncio
import secrets

from models import Role, Tenant, User, database, writes
from models.errors import AlreadyExists
from models.writes import NewObject


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


async def test_objects_are_listed_in_the_order_given_whatever_their_ids(database_url: str) -> None:
    async with database.connected(database.config(database_url)):
        tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
        user = await User.create(tenant=tenant, name="u", role=Role.ADMIN)
        await writes.create_batch(tenant.id, user.id, "b", [NewObject(one, "[]") for one in "cab"])
        rows = await database.fetch("SELECT object_id FROM objects WHERE tenant_id = $1 ORDER BY id", tenant.id)
        assert [row["object_id"] for row in rows] == ["c", "a", "b"]
