"""The limits on operations, through the endpoint and on documents measured directly."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from graphql import get_introspection_query, parse

from graph.limits import QueryLimits, exceeded
from tests.conftest import Caller
from tests.graph.tiny import Tiny, code

LIMITS = QueryLimits(depth=3, fields=6, aliases=2, root_fields=3, directives=2, tokens=100)
tiny = Tiny(limits=LIMITS)

AT_THE_LIMIT = {
    "depth": "{ node { node { name } } }",
    "fields": "{ node { ...F } hello } fragment F on Node { name node { name __typename } }",
    "aliases": "{ a: hello ...F } fragment F on Query { b: hello }",
    "root_fields": "{ hello ...F } fragment F on Query { hello __typename }",
    "directives": "query @skip(if: false) { hello @include(if: true) }",
    "tokens": '{ hello(name: "' + "x" * 5000 + '") }' + "#\n" * 90,
}
OVER_IT = {
    "depth": ("{ node { ...F } } fragment F on Node { node { ... { node { name } } } }", 4),
    "fields": ("{ node { ...F ...F } } fragment F on Node { name node { name } }", 7),
    "aliases": ("{ node { ...F ...F ...F } } fragment F on Node { a: name }", 3),
    "root_fields": ("{ hello ...F ... { hello } } fragment F on Query { hello __typename }", 4),
    "directives": (
        "{ hello @include(if: true) ...F @skip(if: false) } fragment F on Query { hello @skip(if: true) }",
        3,
    ),
    "tokens": ("{ hello " + "hello " * 98 + "}", None),
}


@pytest.mark.parametrize("limit", AT_THE_LIMIT)
def test_amount_at_the_limit_is_allowed(limit: str) -> None:
    wide = replace(QueryLimits(), **{limit: getattr(LIMITS, limit)})
    assert exceeded(parse(AT_THE_LIMIT[limit], max_lexical_tokens=wide.tokens), wide) == []


@pytest.mark.parametrize("limit", OVER_IT)
async def test_amount_over_the_limit_is_refused_with_what_it_is(limit: str) -> None:
    query, amount = OVER_IT[limit]
    wide = replace(QueryLimits(), **{limit: getattr(LIMITS, limit)})
    answer = await Tiny(limits=wide).query(query)
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    found = {"code": "TOO_COMPLEX", "limit": limit, "maximum": getattr(LIMITS, limit), "amount": amount}
    assert error["extensions"] == {name: value for name, value in found.items() if value is not None}
    assert limit.replace("_", " ") in error["message"]
    assert str(getattr(LIMITS, limit)) in error["message"]


async def test_comments_are_tokens_too() -> None:
    assert code(await tiny.query("{ hello }" + "#\n" * 101)) == "TOO_COMPLEX"


async def test_every_limit_that_is_exceeded_is_told() -> None:
    answer = await tiny.query("{ a: hello b: hello c: hello node { node { node { node { name name name } } } } }")
    assert {error["extensions"]["limit"] for error in answer.json()["errors"]} == {
        "depth", "fields", "aliases", "root_fields",
    }  # fmt: skip


async def test_the_largest_operation_counts() -> None:
    answer = await tiny.post(
        {"query": "query A { hello } query B { a: hello b: hello c: hello }", "operationName": "A"}
    )
    assert code(answer) == "TOO_COMPLEX"


async def test_introspection_is_no_depth() -> None:
    shallow = Tiny(limits=replace(QueryLimits(), depth=1))
    answer = await shallow.query(get_introspection_query())
    assert answer.json()["data"]["__schema"]["queryType"] == {"name": "Query", "kind": "OBJECT"}
    assert code(await shallow.query("{ node { name } __schema { queryType { name } } }")) == "TOO_COMPLEX"


def nested_fragments(count: int) -> str:
    fragments = " ".join(f"fragment F{i} on Node {{ a: name ...F{i + 1} ...F{i + 1} }}" for i in range(count))
    return f"{{ node {{ ...F0 }} }} {fragments} fragment F{count} on Node {{ name }}"


class CountedSelections(tuple[Any, ...]):
    """Counts how often one of them is walked."""

    walks = 0

    def __iter__(self) -> Iterator[Any]:
        type(self).walks += 1
        return super().__iter__()


def test_nested_fragments_are_walked_once_each() -> None:
    # Walked as often as they are used, these would be 2 ** 1000.
    document = parse(nested_fragments(1000))
    sets = [definition.selection_set for definition in document.definitions]  # type: ignore[attr-defined]
    for selection_set in [*sets, sets[0].selections[0].selection_set]:
        object.__setattr__(selection_set, "selections", CountedSelections(selection_set.selections))
    CountedSelections.walks = 0
    errors = exceeded(document, QueryLimits())
    assert CountedSelections.walks == len(sets) + 1 == 1003
    assert {error.extensions["limit"] for error in errors if error.extensions} == {"fields", "aliases"}


async def test_nested_fragments_are_refused() -> None:
    answer = await Tiny().query(nested_fragments(25))
    amounts = {error["extensions"]["limit"]: error["extensions"]["amount"] for error in answer.json()["errors"]}
    assert amounts == {"fields": 2**26, "aliases": 2**25 - 1}


def test_sums_stop_before_they_have_hundreds_of_digits() -> None:
    amounts = [
        error.extensions["amount"]
        for error in exceeded(parse(nested_fragments(500)), QueryLimits())
        if error.extensions
    ]
    assert amounts == [1_000_000_000, 1_000_000_000]


@pytest.mark.parametrize(
    "query",
    [
        "{ node { ...A } } fragment A on Node { ...A }",
        "{ node { ...A } } fragment A on Node { name ...B } fragment B on Node { name ...A }",
        "{ node { ...A ...B } } fragment A on Node { ...B ...A } fragment B on Node { node { ...A ...B } }",
    ],
)
async def test_cycles_of_fragments_are_left_to_validation(query: str) -> None:
    answer = await tiny.query(query)
    assert {error["extensions"]["code"] for error in answer.json()["errors"]} == {"GRAPHQL_VALIDATION_FAILED"}


async def test_unknown_fragment_is_left_to_validation() -> None:
    assert code(await tiny.query("{ ...Nothing }")) == "GRAPHQL_VALIDATION_FAILED"


async def test_unused_fragment_is_measured_too() -> None:
    unused = "fragment F on Node {" + " name" * 7 + "}"
    assert code(await tiny.query("{ hello } " + unused)) == "TOO_COMPLEX"


def test_long_chain_of_fragments_does_not_exhaust_the_stack() -> None:
    links = " ".join(f"fragment F{i} on Node {{ node {{ ...F{i + 1} }} }}" for i in range(3000))
    document = parse(f"{{ node {{ ...F0 }} }} {links} fragment F3000 on Node {{ name }}")
    [deep, fields] = exceeded(document, QueryLimits())
    assert deep.extensions
    assert (deep.extensions["limit"], deep.extensions["amount"]) == ("depth", 3002)
    assert fields.extensions
    assert fields.extensions["limit"] == "fields"


# -- rows of all lists in one answer -----------------------------------------------------------------------------------

LISTS_IN_LISTS = """query($inner: Int) { batch(batchId: "b") { objects(first: 100) { nodes { batch {
  objects(first: 99) { nodes { batch { objects(first: $inner) { nodes { objectId } } } } } } } } } }"""
SELECTED_AGAIN = """{ batch(batchId: "b") { objects(first: 100) { nodes { batch {
  objects(first: 99) { a: nodes { id } %s } } } } } }"""


async def fill(caller: Caller) -> None:
    await caller.create_batch("b", {f"o{index}": [] for index in range(100)})


async def test_lists_in_lists_multiply_up_to_the_limit(admin: Caller) -> None:
    await fill(admin)
    data = await admin.execute(LISTS_IN_LISTS, inner=1)  # 100 + 9,900 + 9,900
    assert len(data["batch"]["objects"]["nodes"]) == 100


async def test_rows_over_the_limit_are_refused_with_what_they_are(admin: Caller) -> None:
    await fill(admin)
    answer = (await admin.post(LISTS_IN_LISTS, inner=100)).json()
    error = answer["errors"][0]
    assert error["extensions"] == {"code": "TOO_COMPLEX", "limit": "rows", "maximum": 20_000, "amount": 20_100}
    assert "rows 20,100, at most 20,000" in error["message"]
    assert answer["data"] == {"batch": None}
    await admin.execute("{ objects { nodes { id } } }")  # each request counts anew


async def test_rows_that_are_selected_again_count_again(admin: Caller) -> None:
    await fill(admin)
    await admin.execute(SELECTED_AGAIN % "b: edges { cursor }")  # 100 + 9,900 + 9,900
    answer = (await admin.post(SELECTED_AGAIN % "b: edges { cursor } c: nodes { id }")).json()
    assert answer["errors"][0]["extensions"]["code"] == "TOO_COMPLEX"
