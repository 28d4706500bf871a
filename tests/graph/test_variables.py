"""Variables that are coerced the short way are what graphql-core makes of them; what is wrong is left to it."""

from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse
from graphql.execution.values import get_variable_values
from hypothesis import given, settings
from hypothesis import strategies as st

from graph import documents
from graph.schema import schema
from graph.variables import coercing
from tests.conftest import Caller
from tests.graph.tiny import schema as tiny_schema

text = st.text("a\0é", max_size=2)
wrong: st.SearchStrategy[Any] = st.sampled_from([None, 1, 1.5, True, "x", [], {}, [None], {"key": None}, "\ud800"])


def often(right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(right, right, right, right, wrong)


pair = often(st.fixed_dictionaries({"key": text, "value": text}, optional={"other": text}))
size = st.integers(-(2**64), 2**64) | st.integers(0, 9).map(str)
file = often(
    st.fixed_dictionaries(
        {"name": often(text), "contentType": text, "size": often(size)}, optional={"sha256": text | wrong}
    )
)
one = st.fixed_dictionaries(
    {"objectId": often(text)}, optional={"data": often(st.lists(pair, max_size=3)), "file": file}
)
batch = st.fixed_dictionaries({"batchId": often(text)}, optional={"objects": often(st.lists(often(one), max_size=3))})
variables = st.fixed_dictionaries({}, optional={"input": often(batch), "first": wrong, "ids": wrong, "other": wrong})
DOCUMENT = parse(
    "mutation($input: CreateBatchInput!, $first: Int, $ids: [ID!]) { createBatch(input: $input)"
    " { batch { objects(first: $first) { nodes { id } } } } }"
)


@settings(max_examples=300, deadline=None)
@given(variables)
def test_values_are_those_that_graphql_core_makes(given_: dict[str, Any]) -> None:
    [operation] = DOCUMENT.definitions
    assert isinstance(operation, OperationDefinitionNode)
    short = coercing(schema._schema, DOCUMENT, operation)
    assert short is not None
    values = short.values(given_)
    stock = get_variable_values(schema._schema, operation.variable_definitions or (), given_)
    if values is not None:
        assert not isinstance(stock, list)
        assert values.coerced == stock.coerced
        assert [*values.sources] == [*stock.sources]
        assert [one.value for one in values.sources.values()] == [one.value for one in stock.sources.values()]
    elif "ids" not in given_:  # where one stands for a list of one
        assert isinstance(stock, list)


@pytest.mark.parametrize(
    "declared",
    [
        "$a: ObjectWhere",  # which may be within itself
        "$a: ValueWhere",  # @oneOf
        "$a: DeleteBatchInput!",  # of which something is false where it is left out
        "$a: Int = 3",
    ],
)
def test_what_is_not_simple_is_left_to_graphql_core(declared: str) -> None:
    document = parse(f"query({declared}) {{ viewer {{ access }} }}")
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    assert coercing(schema._schema, document, operation) is None


def test_types_of_strawberrys_maybe_are_left_to_graphql_core() -> None:
    document = parse("query($a: Thing!) { describe(thing: $a) }")
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    assert coercing(tiny_schema._schema, document, operation) is None


CREATE = (
    "mutation($input: CreateBatchInput!) { createBatch(input: $input) { objects { objectId data { key value } } } }"
)


@pytest.mark.parametrize("count", [3, 1_200])
async def test_wrong_values_are_said_to_be_where_graphql_core_says_they_are(
    admin: Caller, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    objects: list[Any] = [{"objectId": f"o{n}", "data": [{"key": "k" * 50, "value": "v"}]} for n in range(count)]
    objects[count - 1]["data"] = [{"key": "k", "value": 1}]
    given_ = {"batchId": "b", "objects": objects}
    found = (await admin.post(CREATE, input=given_)).json()
    monkeypatch.setattr(documents, "coercing", lambda *_: None)
    stock = (await admin.post(f"{CREATE} # again", input=given_)).json()
    assert found["errors"] == stock["errors"]
    assert f"at .objects[{count - 1}].data[0].value:" in found["errors"][0]["message"]


async def test_what_is_sent_is_made_the_short_way(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("graph.coercion.Builder.__call__", refused)
    objects = [{"objectId": "a", "data": [{"key": "k", "value": "v"}]}, {"objectId": "b", "data": None}]
    data = await admin.execute(CREATE, input={"batchId": "b", "objects": objects})
    assert data["createBatch"]["objects"] == [
        {"objectId": "a", "data": [{"key": "k", "value": "v"}]},
        {"objectId": "b", "data": []},
    ]
