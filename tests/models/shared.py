"""A database of several tenants, of one of whom the planner's statistics know nothing."""

import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from unittest.mock import AsyncMock, patch

import orjson

from models import Role, Tenant, User, database, writes
from models.calls import Call
from models.filters import Equals, HasPair
from models.pages import Scope
from models.writes import NewObject
from tests.conftest import new_database

OBJECTS = 6_000
BATCHES = 6


def eq(key: str | None, value: str) -> HasPair:
    return HasPair(key, Equals(value))


A, B, RARE = eq("a", "all"), eq("b", "all"), eq("n", "3000")


@dataclass(frozen=True)
class Shared:
    """A database whose statistics are of one tenant and a tiny one before it; a third came afterwards."""

    url: str
    tiny: Scope
    new: Scope


async def new_shared() -> Shared:
    url = await new_database()
    async with database.connected(database.config(url)):
        await database.fetch("ALTER TABLE object_pairs SET (autovacuum_enabled = off)")
        await database.fetch("ALTER TABLE objects SET (autovacuum_enabled = off)")
        tiny = await fill(BATCHES, "all")
        await fill(3_000, "old")
        await database.fetch("ANALYZE")
        return Shared(url, tiny, await fill(OBJECTS, "all"))


async def fill(count: int, value: str) -> Scope:
    """With a second between the batches: what is made within 128 ms is looked at together where a range is late."""
    tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
    user = await User.create(tenant=tenant, name="u", role=Role.ADMIN)
    for number in range(BATCHES):
        part = range(number * count // BATCHES, (number + 1) * count // BATCHES)
        data = [
            [{"key": key, "value": value} for key in "abc"]
            + [{"key": "n", "value": str(n)}, {"key": "tenth", "value": f"{value} {n % 10}"}]
            for n in part
        ]
        new = [NewObject(f"o{n}", orjson.dumps(one).decode()) for n, one in zip(part, data, strict=True)]
        call = await Call.begin()
        then = replace(call, now=call.now + timedelta(seconds=number - BATCHES))
        with patch.object(Call, "begin", AsyncMock(return_value=then)):
            await writes.create_batch(tenant.id, user.id, f"batch{number}", new)
    return Scope(tenant.id)
