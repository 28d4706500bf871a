"""``granted_pairs`` says what ``grants`` and ``object_pairs`` say together, whatever happened to both, and at once."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeAlias

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tortoise.migrations.executor import MigrationExecutor, MigrationTarget

from models import AccessLevel, Role, Tenant, User, database, grants, writes
from models.errors import NotFound
from models.grants import Thing
from models.pages import Scope
from models.writes import NewObject, Pair
from tests.conftest import new_database
from tests.models.conftest import observing, until
from tests.models.test_pairs import PROPERTY, History, Step, Undone, batches, changes, parts

PAIRS = [{"key": "k", "value": "v"}, {"key": "n", "value": "1"}]
MEMBERS = {1: (-10, -11), 2: (-20, -21)}  # by tenant; below zero, where no other test's users are
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

members = st.sampled_from([(tenant, user) for tenant, users in MEMBERS.items() for user in users])
gifts: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.sampled_from(["give", "give_each", "take"]), members, parts),
    st.tuples(st.sampled_from(["give_batch", "take_batch"]), members, batches),
)
either = st.one_of(changes, gifts)
histories = st.lists(
    st.one_of(either, gifts, st.tuples(st.sampled_from(["roll_back", "commit"]), st.lists(either, max_size=3))),
    max_size=8,
)


class HistoryOfGrants(History):
    """With two members of each tenant, who are given its objects and batches."""

    @classmethod
    async def begin(cls) -> "HistoryOfGrants":
        history = await super().begin()
        assert isinstance(history, HistoryOfGrants)
        for tenant, users in MEMBERS.items():
            await database.execute(
                "INSERT INTO users (id, name, role, created_at, tenant_id)"
                " SELECT id, 'm' || id, 'MEMBER', now(), $1 FROM unnest($2::bigint[]) AS id",
                *(tenant, list(users)),
            )
        return history

    async def do(self, steps: Iterable[Step]) -> None:
        for step in steps:
            await super().do([step])
            assert await stored() == await joined(), step

    async def give(self, member: tuple[int, int], part: tuple[int, int]) -> None:
        """One after the other, whether or not they are given already."""
        for thing in await things(member[0], part):
            await grants.give(*member, thing, AccessLevel.VIEW, member[0])

    async def give_each(self, member: tuple[int, int], part: tuple[int, int]) -> None:
        there = await database.fetch("SELECT object_pk FROM grants WHERE user_id = $1", member[1])
        given = {row["object_pk"] for row in there}
        await grants.give_each(*member, [one for one in await things(member[0], part) if one.object_pk not in given])

    async def take(self, member: tuple[int, int], part: tuple[int, int]) -> None:
        await database.execute("DELETE FROM grants WHERE user_id = $1 AND object_pk % $2 = $3", member[1], *part)

    async def give_batch(self, member: tuple[int, int], batch: tuple[int, int]) -> None:
        if member[0] == batch[0]:
            await grants.give(*member, Thing(batch[1]), AccessLevel.EDIT, member[0])

    async def take_batch(self, member: tuple[int, int], batch: tuple[int, int]) -> None:
        await grants.take(*member, Thing(batch[1]))


async def things(tenant: int, part: tuple[int, int]) -> list[Thing]:
    rows = await database.fetch(
        "SELECT batch_pk, id FROM objects WHERE tenant_id = $1 AND id % $2 = $3 ORDER BY id", tenant, *part
    )
    return [Thing(row["batch_pk"], row["id"]) for row in rows if row["id"]]  # ids of the product are not 0


_COLUMNS = "g.user_id, g.batch_pk, g.object_pk, p.key, p.value, p.number"


async def stored() -> list[tuple[Any, ...]]:
    rows = await database.fetch("SELECT user_id, batch_pk, object_pk, key, value, number FROM granted_pairs")
    return sorted((tuple(row) for row in rows), key=lambda row: row[:5])


async def joined() -> list[tuple[Any, ...]]:
    """What ``granted_pairs`` must hold."""
    rows = await database.fetch(f"SELECT {_COLUMNS} FROM grants g JOIN object_pairs p ON p.object_pk = g.object_pk")
    return sorted((tuple(row) for row in rows), key=lambda row: row[:5])


@pytest.mark.usefixtures("connected")
@settings(PROPERTY, max_examples=40)
@given(histories)
async def test_pairs_of_grants_are_those_of_their_objects_after_any_history(steps: list[Step]) -> None:
    objects: list[list[tuple[str, str]]] = [[("k", "a"), ("k", "b"), ("k", "a")], [], [("n", "1")]]
    begin: list[Step] = [("insert", (1, 11), objects), ("give", (1, -10), (1, 0)), ("give_each", (1, -11), (2, 1))]
    await (await HistoryOfGrants.begin()).do([*begin, *steps])
    await database.fetch("TRUNCATE tenants CASCADE")


@dataclass(frozen=True)
class World:
    """A batch with an object without data and one with some; both are granted to one of two members."""

    tenant_id: int
    owner: int
    one: int
    other: int
    batch: int
    objects: tuple[int, int]

    @classmethod
    async def new(cls) -> "World":
        tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
        owner, one, other = [
            await User.create(tenant=tenant, name=str(number), role=role)
            for number, role in enumerate((Role.ADMIN, Role.MEMBER, Role.MEMBER))
        ]
        new = [NewObject("bare", "[]"), NewObject("full", json(PAIRS))]
        made = await writes.create_batch(tenant.id, owner.id, "b", new)
        objects = (made.object_keys[0], made.object_keys[1])
        world = cls(tenant.id, owner.id, one.id, other.id, made.batch["id"], objects)
        await give(world, world.one)
        return world


Change: TypeAlias = Callable[[World], Awaitable[object]]


async def give(world: World, user: int) -> None:
    for key in world.objects:
        await grants.give(world.tenant_id, user, Thing(world.batch, key), AccessLevel.VIEW, world.owner)


async def take(world: World) -> None:
    for key in world.objects:
        await grants.take(world.tenant_id, world.one, Thing(world.batch, key))


async def set_data(world: World, *pairs: Pair) -> None:
    for key in world.objects:
        await writes.update_data(world.tenant_id, key, lambda _: list(pairs), None)


async def set_without_locking(world: World) -> None:
    await database.execute("UPDATE objects SET data = $2 WHERE tenant_id = $1", world.tenant_id, json(PAIRS[:1]))


def json(pairs: list[Pair]) -> str:
    return orjson.dumps(pairs).decode()


CHANGES: dict[str, Change] = {
    "give": lambda world: give(world, world.other),
    "give again": lambda world: give(world, world.one),
    "take": take,
    "set": lambda world: set_data(world, {"key": "new", "value": "2"}),
    "set without locking": set_without_locking,
    "clear": set_data,
    "delete": lambda world: writes.delete_objects(Scope(world.tenant_id), ["bare", "full"]),
    "delete batch": lambda world: writes.delete_batch(world.tenant_id, world.batch, cascade=True),
    "create as a member": lambda world: writes.create_objects(
        world.tenant_id, world.one, {"id": world.batch, "batch_id": "b", "created_by_id": world.owner},
        [NewObject(secrets.token_hex(6), json(PAIRS))],
    ),
}  # fmt: skip
DELETES = ("delete", "delete batch")


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("ending", ["commit", "roll back"])
@pytest.mark.parametrize("first", CHANGES)
async def test_changes_at_once_wait_for_each_other_and_none_fails(first: str, ending: str) -> None:
    """Beyond finding gone what was deleted."""
    for second, other_change in CHANGES.items():
        world = await World.new()
        done, end = asyncio.Event(), asyncio.Event()

        async def change(world: World = world, done: asyncio.Event = done, end: asyncio.Event = end) -> None:
            async with database.transaction():
                await CHANGES[first](world)
                done.set()
                await end.wait()
                if ending == "roll back":
                    raise Undone

        one = asyncio.create_task(change())
        await done.wait()
        other = asyncio.create_task(in_transaction(other_change, world))
        await until(lambda other=other: is_held_up(other))  # type: ignore[misc]
        end.set()
        results = await asyncio.gather(one, other, return_exceptions=True)
        assert isinstance(results[0], Undone if ending == "roll back" else NoneType), (second, results)
        gone = first in DELETES and ending == "commit"
        assert results[1] is None or (gone and isinstance(results[1], NotFound)), (second, results)
        assert await stored() == await joined(), second


async def in_transaction(change: Change, world: World) -> None:
    async with database.transaction():
        await change(world)


async def is_held_up(task: asyncio.Task[None]) -> bool:
    return task.done() or bool(await database.fetch(WAITING))


async def test_what_is_changed_while_pairs_are_copied_for_the_first_time_is_in_them() -> None:
    url = await new_database()
    async with database.connected(database.config(url)):
        world = await World.new()
        async with database.transaction() as client:
            executor = MigrationExecutor(client, database._APPS_OF_MIGRATIONS)
            await executor.migrate([MigrationTarget("models", "0017_hashes")], direction="backward")
        async with observing(url) as connection:
            changing = connection.transaction()
            await changing.start()
            await connection.execute(
                "UPDATE objects SET data = $2 WHERE tenant_id = $1", world.tenant_id, json(PAIRS[:1])
            )
            migrating = asyncio.create_task(database.migrate(url))
            await until(lambda: database.fetch(WAITING))
            await changing.commit()
            await migrating
        assert await stored() == await joined() != []
