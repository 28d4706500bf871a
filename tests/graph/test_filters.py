"""Every filter against a plain Python model of it, over hard data."""

import re
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.loads import Filter
from models import database
from models.filters import Condition
from tests.conftest import Caller, NewCaller

LONG = "ä" * 299
HARD_TEXT = [
    "", "a", "A", "ab", "b", "%", "_", "a%", "a_b", "'", '"', "\\", "a\\b", "é", "e\u0301", "😀",
    "\uffff", "\U0010ffff",
    "\ud7ff", "\ue000", "\t", "\n", " ", "a ", "null", "true", "{}", "[]", "$1", "--", "\u202e",
    LONG, LONG + "x", LONG + "xy", LONG + "xyz", "z" * 4096, "z" * 4095 + "y",
    "0", "-0", "1", "01", "1.0", "+1", "1.", ".5", "1e2", "100", "1e99", "1e100", "-1e99", "1e-99",
    "NaN", "Infinity", "1_0",
    " 1", "1 ", "0x10", "١", "9" * 100, "9" * 101, "1" + "0" * 98, "3.14159",
]  # fmt: skip
HARD_KEYS = ["k", "K", "k2", "", "ключ", "a b", "%", "'", "x" * 256]

Pairs = list[tuple[str, str]]
Model = Callable[[str, Pairs], bool]

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")


def number(value: str) -> float | None:
    """The rule as the README gives it: a decimal literal of at most 100 bytes, exponent of at most two digits."""
    return float(value) if len(value.encode()) <= 100 and _DECIMAL.fullmatch(value) else None


def compares(test: Callable[[float], bool]) -> Callable[[str], bool]:
    return lambda value: (parsed := number(value)) is not None and test(parsed)


texts = st.sampled_from(HARD_TEXT)
keys = st.sampled_from(HARD_KEYS)
numbers = st.sampled_from([-1e99, -1.0, -0.0, 0.0, 0.5, 1.0, 3.14159, 100.0, 1e99, 1e300, float("1" + "0" * 98)])


_values: st.SearchStrategy[tuple[dict[str, Any], Callable[[str], bool]]] = st.one_of(
    texts.map(lambda text: ({"eq": text}, lambda value: value == text)),
    st.lists(texts, max_size=4).map(lambda some: ({"in": some}, lambda value: value in some)),
    st.one_of(texts, texts.map(lambda text: text[:1]), texts.map(lambda text: text[:301])).map(
        lambda text: ({"startsWith": text}, lambda value: value.startswith(text))
    ),
    numbers.map(lambda x: ({"gt": x}, compares(lambda value: value > x))),
    numbers.map(lambda x: ({"gte": x}, compares(lambda value: value >= x))),
    numbers.map(lambda x: ({"lt": x}, compares(lambda value: value < x))),
    numbers.map(lambda x: ({"lte": x}, compares(lambda value: value <= x))),
)


@st.composite
def values(draw: st.DrawFn) -> tuple[dict[str, Any], Callable[[str], bool]]:
    """A function, so that hypothesis does not print all of it wherever it is used."""
    return draw(_values)


_predicates: st.SearchStrategy[tuple[dict[str, Any], Callable[[Pairs], bool]]] = st.one_of(
    keys.map(lambda key: ({"key": key}, lambda pairs: any(k == key for k, _ in pairs))),
    values().map(lambda v: ({"value": v[0]}, lambda pairs: any(v[1](value) for _, value in pairs))),
    st.tuples(keys, values()).map(
        lambda kv: (
            {"key": kv[0], "value": kv[1][0]},
            lambda pairs: any(key == kv[0] and kv[1][1](value) for key, value in pairs),
        )
    ),
)


@st.composite
def predicates(draw: st.DrawFn) -> tuple[dict[str, Any], Callable[[Pairs], bool]]:
    return draw(_predicates)


def _all_pairs(some: list[tuple[dict[str, Any], Callable[[Pairs], bool]]]) -> tuple[dict[str, Any], Model]:
    return {"data": [where for where, _ in some]}, lambda _, pairs: all(model(pairs) for _, model in some)


def _and(some: list[tuple[dict[str, Any], Model]]) -> tuple[dict[str, Any], Model]:
    return {"and": [where for where, _ in some]}, lambda i, pairs: all(model(i, pairs) for _, model in some)


def _or(some: list[tuple[dict[str, Any], Model]]) -> tuple[dict[str, Any], Model]:
    return {"or": [where for where, _ in some]}, lambda i, pairs: any(model(i, pairs) for _, model in some)


def _not(one: tuple[dict[str, Any], Model]) -> tuple[dict[str, Any], Model]:
    return {"not": one[0]}, lambda i, pairs: not one[1](i, pairs)


def _ids(ids: list[str]) -> tuple[dict[str, Any], Model]:
    return {"objectIds": ids}, lambda object_id, _: object_id in ids


def _batch(batch_id: str) -> tuple[dict[str, Any], Model]:
    return {"batchId": batch_id}, lambda object_id, _: object_id.startswith(f"{batch_id}-")


def _both(two: tuple[tuple[dict[str, Any], Model], tuple[dict[str, Any], Model]]) -> tuple[dict[str, Any], Model]:
    (data, of_data), (other, of_other) = two
    return {**data, **other}, lambda i, pairs: of_data(i, pairs) and of_other(i, pairs)


leaves = st.one_of(
    st.lists(predicates(), max_size=3).map(_all_pairs),
    st.lists(st.sampled_from(["a-0", "a-1", "b-0", "nobody"]), max_size=3).map(_ids),
    st.sampled_from(["a", "b", "none"]).map(_batch),
    st.tuples(
        st.lists(predicates(), max_size=2).map(_all_pairs),
        st.sampled_from(["a", "b"]).map(_batch),
    ).map(_both),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(_and), st.lists(inner, max_size=3).map(_or), inner.map(_not)
    ),
    max_leaves=6,
)
objects = st.lists(
    st.lists(st.tuples(keys.filter(bool), texts), max_size=5), min_size=1, max_size=12
)  # data of each object


async def fill(caller: Caller, data: list[Pairs]) -> dict[str, Pairs]:
    """Two batches, half of the objects in each."""
    half = len(data) // 2
    made: dict[str, Pairs] = {}
    for batch, some in (("a", data[:half]), ("b", data[half:])):
        ids = {f"{batch}-{index}": pairs for index, pairs in enumerate(some)}
        await caller.create_batch(batch, ids)
        made |= ids
    return made


PROPERTY = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@PROPERTY
@given(data=objects, wheres=st.lists(filters, min_size=1, max_size=12))
async def test_objects_match_a_filter_exactly_when_the_model_says_so(
    new_caller: NewCaller, data: list[Pairs], wheres: list[tuple[dict[str, Any], Model]]
) -> None:
    caller = await new_caller()
    made = await fill(caller, data)
    newest_first = sorted(made, key=list(made).index, reverse=True)
    for where, model in wheres:
        expected = [object_id for object_id in newest_first if model(object_id, made[object_id])]
        assert await caller.object_ids(where) == expected, where
        counted = await caller.execute(
            "query($where: ObjectWhere) { objects(where: $where) { totalCount } }", where=where
        )
        assert counted["objects"]["totalCount"] == len(expected), where


@PROPERTY
@given(data=objects, wheres=st.lists(st.lists(predicates(), max_size=3), min_size=1, max_size=12))
async def test_batches_match_exactly_when_one_of_their_objects_matches_every_predicate(
    new_caller: NewCaller, data: list[Pairs], wheres: list[list[tuple[dict[str, Any], Callable[[Pairs], bool]]]]
) -> None:
    caller = await new_caller()
    made = await fill(caller, data)
    for some in wheres:
        where, model = _all_pairs(some)
        expected = [
            batch
            for batch in ("b", "a")
            if not some or any(model(i, pairs) for i, pairs in made.items() if i.startswith(f"{batch}-"))
        ]
        answer = await caller.execute(
            "query($where: BatchWhere) { batches(where: $where) { totalCount nodes { batchId } } }", where=where
        )
        assert [node["batchId"] for node in answer["batches"]["nodes"]] == expected, where
        assert answer["batches"]["totalCount"] == len(expected), where


@PROPERTY
@given(data=objects, where=filters)
async def test_nested_pages_hold_what_the_filter_and_the_batch_say(
    new_caller: NewCaller, data: list[Pairs], where: tuple[dict[str, Any], Model]
) -> None:
    caller = await new_caller()
    made = await fill(caller, data)
    answer = await caller.execute(
        """query($where: ObjectWhere) { batches { nodes { batchId objects(first: 100, where: $where) {
             totalCount nodes { objectId } } } } }""",
        where=where[0],
    )
    for batch in answer["batches"]["nodes"]:
        own = [i for i in reversed(made) if i.startswith(f"{batch['batchId']}-") and where[1](i, made[i])]
        assert [node["objectId"] for node in batch["objects"]["nodes"]] == own
        assert batch["objects"]["totalCount"] == len(own)


@PROPERTY
@given(data=objects, prefix=st.one_of(st.none(), texts.map(lambda text: text[:2])))
async def test_facets_list_keys_and_values_with_the_number_of_objects(
    new_caller: NewCaller, data: list[Pairs], prefix: str | None
) -> None:
    caller = await new_caller()
    made = await fill(caller, data)

    def counted(of: Callable[[Pairs], set[str]]) -> list[tuple[str, int]]:
        facets: dict[str, int] = {}
        for pairs in made.values():
            for one in of(pairs):
                facets[one] = facets.get(one, 0) + 1
        return sorted((one, count) for one, count in facets.items() if one.startswith(prefix or ""))

    query = "query($prefix: String) { dataKeys(prefix: $prefix, first: 100) { key count isCapped } }"
    answer = await caller.execute(query, prefix=prefix)
    assert [(one["key"], one["count"]) for one in answer["dataKeys"]] == counted(lambda pairs: {k for k, _ in pairs})
    for key in {key for pairs in made.values() for key, _ in pairs}:
        answer = await caller.execute(
            """query($key: String!, $prefix: String) {
              dataValues(key: $key, prefix: $prefix, first: 100) { value count } }""",
            key=key,
            prefix=prefix,
        )
        expected = counted(lambda pairs, key=key: {v for k, v in pairs if k == key})  # type: ignore[misc]
        # Long values stand in the order of what the index holds of them.
        assert sorted((one["value"], one["count"]) for one in answer["dataValues"]) == expected


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"data": [{}]}, "needs"),
        ({"data": [{"key": "k", "value": {}}]}, "exactly one"),
        ({"data": [{"key": "k", "value": {"eq": "a", "gt": 1}}]}, "exactly one"),
        ({"data": [{"key": "k", "value": {"eq": None}}]}, "null"),
        ({"data": [{"key": "k\0"}]}, "NUL"),
        ({"objectIds": ["x"] * 1001}, "1000"),
        ({"data": [{"key": "k", "value": {"in": ["x"] * 1001}}]}, "1000"),
        ({"data": [{"key": "k"}] * 51}, "50"),
        ({"and": [{"or": [{"batchId": "b"}] * 25}] * 2}, "50"),
        ({"objectIds": ["x" * 10_000] * 31}, "300,000"),
        ({"createdAfter": "2026-01-01T00:00:00"}, "offset"),
        ({"createdAfter": "2026-02-30T00:00:00Z"}, "no such moment"),
        ({"createdAfter": "yesterday"}, "RFC 3339"),
    ],
)
async def test_malformed_filter_is_bad_input_that_says_why(admin: Caller, where: Any, says: str) -> None:
    error = await admin.error("query($where: ObjectWhere) { objects(where: $where) { nodes { id } } }", where=where)
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert says.lower() in error["message"].lower()


async def test_filter_of_batches_needs_key_or_value_too(admin: Caller) -> None:
    query = "query($where: BatchWhere) { batches(where: $where) { nodes { id } } }"
    error = await admin.error(query, where={"data": [{}]})
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert "needs" in error["message"].lower()


async def test_counts_of_facets_stop_at_ten_thousand(admin: Caller) -> None:
    query = '{ dataKeys { count isCapped } dataValues(key: "k") { count isCapped } }'
    for batch, size, capped in (("a", 10_000, False), ("b", 1, True)):
        await admin.create_batch(batch, {f"{batch}{index}": [("k", "v")] for index in range(size)})
        count = [{"count": 10_000, "isCapped": capped}]
        assert await admin.execute(query) == {"dataKeys": count, "dataValues": count}


async def test_alternatives_that_multiply_are_bad_input(admin: Caller) -> None:
    either = [{"or": [{"batchId": str(n), "data": [{"key": key}]} for n in range(23)]} for key in "ab"]
    query = "query($where: ObjectWhere) { objects(where: $where) { nodes { id } } }"
    error = await admin.error(query, where={"and": either})
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert "alternatives" in error["message"]
    for one in either:
        del one["or"][11:]
    assert (await admin.execute(query, where={"and": either}))["objects"]["nodes"] == []


async def test_empty_alternatives_do_not_multiply(admin: Caller) -> None:
    await admin.create_batch("b", {"o": []})
    assert await admin.object_ids({"and": [{"or": [{}, {}]} for _ in range(16)]}) == ["o"]


@pytest.mark.parametrize("query", ['{ batch(batchId: "a\\u0000") { id } }', '{ dataKeys(prefix: "\\u0000") { key } }'])
async def test_nul_in_a_literal_is_refused_like_one_in_a_variable(admin: Caller, query: str) -> None:
    assert await admin.refused(query) in ("BAD_INPUT", "GRAPHQL_VALIDATION_FAILED")


async def test_filter_is_made_and_sent_once_for_all_batches_of_a_page(admin: Caller) -> None:
    for batch in "abc":
        await admin.create_batch(batch, {batch: [("k", "v")]})
    made: list[Filter] = []
    sent: list[object] = []
    fetch, of = database.fetch, Filter.of

    async def sending(sql: str, *arguments: object) -> Any:
        sent.extend(arguments)
        return await fetch(sql, *arguments)

    def making(condition: Condition) -> Filter:
        made.append(of(condition))
        return made[-1]

    with patch.object(database, "fetch", sending), patch.object(Filter, "of", making):
        either = ", ".join(f'{{batchId: "{batch}", data: {{value: {{eq: "v"}}}}}}' for batch in "abc")
        query = (
            f"{{ batches {{ nodes {{ objects(where: {{or: [{either}]}}) {{ nodes {{ objectId }} totalCount }} }} }} }}"
        )
        data = await admin.execute(query)
    assert [one["objects"]["totalCount"] for one in data["batches"]["nodes"]] == [1, 1, 1]
    assert len(made) == 2  # with that of the batches, which is none
    assert sent.count("v") == 2  # for the pages and for the totals


async def test_deeply_nested_filter_is_bad_input(admin: Caller) -> None:
    for depth in (11, 400):
        where: dict[str, Any] = {}
        for _ in range(depth):
            where = {"not": where}
        query = "query($where: ObjectWhere) { objects(where: $where) { nodes { id } } }"
        assert await admin.refused(query, where=where) == "BAD_INPUT"


async def test_creation_time_bounds_are_exclusive_and_exact(admin: Caller) -> None:
    for name in ("a", "b", "c"):
        await admin.create_batch(name, {f"{name}1": []})
    data = await admin.execute("{ objects { nodes { objectId createdAt } } batches { nodes { batchId createdAt } } }")
    times = {node["objectId"]: node["createdAt"] for node in data["objects"]["nodes"]}
    after_b = sorted(i for i, at in times.items() if at > times["b1"])
    before_b = sorted(i for i, at in times.items() if at < times["b1"])
    assert sorted(await admin.object_ids({"createdAfter": times["b1"]})) == after_b
    assert sorted(await admin.object_ids({"createdBefore": times["b1"]})) == before_b
    assert await admin.object_ids({"createdAfter": "9999-12-31T23:59:59Z"}) == []
    assert await admin.object_ids({"createdBefore": "0001-01-01T00:00:00Z"}) == []
    assert len(await admin.object_ids({"createdAfter": "1999-01-01T00:00:00+02:00"})) == 3
