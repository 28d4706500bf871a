"""Whichever lists lead to a page, alone or merged, it is that of looking at each object; and which ones do lead."""

import random
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from unittest.mock import patch

import orjson
import pytest

from models import AccessLevel, Role, Tenant, User, database, depths, driven, grants, merged, reads, zones
from models.driving import NEVER, RARE, SELDOM, Both, Short, both, flat, in_no_order, lead, rivals
from models.filters import (
    All,
    AnyOf,
    Compares,
    Condition,
    Equals,
    Everything,
    Granted,
    HasPair,
    InBatch,
    InOuterBatch,
    Not,
    OneOf,
    StartsWith,
    every,
)
from models.grants import Thing
from models.pages import Bounds, Scope
from models.writes import NewObject, create_batch

BATCHES, OBJECTS = 4, 40  # of each


def eq(key: str, value: str) -> HasPair:
    return HasPair(key, Equals(value))


A, B, C = eq("a", "1"), eq("b", "1"), eq("c", "1")
LOW, HIGH = HasPair("n", Compares("<", 50)), HasPair("n", Compares(">=", 90))
SOME = HasPair("c", OneOf(("0", "2")))
EITHER = AnyOf((A, eq("c", "2")))
FILTERS: list[Condition] = [
    LOW, All((A, B)), All((A, B, C)), All((A, LOW)), All((A, HIGH, B)), All((LOW, HIGH)), All((A, Not(B))),
    All((A, SOME)), SOME, EITHER, All((EITHER, B)), All((EITHER, SOME)), All((A, HasPair("n", StartsWith("1")))),
    All((A, HasPair(None, Equals("1")))), All((HasPair(None, Compares("<", 50)), B)), All((AnyOf((LOW, C)), A)),
    All((A, InBatch("b2"))),
]  # fmt: skip


@dataclass(frozen=True)
class World:
    tenant_id: int
    objects: dict[int, tuple[int, str, dict[str, str]]]  # batch, its id, data; by primary key, newest first
    seen: dict[int, set[int]]  # objects, by user

    def expected(self, scope: Scope, condition: Condition) -> list[int]:
        seen = self.seen[scope.within.user_id] if isinstance(scope.within, Granted) else set(self.objects)
        return [key for key in self.objects if key in seen and self._matches(key, condition)]

    def _matches(self, key: int, condition: Condition) -> bool:
        _, batch_id, data = self.objects[key]
        match condition:
            case All(of):
                return all(self._matches(key, one) for one in of)
            case AnyOf(of):
                return any(self._matches(key, one) for one in of)
            case Not(of):
                return not self._matches(key, of)
            case InBatch(wanted):
                return batch_id == wanted
            case HasPair(name, test):
                return any(_passes(value, test) for one, value in data.items() if name in (None, one))
        raise AssertionError(condition)


def _passes(value: str, test: object) -> bool:
    match test:
        case Equals(wanted):
            return value == wanted
        case OneOf(values):
            return value in values
        case StartsWith(prefix):
            return value.startswith(prefix)
        case Compares(operator, number):
            return value.isdigit() and (float(value) < number if operator == "<" else float(value) >= number)
    raise AssertionError(test)


@pytest.fixture(scope="module")
async def world(own_url: str) -> World:
    """Numbers grow with time, but for some that are anywhere, and some that are none."""
    dice = random.Random(7)
    async with database.connected(database.config(own_url)):
        tenant = await Tenant.create(slug=f"t{secrets.token_hex(6)}")
        owner = await User.create(tenant=tenant, name="owner", role=Role.ADMIN)
        objects: dict[int, tuple[int, str, dict[str, str]]] = {}
        for batch in range(BATCHES):
            data = [
                {key: str(dice.randrange(of)) for key, of in (("a", 2), ("b", 2), ("c", 4))} for _ in range(OBJECTS)
            ]
            for place, one in enumerate(data):
                number = str(dice.choice([batch * OBJECTS + place] * 9 + [dice.randrange(160), "none"]))
                one["n"] = number
            new = [
                NewObject(f"{batch}-{place}", orjson.dumps([{"key": k, "value": v} for k, v in one.items()]).decode())
                for place, one in enumerate(data)
            ]
            made = await create_batch(tenant.id, owner.id, f"b{batch}", new)
            objects |= {
                key: (made.batch["id"], f"b{batch}", one) for key, one in zip(made.object_keys, data, strict=True)
            }
        seen = {}
        for of_batches, of_objects in [(0, 60), (1, 20)]:
            user = await User.create(tenant=tenant, name=f"user{of_objects}", role=Role.MEMBER)
            whole = set(dice.sample(sorted({batch for batch, _, _ in objects.values()}), of_batches))
            single = set(dice.sample(sorted(objects), of_objects))
            things = [Thing(batch) for batch in whole] + [Thing(objects[key][0], key) for key in single]
            for thing in things:
                await grants.give(tenant.id, user.id, thing, AccessLevel.VIEW, owner.id)
            seen[user.id] = single | {key for key, (batch, _, _) in objects.items() if batch in whole}
        return World(tenant.id, dict(sorted(objects.items(), reverse=True)), seen)


def ways(condition: Condition) -> Iterator[tuple[Condition | Both, tuple[Condition, ...]]]:
    """Each list that may lead alone, and each two that may be merged, with what they stand for."""
    lists = rivals(condition)
    yield from ((one, (one,)) for one in lists)
    if not any(isinstance(part, InBatch | InOuterBatch) for part in flat(condition)):
        for one, other in permutations(lists, 2):
            if (taken := both(one, other)) is not None:
                yield taken, (one, other)
                if isinstance(taken.one, Granted):
                    yield replace(taken, is_short=True), (one, other)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("condition", FILTERS[:-1], ids=str)
async def test_every_way_leads_to_the_same_pages(world: World, condition: Condition) -> None:
    taken = 0
    mixed = max(world.seen)  # has grants of both kinds
    for scope in (Scope(world.tenant_id), Scope(world.tenant_id, Granted(mixed))):
        expected = world.expected(scope, condition)
        for led, parts in ways(All((scope.within, condition))):
            taken += 1

            def forced(
                of: Condition,
                _: Mapping[Condition, float],
                led: Condition | Both = led,
                parts: tuple[Condition, ...] = parts,
                *,
                alone: bool = False,
            ) -> tuple[Condition | Both, Condition]:
                taken = parts[:1] if alone else parts
                return taken[0] if alone else led, All(tuple(part for part in flat(of) if part not in taken))

            # Ranges are taken for long ones, and zones are small, so that they begin in the midst of the objects; or
            # for short ones. Before two lists are merged, more than a page's entries of the first are looked up.
            begins = isinstance(led, Both) and not led.is_short and isinstance(parts[0], Granted | HasPair)
            with (
                patch.object(driven, "lead", forced),
                patch.object(depths, "may_begin", lambda *_, begins=begins: begins),
                patch.object(merged, "LOOKED_UP", 40),
                patch.object(depths, "SECONDS", 0.0),
                patch.object(zones, "_BITS", 3),
            ):
                if not isinstance(led, Both) and in_no_order(led):
                    await _has_pages(scope, condition, expected)
                with patch.object(depths, "_FEW", 1), patch.object(depths, "_SOME", 0):
                    await _has_pages(scope, condition, expected)
    assert taken >= (1 + 3 if condition == LOW else 4)


async def _has_pages(scope: Scope, condition: Condition, expected: list[int]) -> None:
    assert await reads.count_objects(scope, condition) == len(expected)
    for backward in (False, True):
        found: list[int] = []
        bounds = Bounds(30, backward=backward)
        while True:
            page = await reads.objects(scope, condition, bounds)
            keys = [row["id"] for row in page.rows]
            found = keys + found if backward else found + keys
            assert len(found) <= len(expected)  # or it goes round in circles
            if not (page.has_previous if backward else page.has_next):
                break
            bounds = Bounds(30, backward, after=None if backward else keys[-1], before=keys[0] if backward else None)
        assert found == expected
    if len(expected) > 4:
        within = Bounds(100, after=expected[1], before=expected[-2])
        assert [row["id"] for row in (await reads.objects(scope, condition, within)).rows] == expected[2:-2]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("condition", FILTERS, ids=str)
async def test_pages_are_the_same_by_the_way_that_is_chosen_and_in_batches(world: World, condition: Condition) -> None:
    batches = sorted({batch for batch, _, _ in world.objects.values()})
    for scope in [Scope(world.tenant_id), *(Scope(world.tenant_id, Granted(user)) for user in world.seen)]:
        expected = world.expected(scope, condition)
        await _has_pages(scope, condition, expected)
        for backward in (False, True):
            pages = await reads.objects_of_batches(scope, batches, condition, Bounds(5, backward))
            for batch in batches:
                of_batch = [key for key in expected if world.objects[key][0] == batch]
                assert [row["id"] for row in pages[batch].rows] == (of_batch[-5:] if backward else of_batch[:5])


MEMBER = Granted(1)
ALL = Everything()
PREFIX = HasPair("n", StartsWith("1"))
CHOSEN: list[tuple[str, Condition, dict[Condition, float], Condition | Both]] = [
    ("the thinner list leads", All((A, B)), {A: 1_000, B: 100_000}, B),
    ("two about as dense are merged", All((A, B)), {A: 1_000, B: 5_000}, Both(B, (A,))),
    ("a rare list leads alone", All((A, B)), {A: RARE, B: 10}, A),
    ("the two thinnest of three are merged", All((A, B, C)), {A: 10, B: 2_000, C: 1_000}, Both(B, (C,))),
    ("grants are merged with pairs", All((MEMBER, A)), {A: 10, ALL: NEVER, MEMBER: 100}, Both(MEMBER, (A,))),
    ("few grants lead", All((MEMBER, A)), {A: 10, ALL: NEVER, MEMBER: RARE}, MEMBER),
    ("of short lists all are looked for among grants", All((MEMBER, A)),
     {A: Short(100), ALL: NEVER, MEMBER: 10}, Both(MEMBER, (A,), is_short=True)),
    ("also where grants are thinner", All((MEMBER, A)),
     {A: Short(10), ALL: NEVER, MEMBER: 100}, Both(MEMBER, (A,), is_short=True)),
    ("short or not, the thinner list leads", All((A, B)), {A: Short(1_000), B: 100_000}, B),
    ("short lists of pairs are merged", All((A, B)), {A: Short(1_000), B: Short(100)}, Both(A, (B,))),
    ("objects lead whoever sees most of them", All((MEMBER, Not(A))), {ALL: 40, MEMBER: NEVER}, ALL),
    ("grants are merged with alternatives", All((MEMBER, SOME)), {SOME: 10, ALL: NEVER, MEMBER: 10},
     Both(MEMBER, (eq("c", "0"), eq("c", "2")))),
    ("a long range does not lead", All((A, LOW)), {A: 10, LOW: NEVER}, A),
    ("nor does one that is not short", All((A, LOW)), {A: 10, LOW: SELDOM}, A),
    ("a short one does", All((A, LOW)), {A: 10, LOW: RARE}, LOW),
    ("in a batch none are merged", All((A, B, InBatch("b"))), {A: 10, B: 10}, A),
    ("what is not in key order is not merged", All((A, PREFIX)), {A: 10, PREFIX: 10}, A),
    ("without knowing, the kind decides", All((PREFIX, A)), {}, A),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "known", "led"), [row[1:] for row in CHOSEN], ids=[row[0] for row in CHOSEN])
def test_lists_lead_by_how_far_back_they_reach(
    condition: Condition, known: dict[Condition, float], led: Condition | Both
) -> None:
    chosen, others = lead(condition, known)
    assert chosen == led
    tested = set(flat(others))
    assert tested <= set(flat(condition))
    taken = {led.one, *([SOME] if len(led.other) > 1 else led.other)} if isinstance(led, Both) else {led}
    assert tested == set(flat(condition)) - taken
    assert lead(condition, known, alone=True)[0] in {*flat(condition), ALL}


@pytest.mark.usefixtures("connected")
async def test_what_is_asked_before_a_page_is_remembered_for_a_while_and_within_bounds(world: World) -> None:
    asked: list[str] = []
    original = database.fetch

    async def counting(sql: str, *arguments: object) -> object:
        asked.append(sql)
        return await original(sql, *arguments)

    scope = Scope(world.tenant_id)
    with patch.object(database, "fetch", counting):
        for _ in range(2):
            await reads.objects(scope, All((A, B)), Bounds(5))
        assert len(asked) == 3
        with patch.object(depths, "SECONDS", 0.0):
            await reads.objects(scope, All((A, B)), Bounds(5))
        assert len(asked) == 5
        with patch.object(depths, "MOST", 10):
            for number in range(20):
                await reads.objects(scope, every([A, eq("n", str(number))]), Bounds(5))
        assert len(asked) == 5 + 40
        assert 0 < len(database.depths()) <= 10
        async with database.transaction():
            known = database.depths()
        assert known is database.depths()
