"""Input types made by graphql-core's coercion are what Strawberry would have made afterwards."""

from enum import Enum
from typing import Any

import pytest
import strawberry
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.relay import GlobalID

from graph.coercion import build_inputs


@strawberry.enum
class Size(Enum):
    SMALL = "small"
    LARGE = "large"


def new_schema() -> strawberry.Schema:
    """Input types of its own, because Strawberry keeps what is done to them."""

    @strawberry.input(one_of=True)
    class Choice:
        word: strawberry.Maybe[str]
        number: strawberry.Maybe[int]

    @strawberry.input
    class Pair:
        key: str
        value: str | None = "none"

    @strawberry.input
    class Thing:
        object_name: str
        size: Size | None
        pairs: list[Pair] = strawberry.field(default_factory=list)
        table: list[list[Pair | None]] | None = None
        choice: Choice | None = None
        in_: list[float] | None = strawberry.field(name="in", default=None)
        note: strawberry.Maybe[str]
        label: strawberry.Maybe[Pair | None]

    @strawberry.type
    class Query:
        @strawberry.field
        def describe(self, thing: Thing, things: list[Thing] | None = None) -> str:
            return repr((thing, things)).replace(new_schema.__qualname__, "")

    return strawberry.Schema(Query)


stock, built = new_schema(), new_schema()
build_inputs(built)


text = st.text("ab", max_size=2)
pair = st.fixed_dictionaries({"key": text}, optional={"value": text | st.none()})
wrong: st.SearchStrategy[Any] = st.sampled_from([None, 1, "x", [], {}, {"key": None}])
thing = st.fixed_dictionaries(
    {"objectName": text},
    optional={
        "size": st.sampled_from(["SMALL", "LARGE", "HUGE", None]),
        "pairs": st.lists(pair, max_size=2) | pair | wrong,
        "table": st.lists(st.lists(pair | st.none(), max_size=2), max_size=2) | wrong,
        "choice": st.dictionaries(st.sampled_from(["word", "number"]), st.just("x") | st.just(1), max_size=2) | wrong,
        "in": st.lists(st.integers(0, 3), max_size=2) | wrong,
        "note": text | wrong,
        "label": pair | wrong,
    },
)
QUERY = "query($thing: Thing!, $things: [Thing!]) { describe(thing: $thing, things: $things) }"


@settings(max_examples=250, deadline=None)
@given(thing, st.none() | st.lists(thing, max_size=2))
def test_instances_are_those_that_strawberry_makes(thing: dict[str, Any], things: list[dict[str, Any]] | None) -> None:
    variables = {"thing": thing, "things": things}
    expected = stock.execute_sync(QUERY, variables)
    found = built.execute_sync(QUERY, variables)
    assert found.data == expected.data
    assert bool(found.errors) == bool(expected.errors)


@pytest.mark.parametrize(
    "literal",
    [
        '{objectName: "x"}',
        '{objectName: "x", size: LARGE, pairs: {key: "k"}, choice: {number: 1}, note: "n", label: null, in: [1, 2.5]}',
        '{objectName: "x", pairs: [{key: "k", value: null}], table: [[null, {key: "k"}]], label: {key: "l"}}',
    ],
)
def test_literals_too(literal: str) -> None:
    query = f"{{ describe(thing: {literal}) }}"
    expected = stock.execute_sync(query)
    assert expected.data
    assert built.execute_sync(query).data == expected.data


def test_input_field_that_would_need_strawberrys_conversion_is_refused() -> None:
    @strawberry.input
    class Wanted:
        ids: list[GlobalID]

    @strawberry.type
    class Query:
        @strawberry.field
        def found(self, wanted: Wanted) -> str:
            return repr(wanted)

    with pytest.raises(TypeError, match=r"Wanted\.ids"):
        build_inputs(strawberry.Schema(Query))
