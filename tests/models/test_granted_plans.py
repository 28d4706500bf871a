"""Pages of those who see only what is granted to them are bounded, on a tenant that the planner knows nothing of."""

import pytest

from models import AccessLevel, Role, User, database, facets, grants, reads
from models.filters import (
    All,
    Compares,
    Condition,
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
from models.pages import Bounds, Scope
from tests.models.plans import blocks_read, nodes, plans_of
from tests.models.shared import BATCHES, RARE, A, B, Shared

MANY = 3_000  # of 6,000 objects


@pytest.fixture(scope="module")
async def members(shared: Shared) -> dict[str, Scope]:
    """By how much they are granted."""
    tenant_id = shared.new.tenant_id
    async with database.connected(database.config(shared.url)):
        owner = await User.get(tenant_id=tenant_id)
        rows = (await reads.objects(shared.new, Everything(), Bounds(10_000))).rows
        batches = sorted({row["batch_pk"] for row in rows})
        every_other = [Thing(row["batch_pk"], row["id"]) for row in rows[::2]]
        given = {
            "nothing": [],
            "ten objects": every_other[::300],
            "ten old objects": every_other[-10:],
            "many objects": every_other[:MANY],
            "one batch": [Thing(batches[0])],
            "all batches": [Thing(batch) for batch in batches],
        }
        scopes = {}
        for name, things in given.items():
            user = await User.create(tenant_id=tenant_id, name=name, role=Role.MEMBER)
            for thing in things:
                await grants.give(tenant_id, user.id, thing, AccessLevel.VIEW, owner.id)
            scopes[name] = Scope(tenant_id, Granted(user.id))
    return scopes


WHO = ["nothing", "ten objects", "ten old objects", "many objects", "one batch", "all batches"]
CONDITIONS: dict[str, Condition] = {
    "everything": Everything(),
    "pair": A,
    "rare pair": RARE,
    "no pair": HasPair("a", Equals("none")),
    "two common": All((A, B)),
    "short list": HasPair("tenth", Equals("all 3")),
    "in a batch": InBatch("batch1"),
    "pair in a batch": All((A, InBatch("batch1"))),
}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("name", CONDITIONS)
async def test_a_page_reads_as_much_as_it_shows(shared: Shared, members: dict[str, Scope], who: str, name: str) -> None:
    assert await blocks_read(shared.url, reads.objects(members[who], CONDITIONS[name], Bounds(10))) < 2_000


@pytest.mark.parametrize("condition", [HasPair("a", None), HasPair(None, OneOf(("all", "no"))), Not(A)], ids=str)
async def test_what_a_granted_batch_has_is_found_by_its_index(
    shared: Shared, members: dict[str, Scope], condition: Condition
) -> None:
    """Also where a plan is made for a tenant that seems to have one object, all of which would be read instead."""
    read = reads.objects(members["one batch"], condition, Bounds(10))
    plans = [plan for both in await plans_of(shared.url, read) for plan in both]
    scans = [node for plan in plans for node in nodes(plan) if "batch_pk = " in node.get("Index Cond", "")]
    assert "objects_batch" in [node["Index Name"] for node in scans]
    for plan in plans:
        for node in nodes(plan):
            if node.get("Relation Name") == "objects":
                assert "batch_pk = " not in node.get("Filter", "")


async def test_where_a_range_begins_is_looked_for_in_granted_batches_too(
    shared: Shared, members: dict[str, Scope]
) -> None:
    read = reads.objects(members["all batches"], HasPair("n", Compares(">=", 4_000)), Bounds(10, backward=True))
    [*_, page] = await plans_of(shared.url, read)
    looked_at = max(node["Actual Loops"] for plan in page for node in nodes(plan))
    assert looked_at <= 2_000  # that many are in the range, all of them newer than the other 4,000


@pytest.mark.parametrize("who", WHO)
async def test_batches_read_as_much_as_there_are_grants(shared: Shared, members: dict[str, Scope], who: str) -> None:
    for where in (Everything(), HasObject(A), HasObject(All((A, RARE)))):
        assert await blocks_read(shared.url, reads.batches(members[who], where, Bounds(10))) < 1_500 * BATCHES


@pytest.mark.parametrize("who", ["nothing", "ten objects", "ten old objects"])
async def test_facets_of_few_objects_read_no_others(shared: Shared, members: dict[str, Scope], who: str) -> None:
    assert await blocks_read(shared.url, facets.data_keys(members[who], "", 10)) < 300
    assert await blocks_read(shared.url, facets.data_values(members[who], "n", "", 10)) < 300
