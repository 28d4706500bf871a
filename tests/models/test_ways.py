"""Whichever lists lead to a page, alone or merged, it is that of looking at each object; and which ones do lead."""

import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from unittest.mock import patch

import orjson
import pytest

from models import AccessLevel, Role, Tenant, User, database, depths, driven, grants, merged, reads, zones
from models.driving import (
    NEVER,
    RARE,
    SELDOM,
    Both,
    Depths,
    Singly,
    both,
    by_grants,
    flat,
    in_no_order,
    lead,
    lead_of_batch,
    lists,
)
from models.file_state import FileState
from models.filters import (
    All,
    AnyOf,
    Compares,
    Condition,
    Equals,
    Everything,
    Granted,
    HasFile,
    HasObjectId,
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
    AnyOf((All((InBatch("b2"), A)), B)), AnyOf((All((InBatch("b2"), LOW)), B)), All((A, InBatch("b2"))),
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
    found = lists(condition)
    yield from ((one, (one,)) for one in found)
    if not any(isinstance(part, InBatch | InOuterBatch) for part in flat(condition)):
        for one, other in permutations(found, 2):
            if (taken := both(one, other)) is not None:
                yield taken, (one, other)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("condition", FILTERS[:-1], ids=str)
async def test_every_way_leads_to_the_same_pages(world: World, condition: Condition) -> None:
    taken = 0
    member = Scope(world.tenant_id, Granted(max(world.seen)))  # has grants of both kinds
    for scope, has_own_lists in ((Scope(world.tenant_id), False), (member, False), (member, True)):
        expected = world.expected(scope, condition)
        for led, parts in ways(condition):
            taken += 1

            def forced(
                of: Condition,
                _: Depths,
                led: Condition | Both = led,
                parts: tuple[Condition, ...] = parts,
                *,
                alone: bool = False,
            ) -> tuple[Condition | Both, Condition]:
                taken = parts[:1] if alone else parts
                return taken[0] if alone else led, All(tuple(part for part in flat(of) if part not in taken))

            # Ranges are taken for long ones, and zones are small, so that they begin in the midst of the objects; or
            # for short ones. Before two lists are merged, more than a page's entries of the first are looked up.
            begins = isinstance(led, Both) and isinstance(parts[0], HasPair)
            with (
                patch.object(driven, "by_grants", lambda of, _, own=has_own_lists: by_grants(of, {}) if own else None),
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
    assert taken >= 3


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


PREFIX = HasPair("n", StartsWith("1"))
CHOSEN: list[tuple[str, Condition, Depths, Condition | Both]] = [
    ("the thinner list leads", All((A, B)), {A: 1_000, B: 100_000}, B),
    ("two about as dense are merged", All((A, B)), {A: 1_000, B: 5_000}, Both(B, (A,))),
    ("a rare list leads alone", All((A, B)), {A: RARE, B: 10}, A),
    ("the two thinnest of three are merged", All((A, B, C)), {A: 10, B: 2_000, C: 1_000}, Both(B, (C,))),
    ("alternatives are merged", All((A, SOME)), {SOME: 10, A: 10}, Both(A, (eq("c", "0"), eq("c", "2")))),
    ("a long range does not lead", All((A, LOW)), {A: 10, LOW: NEVER}, A),
    ("nor does one that is not short", All((A, LOW)), {A: 10, LOW: SELDOM}, A),
    ("a short one does", All((A, LOW)), {A: 10, LOW: RARE}, LOW),
    ("in a batch none are merged", All((A, B, InBatch("b"))), {A: 10, B: 10}, A),
    ("what is not in key order is not merged", All((A, PREFIX)), {A: 10, PREFIX: 10}, A),
    ("without knowing, the kind decides", All((PREFIX, A)), {}, A),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "known", "led"), [row[1:] for row in CHOSEN], ids=[row[0] for row in CHOSEN])
def test_lists_lead_by_how_far_back_they_reach(condition: Condition, known: Depths, led: Condition | Both) -> None:
    chosen, others = lead(condition, known)
    assert chosen == led
    tested = set(flat(others))
    assert tested <= set(flat(condition))
    taken = {led.one, *([SOME] if len(led.other) > 1 else led.other)} if isinstance(led, Both) else {led}
    assert tested == set(flat(condition)) - taken
    assert lead(condition, known, alone=True)[0] in flat(condition)


MEMBER, ALL, GRANTS = Granted(1), Everything(), Singly(Everything())
VALUE = HasPair(None, Equals("1"))
FILE = HasFile(FileState.COMPLETE)
OWN: list[tuple[str, Condition, Depths, bool]] = [
    ("lists of grants lead", A, {A: 10, MEMBER: 100}, True),
    ("also where the tenant's are thinner, for they are thinner still", A, {A: RARE, MEMBER: 10}, True),
    ("the tenant's lead whoever sees most of his objects", A, {A: RARE, MEMBER: NEVER}, False),
    ("and so do his objects", Not(A), {MEMBER: NEVER}, False),
    ("of many batches each has a list", A, {A: 10, MEMBER: SELDOM}, True),
    ("but for a rare one they are not asked", A, {A: RARE, MEMBER: SELDOM}, False),
    ("for one that goes on they are, for they may all be old", VALUE, {VALUE: 100, MEMBER: SELDOM}, True),
    ("so for files", FILE, {FILE: 100, MEMBER: SELDOM, GRANTS: RARE}, True),
    ("but for few", FILE, {FILE: RARE, MEMBER: SELDOM, GRANTS: RARE}, False),
    ("what a batch has no list of is looked for among its objects", VALUE, {VALUE: 10, MEMBER: 100}, True),
    ("unless the tenant's list is thinner", VALUE, {VALUE: 100, MEMBER: 10}, False),
    ("a short range is not looked for in batches", LOW, {LOW: RARE, MEMBER: 10}, False),
    ("but among grants to objects", LOW, {LOW: RARE, MEMBER: RARE}, True),
    ("a long one is looked for in both", LOW, {LOW: SELDOM, MEMBER: 10}, True),
    ("grants have no list of files", FILE, {FILE: 100, MEMBER: RARE, GRANTS: 10}, False),
    ("but may be fewer", FILE, {FILE: 10, MEMBER: RARE, GRANTS: 100}, True),
    ("or as few", FILE, {FILE: RARE, MEMBER: RARE, GRANTS: RARE}, True),
    ("nor of files or pairs", AnyOf((FILE, A)), {AnyOf((FILE, A)): 100, MEMBER: RARE, GRANTS: 10}, False),
    ("in a batch that is asked for neither leads", All((A, InBatch("b"))), {}, False),
    ("nor where objects are named", All((A, HasObjectId(("o",)))), {}, False),
]  # fmt: skip


@pytest.mark.parametrize(("condition", "known", "own"), [row[1:] for row in OWN], ids=[row[0] for row in OWN])
def test_lists_of_what_is_granted_lead_where_they_are_the_thinner_ones(
    condition: Condition, known: Depths, *, own: bool
) -> None:
    assert by_grants(condition, known) is None
    expected = (MEMBER, All(tuple(flat(condition)))) if own else None
    assert by_grants(All((MEMBER, condition)), known) == expected


@pytest.mark.parametrize(
    ("condition", "known", "led"),
    [
        (All((MEMBER, PREFIX)), {PREFIX: NEVER}, ALL),
        (All((MEMBER, PREFIX)), {PREFIX: RARE}, PREFIX),
        (PREFIX, {PREFIX: NEVER, ALL: 10}, ALL),
        (All((PREFIX, A)), {PREFIX: NEVER, A: 10, ALL: 10}, A),
        (PREFIX, {PREFIX: RARE, ALL: RARE}, PREFIX),
        (PREFIX, {PREFIX: NEVER}, PREFIX),  # of a tenant's admin
    ],
)
def test_lists_that_lead_to_nothing_do_not_lead_members(condition: Condition, known: Depths, led: Condition) -> None:
    assert lead(condition, known) == (led, All(tuple(part for part in flat(condition) if part != led)))


@pytest.mark.parametrize(
    ("condition", "known", "led"),
    [
        (All((A, B)), {A: 1, B: 2}, B),
        (All((LOW, SOME)), {LOW: RARE, SOME: 1}, SOME),
        (All((PREFIX, VALUE)), {VALUE: RARE}, ALL),
        (Not(A), {}, ALL),
    ],
)
def test_in_a_granted_batch_its_thinnest_list_in_key_order_leads(
    condition: Condition, known: Depths, led: Condition
) -> None:
    assert lead_of_batch(condition, known) == (led, All(tuple(part for part in flat(condition) if part != led)))


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
