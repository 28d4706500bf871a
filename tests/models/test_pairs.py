"""``object_pairs`` says what ``objects.data`` says, whatever happened to the objects."""

import contextlib
import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypeAlias

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import database, writes
from models.filters import indexed
from tests.conftest import new_database
from tests.graph.test_filters import HARD_KEYS, HARD_TEXT, Pairs, number

pytestmark = pytest.mark.usefixtures("connected")

PAIRS = {"object_pairs_add", "object_pairs_change", "object_pairs_remove"}  # triggers
WIDE = "".join(chr(0x10000 + index * 211) for index in range(4096))  # four bytes each, and hard to compress
NOW = datetime(2026, 7, 1, tzinfo=UTC)
TENANTS = (1, 2)
BATCHES = {1: (11, 12), 2: (21, 22)}

Step: TypeAlias = tuple[Any, ...]  # the name of a method of History, and its arguments

storable = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.one_of(st.sampled_from(HARD_TEXT), st.text(storable, max_size=8))
pairs = st.lists(st.tuples(st.one_of(st.sampled_from(HARD_KEYS), st.text(storable, max_size=3)), texts), max_size=5)
batches = st.sampled_from([(tenant, batch) for tenant in TENANTS for batch in BATCHES[tenant]])
parts = st.tuples(st.integers(1, 3), st.integers(0, 2))  # of the objects: those whose key modulo one is the other
some = st.lists(pairs, min_size=1, max_size=6)

changes: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("insert"), batches, some),
    st.tuples(st.just("copy"), batches, some),
    st.tuples(st.just("set_data"), parts, pairs),
    st.tuples(st.just("set_data_of_each"), parts, some),
    st.tuples(st.just("pass_data_on"), parts),
    st.tuples(st.just("move"), parts),
    st.tuples(st.just("change_nothing"), parts),
    st.tuples(st.just("delete"), parts),
    st.tuples(st.just("delete_batch"), batches),
    st.just(("truncate",)),
)
histories = st.lists(
    st.one_of(changes, st.tuples(st.sampled_from(["roll_back", "commit"]), st.lists(changes, max_size=3))), max_size=8
)


def json(data: Pairs) -> str:
    return orjson.dumps([{"key": key, "value": value} for key, value in data]).decode()


class Undone(Exception):
    """Ends a transaction that is to be rolled back."""


class History:
    """Changes to the objects of two tenants with two batches each, as SQL and as the product makes them."""

    def __init__(self) -> None:
        self.made = 0

    @classmethod
    async def begin(cls) -> "History":
        await database.fetch("TRUNCATE tenants CASCADE")
        for tenant in TENANTS:
            await database.execute("INSERT INTO tenants VALUES ($1, $2, 'NONE', now())", tenant, f"t{tenant}")
            await database.execute(
                "INSERT INTO users (id, name, role, created_at, tenant_id) VALUES ($1, 'u', 'ADMIN', now(), $1)", tenant
            )
            for batch in BATCHES[tenant]:
                await cls.add_batch(tenant, batch)
        return cls()

    @staticmethod
    async def add_batch(tenant: int, batch: int) -> None:
        await database.execute("INSERT INTO batches VALUES ($1, $2, $3, $3)", batch, str(batch), tenant)

    async def do(self, steps: Iterable[Step]) -> None:
        for name, *arguments in steps:
            await getattr(self, name)(*arguments)
            assert await stored() == await derived(), name

    def keys(self, count: int) -> range:
        self.made += count
        return range(self.made - count, self.made)

    async def insert(self, batch: tuple[int, int], data: list[Pairs]) -> None:
        await database.execute(
            "INSERT INTO objects (id, tenant_id, batch_pk, object_id, data, updated_at)"
            " SELECT id, $1, $2, id::text, data, $3 FROM unnest($4::bigint[], $5::jsonb[]) AS n (id, data)",
            *(*batch, NOW, list(self.keys(len(data))), [json(one) for one in data]),
        )

    async def copy(self, batch: tuple[int, int], data: list[Pairs]) -> None:
        columns = ("tenant_id", "batch_pk", "id", "object_id", "data", "updated_at")
        records = [(*batch, key, str(key), json(one), NOW) for key, one in zip(self.keys(len(data)), data, strict=True)]
        await database.copy("objects", columns, records)

    async def set_data(self, part: tuple[int, int], data: Pairs) -> None:
        await database.execute("UPDATE objects SET data = $3 WHERE id % $1 = $2", *part, json(data))

    async def set_data_of_each(self, part: tuple[int, int], data: list[Pairs]) -> None:
        await database.execute(
            "UPDATE objects SET data = ($3::jsonb[])[1 + id % cardinality($3)] WHERE id % $1 = $2",
            *(*part, [json(one) for one in data]),
        )

    async def pass_data_on(self, part: tuple[int, int]) -> None:
        await database.execute(
            "UPDATE objects o SET data = p.data FROM objects p WHERE p.id = o.id + 1 AND o.id % $1 = $2", *part
        )

    async def move(self, part: tuple[int, int]) -> None:
        await database.execute("UPDATE objects SET batch_pk = tenant_id * 10 + 1 WHERE id % $1 = $2", *part)

    async def change_nothing(self, part: tuple[int, int]) -> None:
        await database.execute("UPDATE objects SET data = data, updated_at = now() WHERE id % $1 = $2", *part)

    async def delete(self, part: tuple[int, int]) -> None:
        await database.execute("DELETE FROM objects WHERE id % $1 = $2", *part)

    async def delete_batch(self, batch: tuple[int, int]) -> None:
        await writes.delete_batch(*batch, cascade=True)
        await self.add_batch(*batch)

    async def truncate(self) -> None:
        await database.fetch("TRUNCATE objects CASCADE")

    async def roll_back(self, steps: list[Step]) -> None:
        before = await stored()
        with contextlib.suppress(Undone):
            async with database.transaction():
                await self.do(steps)
                raise Undone
        assert await stored() == before

    async def commit(self, steps: list[Step]) -> None:
        async with database.transaction():
            await self.do(steps)


async def stored() -> list[tuple[Any, ...]]:
    rows = await database.fetch("SELECT tenant_id, batch_pk, object_pk, key, value, number FROM object_pairs")
    return sorted((tuple(row) for row in rows), key=lambda row: row[:5])


async def derived() -> list[tuple[Any, ...]]:
    """What ``object_pairs`` must hold, from the truth."""
    rows = await database.fetch("SELECT tenant_id, batch_pk, id, data FROM objects")
    expected = {
        (row["tenant_id"], row["batch_pk"], row["id"], one["key"], held(one["value"]), number(one["value"]))
        for row in rows
        for one in orjson.loads(row["data"])
    }
    return sorted(expected, key=lambda row: row[:5])


def held(value: str) -> str:
    return value if len(value) <= 300 else value[:300] + hashlib.sha256(value.encode()).hexdigest()


PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(PROPERTY, max_examples=80)
@given(histories)
async def test_pairs_agree_with_the_data_after_any_history(steps: list[Step]) -> None:
    await (await History.begin()).do([("insert", (1, 11), [[("k", "a"), ("k", "b"), ("k", "a")], []]), *steps])


async def test_truncating_objects_clears_the_pairs() -> None:
    await (await History.begin()).do([("insert", (1, 11), [[("k", "a")]])])
    assert await stored() != []
    await database.fetch("TRUNCATE batches CASCADE")
    assert await stored() == []


@PROPERTY
@given(st.lists(st.one_of(texts, st.builds(lambda wide, narrow: WIDE[:wide] + narrow, st.integers(297, 303), texts))))
async def test_value_in_the_index_is_the_one_that_filters_ask_for(values: list[str]) -> None:
    rows = await database.fetch("SELECT pair_value(v) AS held FROM unnest($1::text[]) WITH ORDINALITY v (v, i)", values)
    assert [row["held"] for row in rows] == [indexed(value) for value in values] == [held(value) for value in values]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e99", 1e99), ("-1E-99", -1e-99), ("1e100", None), ("1.", 1.0), (".5", 0.5), ("+.5", 0.5), (".", None),
        ("", None), ("-", None), ("1e", None), ("1.5.1", None), ("00", 0.0), ("0.1", 0.1), ("NaN", None),
        ("Infinity", None), ("0x10", None), ("1_0", None), ("1,5", None), (" 1", None), ("1 ", None), ("1\n", None),
        ("\n1", None), ("1\n2", None), ("١", None), ("１", None), ("9" * 100, 1e100), ("9" * 101, None),
        ("9" * 97 + "e99", 1e196), ("0." + "0" * 93 + "1e-99", 1e-193), ("0" * 51 + "١" * 50, None),
        ("9007199254740993", 9007199254740992.0), ("2.2250738585072011e-08", 2.2250738585072011e-08),
    ],
)  # fmt: skip
async def test_only_decimal_literals_are_numbers(text: str, expected: float | None) -> None:
    [row] = await database.fetch("SELECT pair_number($1) AS number", text)
    assert row["number"] == expected


@PROPERTY
@given(st.lists(st.one_of(st.text("0123456789+-.eE \n١", max_size=105), st.floats().map(str), st.decimals().map(str))))
async def test_no_value_fails_as_a_number(values: list[str]) -> None:
    rows = await database.fetch("SELECT pair_number(v) AS n FROM unnest($1::text[]) WITH ORDINALITY v (v, i)", values)
    assert [row["n"] for row in rows] == [number(value) for value in values]


async def test_largest_keys_values_and_ids_fit_the_indexes() -> None:
    history = await History.begin()
    largest = [(WIDE[part * 256 : (part + 1) * 256], WIDE) for part in range(2)]
    await history.do([("insert", (1, 11), [[*largest, (WIDE[:256], WIDE[::-1])]])])
    assert len(await stored()) == 3
    await database.execute("UPDATE objects SET object_id = $1", WIDE[:256])
    await database.execute("UPDATE batches SET batch_id = $1 || id", WIDE[:250])


@pytest.mark.parametrize(
    "data", ["[1]", "[null]", '[{"key": "k"}]', '[{"value": "v"}]', '[{"key": null, "value": "v"}]']
)
async def test_data_that_is_no_list_of_pairs_is_refused_whole(data: str) -> None:
    history = await History.begin()
    await history.insert((1, 11), [[("k", "a")]])
    before = await stored()
    with pytest.raises(asyncpg.PostgresError):
        await database.execute("UPDATE objects SET data = $1", data)
    assert await stored() == before


async def fill(objects: int) -> None:
    """Enough of them that reading the whole table would be tempting; five pairs each."""
    history = await History.begin()
    await history.copy(
        (1, 11), [[("n", str(index)), *((f"k{k}", str(index % 7)) for k in range(4))] for index in range(objects)]
    )
    await database.fetch("ANALYZE objects, object_pairs")


@pytest.mark.parametrize(
    ("statement", "trigger"),
    [
        (
            "INSERT INTO objects (id, object_id, tenant_id, batch_pk, data, updated_at)"  # noqa: ISC004
            " SELECT id + 1000, 'new ' || id, tenant_id, batch_pk, data, now() FROM objects",
            "object_pairs_add",
        ),
        ('UPDATE objects SET data = data || \'[{"key": "new", "value": "1"}]\'', "object_pairs_change"),
        ("DELETE FROM objects", "object_pairs_remove"),
    ],
)
async def test_statement_about_many_objects_runs_its_trigger_once(statement: str, trigger: str) -> None:
    await fill(500)
    async with database.transaction():
        await database.fetch("SET LOCAL track_functions = 'pl'")
        assert await database.execute(statement) == 500
        calls = await database.fetch("SELECT funcname, calls FROM pg_stat_xact_user_functions")
        assert {row["funcname"]: row["calls"] for row in calls if row["funcname"] in PAIRS} == {trigger: 1}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM objects WHERE id % 10 = 0",
        "UPDATE objects SET data = '[]' WHERE id % 10 = 0",
        "UPDATE objects SET batch_pk = 12 WHERE id % 10 = 0",
    ],
)
async def test_old_pairs_are_found_by_index_in_a_big_table(statement: str) -> None:
    await fill(4000)
    async with database.transaction():
        before = await reads()
        await database.execute(statement)
        after = await reads()
    read = {name: after[name] - before[name] for name in after}
    assert read == {"seq_scan": 0, "seq_tup_read": 0, "idx_tup_fetch": 2000, "n_tup_del": 2000}


async def reads() -> dict[str, int]:
    """What this connection did with the table so far and has not yet reported."""
    [row] = await database.fetch(
        "SELECT seq_scan, seq_tup_read, idx_tup_fetch, n_tup_del FROM pg_stat_xact_user_tables"
        " WHERE relname = 'object_pairs'"
    )
    return dict(row)


async def test_pairs_are_kept_under_any_search_path() -> None:
    """As in pg_restore, which has an empty one."""
    connection = await asyncpg.connect(await new_database())
    try:
        await connection.execute("SET search_path = ''")
        await connection.execute(
            """
            INSERT INTO public.tenants (slug, member_access, created_at) VALUES ('t', 'NONE', now());
            INSERT INTO public.users (tenant_id, name, role, created_at)
                SELECT id, 'u', 'ADMIN', now() FROM public.tenants;
            INSERT INTO public.batches (id, tenant_id, batch_id, created_by_id)
                SELECT 1, tenant_id, 'b', id FROM public.users;
            INSERT INTO public.objects (id, tenant_id, batch_pk, object_id, data, updated_at)
                SELECT 1, tenant_id, 1, 'o', '[{"key": "k", "value": "1"}]', now() FROM public.batches;
            UPDATE public.objects SET data = '[{"key": "k", "value": "2"}]';
            """
        )
        rows = await connection.fetch("SELECT key, value, number FROM public.object_pairs")
        assert [tuple(row) for row in rows] == [("k", "2", 2.0)]
        await connection.execute("DELETE FROM public.objects")
        assert await connection.fetchval("SELECT count(*) FROM public.object_pairs") == 0
    finally:
        await connection.close()
