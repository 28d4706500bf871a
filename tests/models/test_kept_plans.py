"""PostgreSQL keeps the plans of what there is one way to, whoever asks, and makes those anew that depend on values."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from models import database, reads
from models.driving import NEVER, RARE, SELDOM, Depths, Singly, is_open
from models.filters import All, AnyOf, Compares, Condition, Everything, Granted, HasPair, InBatch, Not, StartsWith
from models.merged import LOOKED_UP
from models.pages import Bounds, Scope
from tests.models.shared import OBJECTS, A, B, Shared
from tests.models.shared import RARE as UNIQUE

Read: TypeAlias = Callable[[Scope], Awaitable[object]]
RANGE, MEMBER, ALL = HasPair("n", Compares("<", 9)), Granted(1), Everything()
LONG_RANGE = HasPair("n", Compares("<", OBJECTS / 2))
KEPT: dict[str, Read] = {
    "page": lambda scope: reads.objects(scope, ALL, Bounds(10)),
    "next page": lambda scope: reads.objects(scope, ALL, Bounds(10, after=1 << 60)),
    "one": lambda scope: reads.object_with_id(scope, "o3"),
    "several": lambda scope: reads.objects_with_ids(scope, {"o3", "o5"}, reads.Parts()),
    "pair": lambda scope: reads.objects(scope, A, Bounds(10)),
    "unique pair": lambda scope: reads.objects(scope, UNIQUE, Bounds(10)),
    "page of a member": lambda scope: reads.objects(Scope(scope.tenant_id, MEMBER), ALL, Bounds(10)),
    "two pairs that often meet": lambda scope: reads.objects(scope, All((A, B)), Bounds(10)),
    "short range": lambda scope: reads.objects(scope, RANGE, Bounds(10)),
    "pair and short range": lambda scope: reads.objects(scope, All((A, RANGE)), Bounds(10)),
    "batches": lambda scope: reads.batches(scope, ALL, Bounds(10)),
}
MADE_ANEW: dict[str, Read] = {
    "merged": lambda scope: reads.objects(scope, All((A, B)), Bounds(LOOKED_UP)),
    "prefix": lambda scope: reads.objects(scope, HasPair("n", StartsWith("3")), Bounds(10)),
    "range": lambda scope: reads.objects(scope, LONG_RANGE, Bounds(10)),
}


async def is_kept(shared: Shared, read: Read) -> bool:
    """Of the last statement, once both a small tenant and one that the statistics do not know have asked ten times."""
    async with database.connected(database.config(shared.url, max_connections=1)):
        for _ in range(10):
            await read(shared.tiny)
            await read(shared.new)
        [row] = await database.fetch(
            "SELECT generic_plans > 0 AS kept FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared%'"
            " AND (statement LIKE '%o.data%' OR statement LIKE '%FROM batches b WHERE%')"
            " ORDER BY prepare_time DESC LIMIT 1"
        )
    return bool(row["kept"])


@pytest.mark.parametrize("name", KEPT)
async def test_the_plan_of_what_there_is_one_way_to_is_kept(shared: Shared, name: str) -> None:
    assert await is_kept(shared, KEPT[name])


@pytest.mark.parametrize("name", MADE_ANEW)
async def test_the_plan_of_what_depends_on_values_is_made_each_time(shared: Shared, name: str) -> None:
    assert not await is_kept(shared, MADE_ANEW[name])


OPEN: list[tuple[Condition, Depths, bool]] = [
    (ALL, {}, False),
    (A, {}, False),
    (Not(A), {}, False),
    (All((A, B)), {A: 10, B: 10}, True),  # merged
    (All((A, B)), {A: RARE, B: 10}, False),
    (All((MEMBER, A)), {A: 10, MEMBER: 10, Singly(A): 10}, False),
    (All((MEMBER, A, B)), {A: RARE, B: 10, MEMBER: 10, Singly(A): 10, Singly(B): 10}, True),
    (All((MEMBER, A, B)), {A: 10, B: 10, MEMBER: RARE, Singly(A): RARE, Singly(B): 10}, False),
    (All((MEMBER, A, B)), {A: 10, B: 10, MEMBER: SELDOM}, False),
    (All((MEMBER, RANGE)), {RANGE: SELDOM, MEMBER: RARE, Singly(RANGE): RARE}, False),
    (RANGE, {RANGE: RARE}, False),
    (RANGE, {RANGE: SELDOM}, True),
    (All((A, RANGE)), {A: 10, RANGE: RARE}, False),
    (All((A, RANGE)), {A: 10, RANGE: NEVER}, False),
    (AnyOf((A, RANGE)), {}, True),
    (All((A, B, InBatch("b"))), {}, False),
    (HasPair(None, StartsWith("a")), {}, True),
]


@pytest.mark.parametrize(("condition", "known", "expected"), OPEN)
def test_what_is_merged_or_in_no_order_depends_on_values(
    condition: Condition, known: Depths, *, expected: bool
) -> None:
    assert is_open(condition, known) is expected
