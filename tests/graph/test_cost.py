"""What operations cost, before anything of them runs."""

from typing import Any

import pytest
from graphql import (
    GraphQLList,
    GraphQLObjectType,
    OperationDefinitionNode,
    get_introspection_query,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    parse,
    validate,
)
from hypothesis import given
from hypothesis import strategies as st

from graph import cost
from graph.cost import Costs
from graph.cost_levels import PageSizes
from graph.documents import Documents
from graph.limits import QueryLimits
from graph.schema import schema
from tests.graph.test_limits import CountedSelections

SIZES = PageSizes()
SCHEMA = schema._schema


def points(document: str, sizes: PageSizes = SIZES, **variables: Any) -> int:
    node = parse(document)
    assert validate(SCHEMA, node) == []
    operations = [one for one in node.definitions if isinstance(one, OperationDefinitionNode)]
    return Costs(SCHEMA, sizes, node).points(operations[0], variables)


def objects(count: int, pairs: int = 0, **more: object) -> list[dict[str, Any]]:
    data = [{"key": "k", "value": "v"}] * pairs
    return [{"objectId": str(number), "data": data, **more} for number in range(count)]


FILE = {"name": "a", "contentType": "a/b", "size": 1}
LARGE = FILE | {"size": SIZES.large_bytes + 1}
CREATE = 'mutation($o: [ObjectInput!]!) { createObjects(input: {batchId: "b", objects: $o}) { batch { id } } }'
MADE = "mutation($i: CreateBatchInput!) { createBatch(input: $i) { uploads { url headers { name } } objects { id } } }"
SYNC = 'mutation($f: [SyncFileInput!]!) { requestSync(input: {source: "a", files: $f}) { syncs { state } } }'
COMPLETE = "mutation($i: [ID!]!) { completeUploads(input: {uploadIds: $i}) { results { state } } }"
SENT = """mutation($i: [ID!]!, $p: [SentPartsInput!]) {
  completeUploads(input: {uploadIds: $i, parts: $p}) { payload: __typename } }"""
PARTS = '{ node(id: "x") { ... on Upload { parts(first: 100) { nodes { url etag } } } } }'
UPLOADS = "mutation($f: [ObjectFileInput!]!) { createUploads(input: {files: $f}) { uploads { url } } }"
FRAGMENTS = """{ ...Q } fragment Q on Query { objects(first: 100) { ...C } } fragment C on ObjectConnection { ...D }
  fragment D on ObjectConnection { totalCount nodes { batch { id } } }"""

FILTERED = "query($w: ObjectWhere) { objects(first: 10, where: $w) { nodes { id } } }"
NESTED = """{ batches(first: 100) { nodes { ...F } } }
  fragment F on Batch { objects(where: {not: {batchId: "b"}}) { totalCount } }"""
TYPES = "types { fields { args { type { kind ofType { kind ofType { kind } } } } } }"
GRAPHIQL = get_introspection_query(
    specified_by_url=True, directive_is_repeatable=True, schema_description=True, input_value_deprecation=True
)

TABLE: list[tuple[str, dict[str, Any], int]] = [
    ("{ __typename }", {}, 1),
    ("{ viewer { access user { name } tenant { slug } } }", {}, 1),
    (get_introspection_query(), {}, 185),
    (GRAPHIQL, {}, 190),
    ("{ __schema { __typename queryType { name } } }", {}, 2),
    ('{ __type(name: "Query") { fields { name args { name } } } }', {}, 18),
    (f"{{ {' '.join(f'a{n}: __schema {{ {TYPES} }}' for n in range(12))} }}", {}, 12 * 35),
    ("{ __schema { types { fields { args { a: type { name } b: type { name } } } } } }", {}, 42),
    ("{ a: __typename b: __typename }", {}, 1),
    ('{ object(objectId: "a") { objectId data { key value } batch { batchId createdBy { name } } } }', {}, 1),
    ("{ objects { nodes { id } } }", {}, 1),
    ("{ objects(first: 100) { nodes { id data { key } file { name } } } }", {}, 10),
    ("{ objects(last: 50) { edges { node { id } cursor } pageInfo { hasNextPage } } }", {}, 5),
    ("{ objects(first: 100) { nodes { batch { id } } } }", {}, 20),
    ("{ objects(first: 100) { nodes { file { access { url } } } } }", {}, 20),
    ("{ objects(first: 1) { totalCount } }", {}, 11),
    ("{ a: objects(first: 100) { nodes { id } } b: objects(first: 100) { nodes { id } } }", {}, 20),
    ("{ batches(first: 100) { nodes { objects(first: 100) { nodes { id } } } } }", {}, 1_010),
    ("{ batches(first: 20) { nodes { objects { totalCount } } } }", {}, 222),
    ("query($n: Int) { objects(first: $n) { nodes { id } } }", {"n": 100}, 10),
    ("query($n: Int = 100) { objects(first: $n) { nodes { id } } }", {}, 10),
    ("query($n: Int = 100) { objects(first: $n) { nodes { id } } }", {"n": 20}, 2),
    ("query($n: Int) { objects(first: $n) { nodes { id } } }", {"n": None}, 1),
    ("query($n: Int, $m: Int) { objects(first: $n, last: $m) { nodes { id } } }", {"m": 3}, 1),
    ("{ objects(first: 1000000) { nodes { id } } }", {}, 10),
    ("query($n: Int) { objects(first: $n) { nodes { id } } }", {"n": 10**300}, 10),
    ("query($n: Int) { objects(first: $n) { nodes { id } } }", {"n": -(10**30)}, 1),
    ("query($n: Int) { objects(first: $n) { nodes { id } } }", {"n": {"what": ["is", "this"]}}, 1),
    ("query($i: [ID!]!) { nodes(ids: $i) { id } }", {"i": ["x"] * 100}, 10),
    ("{ dataKeys { key } }", {}, 110),
    ("{ dataKeys(first: 1) { key } }", {}, 20),
    ('{ dataValues(key: "k", first: 100) { value count } }', {}, 1_010),
    ('{ objects(first: 10, where: {batchId: "b"}) { nodes { id } } }', {}, 1 + 1),
    ('{ objects(where: {fileState: COMPLETE, data: [{key: "a"}, {key: "b"}]}) { nodes { id } } }', {}, 1 + 3),
    ('{ objects(first: 10, where: {data: {key: "a", value: {eq: "b"}}}) { nodes { id } } }', {}, 1 + 1),
    ('{ objects(first: 10, where: {data: {key: "a", value: {in: ["b"]}}, batchId: null}) { nodes { id } } }', {}, 3),
    ('{ objects(first: 10, where: {data: [{value: {eq: "b"}}]}) { nodes { id } } }', {}, 1 + 50),
    ('{ objects(first: 10, where: {data: [{key: "a", value: {startsWith: "b"}}]}) { nodes { id } } }', {}, 1 + 50),
    ('{ objects(first: 10, where: {data: [{key: "a", value: {gt: 1}}]}) { nodes { id } } }', {}, 1 + 50),
    ('{ objects(first: 10, where: {or: [{batchId: "a"}, {batchId: "b"}, {}]}) { nodes { id } } }', {}, 1 + 1 + 3),
    ('{ objects(first: 10, where: {not: {batchId: "a"}}) { nodes { id } } }', {}, 1 + 1 + 50),
    (FILTERED, {"w": {"not": {"or": [{"data": [{"key": f"z{n}"}]} for n in range(40)]}}}, 1 + 2 + 40 * 50),
    (FILTERED, {"w": {"objectIds": ["x"] * 1_000}}, 1 + 1 + 100),
    (FILTERED, {}, 1),
    ('query($k: String) { objects(where: {not: {data: [{key: $k}]}}) { nodes { id } } }', {"k": "a"}, 1 + 1 + 50),
    ("query($w: BatchWhere) { batches(where: $w) { nodes { id } } }", {"w": {"data": [{"key": "a"}]}}, 1 + 1),
    ("query($w: AuditWhere) { auditLog(where: $w) { nodes { id } } }", {"w": {"objectId": "a"}}, 1 + 1),
    ('{ batches(first: 100) { nodes { objects(first: 1, where: {batchId: "b"}) { nodes { id } } } } }', {}, 120),
    (NESTED, {}, 10 + 100 * (1 + 1 + 50 + 10)),
    (CREATE, {"o": objects(1)}, 2),
    (CREATE, {"o": objects(1_000)}, 102),
    (CREATE, {"o": objects(1_000, pairs=5)}, 602),
    (CREATE, {"o": objects(1)[0]}, 2),
    (CREATE, {"o": None}, 2),
    (CREATE, {"o": ["not", "objects"]}, 2),
    (MADE, {"i": {"batchId": "b", "objects": objects(100, file=FILE)}}, 1 + 10 + 10 + 10 + 10),
    (MADE, {"i": {"batchId": "b"}}, 1),
    (UPLOADS, {"f": [{"objectId": "o", "file": FILE}] * 1_000}, 1 + 100 + 100 + 100),
    (UPLOADS, {"f": [{"objectId": "o", "file": LARGE}] * 1_000}, 1 + 100 + 100 + 100 + 1_000),
    (MADE, {"i": {"batchId": "b", "objects": objects(10, file=LARGE | {"size": str(LARGE["size"])})}}, 1 + 4 + 10),
    (UPLOADS, {"f": [{"objectId": "o", "file": {"size": size}} for size in ("x", None, [1], 1e400, "9" * 5_000)]}, 3),
    (COMPLETE, {"i": ["x"] * 200}, 1 + 220 + 20),
    (SENT, {"i": ["x"] * 20, "p": [{"uploadId": "x", "parts": [{"number": 1, "etag": ""}] * 99}] * 20}, 1 + 20 + 202),
    ('mutation($i: [ID!]!) { abortUploads(input: {uploadIds: $i}) { results { state } } }', {"i": ["x"] * 200}, 41),
    (PARTS, {}, 1 + 10 + 10 + 1),
    ('{ objects(first: 100) { nodes { pendingUpload { id } } } }', {}, 20),
    ('{ objects(first: 100) { nodes { localCopy { state path } } } }', {}, 20),
    ('{ syncs(first: 100) { nodes { fileName object { id } batch { id } } } }', {}, 30),
    ('{ syncs(first: 10, where: {states: [QUEUED, FAILED], source: "a", batchId: "b"}) { nodes { id } } }', {}, 5),
    ('{ syncStats { queued } }', {}, 1),
    ('{ syncSources(first: 100) { nodes { name stats { queued } } } }', {}, 20),
    (SYNC, {"f": [{"batchId": "b", "objectId": "o", "fileName": "a", "fileType": "a/b"}] * 1_000}, 1 + 100 + 100),
    ('{ objects(first: 100) { nodes { file { checksum { value } } } } }', {}, 110),
    ('mutation { completeUploads(input: {uploadIds: ["a", "b"]}) { results { state } } }', {}, 4),
    ("mutation($i: [String!]!) { deleteObjects(input: {objectIds: $i}) { deletedObjectIds } }", {"i": ["x"] * 500}, 51),
    ('mutation { deleteBatch(input: {batchId: "b", cascade: true}) { deletedBatchId } }', {}, 11),
    (
        "mutation($d: [DatumInput!]) { updateObjectData(input: {objectId: \"o\", set: $d}) { object { id } } }",
        {"d": [{"key": "k", "value": "v"}] * 20},
        4,
    ),
    ("{ objects(first: 100) { totalCount nodes { id } } }", {}, 20),
    (FRAGMENTS, {}, 30),
    ("{ objects(first: 100) { nodes { ... on Node { ... on Object { batch { id } } } } } }", {}, 20),
    ('{ node(id: "x") { ... on Batch { objects(first: 100) { nodes { id } } } } }', {}, 11),
    ("{ objects(first: 100) @skip(if: true) { nodes { id } } }", {}, 10),
]  # fmt: skip


@pytest.mark.parametrize(("document", "variables", "expected"), TABLE, ids=[f"{one[0][:60]} {one[2]}" for one in TABLE])
def test_cost_is_known_before(document: str, variables: dict[str, Any], expected: int) -> None:
    assert points(document, **variables) == expected


@given(st.integers(), st.integers(0, 10**6), st.sampled_from(["first", "last"]))
def test_cost_never_falls_with_the_page_size_and_is_never_below_1(size: int, more: int, name: str) -> None:
    document = f"query($n: Int, $m: Int) {{ batches({name}: $n) {{ totalCount nodes {{ objects({name}: $m)"
    document += " { nodes { file { access { url } } batch { createdBy { id } } } } } } }"
    costs = [points(document, n=n, m=m) for n, m in ((size, size), (size + more, size), (size + more, size + more))]
    assert 1 <= costs[0] <= costs[1] <= costs[2]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["objects", "data", "batchId", "file", "not", "or", "value", "in"]), inner)
    ),
)


@given(JSON)
def test_any_variables_have_a_cost(value: Any) -> None:
    for document, name in (
        (MADE, "i"),
        (CREATE, "o"),
        (COMPLETE, "i"),
        ("query($n: Int) { dataKeys(first: $n) { key } }", "n"),
        (FILTERED, "w"),
    ):
        assert points(document, **{name: value}) >= 1


def test_rows_count_no_more_than_an_operation_may_have() -> None:
    nested = "id"
    for _ in range(3):
        nested = f"objects(first: 100) {{ nodes {{ batch {{ {nested} }} }} }}"
    nested = f"{{ {nested} }}"
    assert points(nested, PageSizes(rows=1_000)) < points(nested) < 10_000


def nested_fragments(count: int) -> str:
    fragments = " ".join(
        f"fragment F{i} on Batch {{ objects(first: 100) {{ nodes {{ batch {{ ...F{i + 1} ...F{i + 1} }} }} }} }}"
        for i in range(count)
    )
    return f'{{ batch(batchId: "b") {{ ...F0 }} }} {fragments} fragment F{count} on Batch {{ id }}'


def test_nested_fragments_are_walked_once_each_and_their_cost_is_cut_off() -> None:
    document = parse(nested_fragments(900))
    for definition in document.definitions:
        selection_set = definition.selection_set  # type: ignore[attr-defined]
        object.__setattr__(selection_set, "selections", CountedSelections(selection_set.selections))
    CountedSelections.walks = 0
    [operation] = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    costs = Costs(SCHEMA, SIZES, document)
    assert costs.points(operation, {}) == 100_000_000
    assert costs.points(operation, {}) == 100_000_000
    assert CountedSelections.walks == 902


async def test_many_operations_cost_nothing_until_they_are_asked_for() -> None:
    names = [f"Q{number}" for number in range(300)]
    document = " ".join(
        f"query {name} {{ objects(first: {number + 1}) {{ nodes {{ id }} }} }}" for number, name in enumerate(names)
    )
    read = await Documents(SCHEMA, QueryLimits(), SIZES, introspection=True).read(document)
    assert [read.points(name, None) for name in ("Q0", "Q99", "Q299", "absent")] == [1, 10, 10, 1]
    assert read._costs is not None
    assert len(read._costs._operations) == 3


def test_cost_of_every_list_of_the_schema_is_decided() -> None:
    """A new list must say its size by first and last, be in a mutation's payload, or be small."""
    payloads = {get_named_type(one.type) for one in SCHEMA.mutation_type.fields.values()}  # type: ignore[union-attr]
    small = {"Object.data", "Upload.headers", "UploadPart.headers", "AuditEntry.details"}
    for type_ in SCHEMA.type_map.values():
        if not isinstance(type_, GraphQLObjectType) or type_.name.startswith("__") or type_ in payloads:
            continue
        if type_.name.endswith("Connection"):
            continue
        for name, one in type_.fields.items():
            if isinstance(get_nullable_type(one.type), GraphQLList) and is_composite_type(get_named_type(one.type)):
                assert f"{type_.name}.{name}" in small or one.args.keys() & {"first", "ids"}, f"{type_.name}.{name}"


def test_names_that_the_prices_are_for_are_in_the_schema() -> None:
    fields = {
        (name, field)
        for name, one in SCHEMA.type_map.items()
        if isinstance(one, GraphQLObjectType)
        for field in one.fields
    }
    assert cost._FIELDS.keys() <= fields
    assert cost._NODES.keys() <= SCHEMA.type_map.keys()
    assert cost._ENTRIES.keys() <= SCHEMA.mutation_type.fields.keys()  # type: ignore[union-attr]
