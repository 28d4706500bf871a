"""Lists of those who see only what is granted to them: as looking at each object, whichever way leads to it."""

import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from unittest.mock import patch

import orjson
import pytest

from models import AccessLevel, Role, Tenant, User, database, depths, facets, granted, grants, reads, writes
from models.filters import (
    All,
    AnyOf,
    Compares,
    Condition,
    CreatedAfter,
    Equals,
    Everything,
    Granted,
    HasObject,
    HasPair,
    InBatch,
    Not,
    OneOf,
)
from models.grants import Thing
from models.ids import created_at
from models.pages import Bounds, Scope
from models.writes import NewObject

BATCHES, OBJECTS = 6, 12  # of each
A, B = HasPair("a", Equals("1")), HasPair("b", Equals("1"))
NUMBER = HasPair("n", Compares(">", 5))
FILTERS: list[Condition] = [
    Everything(), A, All((A, B)), AnyOf((A, B)), All((AnyOf((A, B)), HasPair("n", OneOf(("1", "2", "3"))))), NUMBER,
    All((A, NUMBER)), Not(A), InBatch("b2"), All((InBatch("b2"), A)), All((InBatch("b2"), NUMBER)), HasPair("n", None),
    AnyOf((All((InBatch("b2"), A)), B)), AnyOf((All((InBatch("b2"), NUMBER)), A)),
]  # fmt: skip


@dataclass
class World:
    tenant_id: int
    users: list[int]
    objects: dict[int, tuple[int, str, dict[str, str]]]  # batch, its id, data; by primary key, newest first
    seen: dict[int, set[int]]  # objects by user
    batches: dict[int, set[int]]  # by user, with those in which only something is granted

    def scope(self, user: int) -> Scope:
        return Scope(self.tenant_id, Granted(user))

    def matches(self, key: int, condition: Condition) -> bool:
        _, batch_id, data = self.objects[key]
        match condition:
            case Everything():
                return True
            case All(of):
                return all(self.matches(key, one) for one in of)
            case AnyOf(of):
                return any(self.matches(key, one) for one in of)
            case Not(of):
                return not self.matches(key, of)
            case InBatch(wanted):
                return batch_id == wanted
            case HasPair(str(name), test):
                if name not in data:
                    return False
                match test:
                    case None:
                        return True
                    case Equals(value):
                        return data[name] == value
                    case OneOf(values):
                        return data[name] in values
                    case Compares(">", number):
                        return float(data[name]) > number
        raise AssertionError(condition)


@pytest.fixture(scope="module")
async def world(own_url: str) -> World:
    """Six users with different grants on 72 objects."""
    dice = random.Random(4)
    async with database.connected(database.config(own_url)):
        tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
        owner = await User.create(tenant=tenant, name="owner", role=Role.ADMIN)
        objects: dict[int, tuple[int, str, dict[str, str]]] = {}
        for number in range(BATCHES):
            data = [
                {"a": str(dice.randrange(2)), "b": str(dice.randrange(2)), "n": str(dice.randrange(10))}
                for _ in range(OBJECTS)
            ]
            new = [
                NewObject(f"{number}-{index}", orjson.dumps([{"key": k, "value": v} for k, v in one.items()]).decode())
                for index, one in enumerate(data)
            ]
            made = await writes.create_batch(tenant.id, owner.id, f"b{number}", new)
            objects.update(
                {key: (made.batch["id"], f"b{number}", one) for key, one in zip(made.object_keys, data, strict=True)}
            )
        objects = dict(sorted(objects.items(), reverse=True))
        users, seen, batches = [], {}, {}
        for number, (of_batches, of_objects) in enumerate([(0, 0), (0, 1), (0, 30), (1, 5), (4, 0), (6, 10)]):
            user = await User.create(tenant=tenant, name=f"user{number}", role=Role.MEMBER)
            whole = set(dice.sample(sorted({batch for batch, _, _ in objects.values()}), of_batches))
            single = set(dice.sample(sorted(objects), of_objects))
            for batch in whole:
                await grants.give(tenant.id, user.id, Thing(batch), AccessLevel.VIEW, owner.id)
            for key in single:
                await grants.give(tenant.id, user.id, Thing(objects[key][0], key), AccessLevel.EDIT, owner.id)
            users.append(user.id)
            seen[user.id] = single | {key for key, (batch, _, _) in objects.items() if batch in whole}
            batches[user.id] = whole | {objects[key][0] for key in single}
        return World(tenant.id, users, objects, seen, batches)


@pytest.fixture(params=["grants lead", "objects lead"])
async def connected_either_way(own_url: str, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    few = 20 if request.param == "grants lead" else 0
    with patch.object(granted, "_FEW", few), patch.object(granted, "_ENOUGH", 5), patch.object(depths, "_SAMPLE", 5):
        async with database.connected(database.config(own_url)):
            yield


@pytest.mark.usefixtures("connected_either_way")
@pytest.mark.parametrize("condition", FILTERS, ids=str)
async def test_pages_and_counts_are_those_of_looking_at_each_object(world: World, condition: Condition) -> None:
    for user in world.users:
        expected = [key for key in world.objects if key in world.seen[user] and world.matches(key, condition)]
        found: list[int] = []
        after = None
        while True:
            page = await reads.objects(world.scope(user), condition, Bounds(7, after=after))
            found += [row["id"] for row in page.rows]
            if not page.has_next:
                break
            after = found[-1]
        assert found == expected
        last = await reads.objects(world.scope(user), condition, Bounds(5, backward=True))
        assert [row["id"] for row in last.rows] == expected[-5:]
        assert await reads.count_objects(world.scope(user), condition) == len(expected)


@pytest.mark.usefixtures("connected_either_way")
@pytest.mark.parametrize("condition", [Everything(), A, NUMBER, All((A, B))], ids=str)
async def test_nested_pages_and_batches_too(world: World, condition: Condition) -> None:
    everywhere = sorted({batch for batch, _, _ in world.objects.values()}, reverse=True)
    for user in world.users:
        scope = world.scope(user)
        pages = await reads.objects_of_batches(scope, everywhere, condition, Bounds(4))
        counts = await reads.count_objects_of_batches(scope, everywhere, condition)
        matching = [key for key in world.objects if key in world.seen[user] and world.matches(key, condition)]
        for batch in everywhere:
            expected = [key for key in matching if world.objects[key][0] == batch]
            assert [row["id"] for row in pages[batch].rows] == expected[:4]
            assert counts[batch] == len(expected)
        where = Everything() if condition == Everything() else HasObject(condition)
        listed = [one for one in everywhere if one in world.batches[user]]
        if condition != Everything():
            listed = [one for one in listed if any(world.objects[key][0] == one for key in matching)]
        for bounds, expected in (
            (Bounds(10), listed),
            (Bounds(2, after=everywhere[1]), [one for one in listed if one < everywhere[1]][:2]),
            (Bounds(2, backward=True), listed[-2:]),
        ):
            assert [row["id"] for row in (await reads.batches(scope, where, bounds)).rows] == expected
        assert await reads.count_batches(scope, where) == len(listed)
        recent = All((where, CreatedAfter(created_at(everywhere[2]))))
        expected = [one for one in listed if created_at(one) > created_at(everywhere[2])]
        assert [row["id"] for row in (await reads.batches(scope, recent, Bounds(10))).rows] == expected


@pytest.mark.usefixtures("connected_either_way")
@pytest.mark.parametrize("most", [10_000, 20])
async def test_facets_count_what_is_seen(world: World, most: int) -> None:
    with patch.object(facets, "MOST_COUNTED", most), patch.object(facets, "MOST_READ", most):
        for user in world.users:
            seen = [world.objects[key][2] for key in world.seen[user]]
            keys = {row["key"]: row["count"] for row in await facets.data_keys(world.scope(user), "", 10)}
            assert keys == ({key: min(len(seen), most + 1) for key in "abn"} if seen else {})
            values = {row["value"]: row["count"] for row in await facets.data_values(world.scope(user), "n", "", 10)}
            counted = {value: sum(one["n"] == value for one in seen) for value in sorted({one["n"] for one in seen})}
            assert values == {value: min(count, most + 1) for value, count in counted.items()}
            some = await facets.data_values(world.scope(user), "n", "5", 1)
            assert [row["value"] for row in some] == (["5"] if "5" in counted else [])
