"""Reads lead through an index to the page, also where the planner's statistics know nothing of the tenant."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from models import Role, Tenant, User, batches, database, facets, files, reads, writes
from models.filters import (
    All,
    AnyOf,
    Compares,
    Condition,
    Everything,
    Granted,
    HasObject,
    HasPair,
    InBatch,
    Not,
    OneOf,
    StartsWith,
)
from models.pages import Bounds, Scope
from models.reads import Parts
from models.writes import NewObject
from tests.conftest import new_database
from tests.models.plans import blocks_read, nodes
from tests.models.shared import BATCHES, OBJECTS, RARE, A, B, Shared, eq

CONDITIONS: dict[str, Condition] = {
    "everything": Everything(),
    "pair": A,
    "rare pair": RARE,
    "no pair": eq("a", "none"),
    "value": eq(None, "all"),
    "rare value": eq(None, "3000"),
    "rare prefix of any key": HasPair(None, StartsWith("300")),
    "rare prefix": HasPair("n", StartsWith("300")),
    "rare range": HasPair("n", Compares(">", OBJECTS - 5)),
    "rare range of any key": HasPair(None, Compares(">", OBJECTS - 5)),
    "one of": HasPair("n", OneOf(("1", "2", "3000"))),
    "two common": All((A, B)),
    "common and rare": All((A, RARE)),
    "rare and common": All((RARE, A)),
    "pair and range": All((A, HasPair("n", Compares(">=", 0)))),
    "pair and late range": All((A, HasPair("n", Compares("<", OBJECTS // BATCHES * 2)))),
    "pair and prefix": All((A, HasPair("n", StartsWith("5")))),
    "one of and one of": All((HasPair("a", OneOf(("all", "x"))), HasPair("b", OneOf(("all", "y"))))),
    "common alternatives": AnyOf((A, B)),
    "alternatives and pair": All((AnyOf((A, B)), eq("c", "all"))),
    "rare alternatives and pair": All((AnyOf((RARE, eq("n", "7"))), A)),
    "pair but not another": All((A, Not(RARE))),
    "pair in a batch": All((A, InBatch("batch1"))),
    "two in a batch": All((A, B, InBatch("batch1"))),
}


# Where two indexes lead to a list and the planner knows nothing of its length, it may sort the list; or what is looked
# for comes late, or never.
LINEAR: dict[str, Condition] = {
    "key": HasPair("a", None),
    "key and key": All((HasPair("a", None), HasPair("b", None))),
    "value and key": All((eq(None, "all"), HasPair("b", None))),
    "never": All((A, HasPair("b", None), Not(eq("c", "all")))),
    "pair and late prefix": All((A, HasPair("n", StartsWith("3")))),
}


@pytest.fixture
def fresh(shared: Shared) -> tuple[str, Scope]:
    return shared.url, shared.new


@pytest.mark.parametrize("name", CONDITIONS)
async def test_a_page_reads_as_much_as_it_shows(fresh: tuple[str, Scope], name: str) -> None:
    url, scope = fresh
    assert await blocks_read(url, reads.objects(scope, CONDITIONS[name], Bounds(10))) < 1_500


SMALL: dict[str, Condition] = CONDITIONS | {"in a batch": InBatch("batch1"), "not": Not(RARE)}


@pytest.mark.parametrize("name", SMALL)
async def test_a_small_tenants_page_passes_over_no_other_tenants_objects(shared: Shared, name: str) -> None:
    """All that is newer is the others', and the planner knows of two tenants only: half of them, it might expect."""
    assert await blocks_read(shared.url, reads.objects(shared.tiny, SMALL[name], Bounds(10))) < 40 * BATCHES


@pytest.mark.parametrize("name", LINEAR)
async def test_a_page_is_linear_at_worst(fresh: tuple[str, Scope], name: str) -> None:
    url, scope = fresh
    assert await blocks_read(url, reads.objects(scope, LINEAR[name], Bounds(10))) < OBJECTS * 15


@pytest.mark.parametrize("name", ["pair", "two common", "common and rare", "rare and common", "rare range"])
async def test_batches_are_found_by_one_object_each(fresh: tuple[str, Scope], name: str) -> None:
    url, scope = fresh
    assert await blocks_read(url, reads.batches(scope, HasObject(CONDITIONS[name]), Bounds(10))) < 800


async def test_nested_pages_read_as_much_as_they_show(fresh: tuple[str, Scope]) -> None:
    url, scope = fresh
    async with database.connected(database.config(url)):
        batches = [row["id"] for row in (await reads.batches(scope, Everything(), Bounds(BATCHES))).rows]
    for condition in (Everything(), A, All((A, B)), All((A, RARE))):
        read = reads.objects_of_batches(scope, batches, condition, Bounds(10))
        assert await blocks_read(url, read) < 800 * BATCHES


# No index orders them by key: the planner would rather walk everybody's newest pairs than sort those of a batch.
UNORDERED: dict[str, Condition] = {
    "range of any key": HasPair(None, Compares("<", 1e9)),
    "prefix of any key": HasPair(None, StartsWith("a")),
    "values of any key": HasPair(None, OneOf(("all", "1", "2"))),
    "range": HasPair("n", Compares("<", 1e9)),
    "no range of any key": HasPair(None, Compares(">", 1e9)),
    "key": HasPair("a", None),
    "range and prefix of any key": All((HasPair(None, StartsWith("a")), HasPair("n", Compares("<", 1e9)))),
}


@pytest.mark.parametrize("name", UNORDERED)
async def test_what_is_asked_of_a_batch_reads_no_other_tenants_pairs(shared: Shared, name: str) -> None:
    condition = UNORDERED[name]
    async with database.connected(database.config(shared.url)):
        batches = [row["id"] for row in (await reads.batches(shared.tiny, Everything(), Bounds(BATCHES))).rows]
    nested = reads.objects_of_batches(shared.tiny, batches, condition, Bounds(1))
    assert await blocks_read(shared.url, nested) < 40 * BATCHES
    assert await blocks_read(shared.url, reads.batches(shared.tiny, HasObject(condition), Bounds(10))) < 40 * BATCHES
    one = reads.objects(shared.tiny, All((condition, InBatch("batch1"))), Bounds(1))
    assert await blocks_read(shared.url, one) < 40
    tested = reads.objects(shared.tiny, All((A, Not(condition))), Bounds(1))
    assert await blocks_read(shared.url, tested) < 40 * BATCHES


async def test_facets_do_not_read_what_they_do_not_show(fresh: tuple[str, Scope]) -> None:
    url, scope = fresh
    assert await blocks_read(url, facets.data_values(scope, "n", "1", 10)) < 200


_GRANTED = """
    INSERT INTO grants (tenant_id, user_id, batch_pk, object_pk, level, granted_by_id, created_at)
    SELECT tenant_id, $2, batch_pk, id, 'VIEW', $2, now() FROM objects WHERE tenant_id = $1 AND data @> $3::text::jsonb
"""


async def one_batch(data: list[list[dict[str, str]]]) -> tuple[Tenant, User]:
    """Of objects with these pairs, which the statistics know."""
    tenant = await Tenant.create(slug="t")
    user = await User.create(tenant=tenant, name="u", role=Role.ADMIN)
    new = [NewObject(f"o{n}", orjson.dumps(one).decode()) for n, one in enumerate(data)]
    await writes.create_batch(tenant.id, user.id, "b", new)
    await database.fetch("ANALYZE")
    return tenant, user


async def test_dense_lists_that_never_meet_are_read_side_by_side_grants_too() -> None:
    url = await new_database()
    keys = {"side": 2, "same": 2, "kind": 3}
    data = [[{"key": key, "value": str(n % of)} for key, of in keys.items()] for n in range(OBJECTS)]
    async with database.connected(database.config(url)):
        tenant, _ = await one_batch(data)
        scope = Scope(tenant.id)
        often = await reads.objects(scope, All((eq("side", "0"), eq("kind", "1"))), Bounds(10))
        assert [row["object_id"] for row in often.rows] == [f"o{OBJECTS - 2 - 6 * n}" for n in range(10)]
        never = All((eq("side", "0"), eq("same", "1")))
        assert (await reads.objects(scope, never, Bounds(10))).rows == []
        assert await reads.count_objects(scope, never) == 0
        member = await User.create(tenant=tenant, name="member", role=Role.MEMBER)
        await database.fetch(_GRANTED, tenant.id, member.id, '[{"key": "side", "value": "1"}]')
        await database.fetch("ANALYZE grants")
        some = Scope(tenant.id, Granted(member.id))
        assert (await reads.objects(some, eq("side", "0"), Bounds(10))).rows == []
        both = await reads.objects(some, eq("kind", "1"), Bounds(10))
        assert [row["object_id"] for row in both.rows] == [f"o{OBJECTS - 5 - 6 * n}" for n in range(10)]
    # A look-up of each of one list in the other reads three of the index.
    assert await blocks_read(url, reads.objects(scope, never, Bounds(10))) < OBJECTS + 500
    assert await blocks_read(url, reads.objects(some, eq("side", "0"), Bounds(10))) < OBJECTS + 500


async def test_a_short_range_is_not_looked_for_in_a_long_list() -> None:
    """The planner knows how many numbers of all keys together are so large, and of this key there are but a few."""
    url = await new_database()
    data = [[{"key": "n", "value": str(n)}, {"key": "delay", "value": str(900 * (n < 5))}] for n in range(OBJECTS)]
    async with database.connected(database.config(url)):
        tenant, user = await one_batch(data)
        late = HasPair("delay", Compares(">=", 300))
        for scope in (Scope(tenant.id), Scope(tenant.id, Granted(user.id))):
            for condition in (late, All((HasPair("n", Compares(">=", 0)), late))):
                assert await blocks_read(url, reads.objects(scope, condition, Bounds(10))) < 250
        found = await reads.objects(Scope(tenant.id), late, Bounds(3))
        assert [row["object_id"] for row in found.rows] == ["o4", "o3", "o2"]


class _RollBackError(Exception):
    pass


@contextlib.asynccontextmanager
async def rolled_back() -> AsyncIterator[None]:
    with contextlib.suppress(_RollBackError):
        async with database.transaction():
            yield
            raise _RollBackError


async def blocks_touched() -> int:
    """By the statements of this transaction on the two large tables and their indexes."""
    [row] = await database.fetch(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint AS blocks FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relname ~ '^object'"
    )
    return int(row["blocks"])


async def test_deleting_a_batch_is_linear_where_the_statistics_know_nothing(fresh: tuple[str, Scope]) -> None:
    url, scope = fresh
    async with database.connected(database.config(url)), rolled_back():  # the other tests read it too
        [batch] = (await reads.batches(scope, Everything(), Bounds(1))).rows
        touched = await blocks_touched()
        assert await writes.delete_batch(scope.tenant_id, batch["id"], cascade=True) == OBJECTS // BATCHES
        assert await blocks_touched() - touched < OBJECTS // BATCHES * 4 * 50


async def test_what_is_locked_is_looked_up_by_itself_where_the_statistics_know_nothing(
    fresh: tuple[str, Scope],
) -> None:
    """Announcing files and changing data lock objects and their batches: of so many a planner may take all instead."""
    url, scope = fresh
    async with database.connected(database.config(url)):
        keys = [row["id"] for row in (await reads.objects(scope, Everything(), Bounds(100))).rows]
    few = 100 * 10
    assert await blocks_read(url, batches.hold(scope.tenant_id, objects=keys)) < few
    assert await blocks_read(url, files.lock(scope.tenant_id, keys)) < few


async def test_objects_are_looked_up_by_their_ids_where_the_statistics_know_nothing(fresh: tuple[str, Scope]) -> None:
    url, scope = fresh
    assert await blocks_read(url, reads.object_with_id(scope, "o77")) < 20
    several = {f"o{number}" for number in range(0, OBJECTS, OBJECTS // 20)}
    assert await blocks_read(url, reads.objects_with_ids(scope, several, Parts())) < 20 * len(several)
    member = Scope(scope.tenant_id, Granted(0))
    assert await blocks_read(url, reads.object_with_id(member, "o77")) < 20


async def test_keys_are_counted_without_hashing_them(fresh: tuple[str, Scope]) -> None:
    """PostgreSQL's hash of a bigint makes few of keys whose times and numbers count up side by side."""
    url, scope = fresh
    original = database.fetch
    hashed: list[str] = []

    async def explain(sql: str, *arguments: object) -> list[Any]:
        if sql.startswith("SELECT count(*)"):
            [row] = await original(f"EXPLAIN (FORMAT JSON) {sql}", *arguments)
            found = [node for one in orjson.loads(row[0]) for node in nodes(one["Plan"])]
            hashed.extend(str(node["Group Key"]) for node in found if node.get("Strategy") in ("Hashed", "Mixed"))
        return await original(sql, *arguments)

    settings = database.config(url)
    settings["connections"][database.CONNECTION]["credentials"]["server_settings"] |= {"enable_sort": "off"}
    asked = [CONDITIONS[name] for name in ("rare prefix", "rare range", "one of", "rare alternatives and pair")]
    async with database.connected(settings):
        with patch.object(database, "fetch", explain):
            for condition in [*asked, LINEAR["key"]]:
                for within in (Everything(), Granted(0)):
                    await reads.count_objects(Scope(scope.tenant_id, within), condition)
    assert not [keys for keys in hashed if "object_pk" in keys]
