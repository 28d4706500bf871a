"""The schema itself: as it is committed, described, named as clients rely on, and as the Relay compiler wants it."""

from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    build_schema,
    get_named_type,
    is_required_argument,
    is_required_input_field,
)

from graph.schema import schema

ROOT = Path(__file__).parents[2]
OWN = {name: type_ for name, type_ in schema._schema.type_map.items() if not name.startswith("__")}
COMPOSITE = (GraphQLObjectType, GraphQLInterfaceType, GraphQLInputObjectType)

# What clients, tests and benchmarks rely on, as far as it concerns batches, objects, data, nodes and the viewer. Types
# that the contract gives in words only stand here with what those words name.
CONTRACT = build_schema("""
interface Node { id: ID! }
scalar DateTime
type Query {
  node(id: ID!): Node
  nodes(ids: [ID!]!): [Node]!
  viewer: Viewer!
  batch(batchId: String!): Batch
  batches(first: Int, after: String, last: Int, before: String, where: BatchWhere): BatchConnection!
  object(objectId: String!): Object
  objects(first: Int, after: String, last: Int, before: String, where: ObjectWhere): ObjectConnection!
  dataKeys(prefix: String, first: Int): [DataKey!]!
  dataValues(key: String!, prefix: String, first: Int): [DataValue!]!
}
type Viewer { user: User! }
type User implements Node { id: ID! }
type DataKey { key: String! }
type DataValue { value: String! }
type Batch implements Node {
  id: ID!  batchId: String!  createdAt: DateTime!  createdBy: User
  objects(first: Int, after: String, last: Int, before: String, where: ObjectWhere): ObjectConnection!
}
type Object implements Node {
  id: ID!  objectId: String!  batch: Batch!  createdAt: DateTime!  updatedAt: DateTime!
  data: [Datum!]!
}
type Datum { key: String!  value: String! }
type PageInfo { hasNextPage: Boolean!  hasPreviousPage: Boolean!  startCursor: String  endCursor: String }
type BatchConnection { edges: [BatchEdge!]!  nodes: [Batch!]!  pageInfo: PageInfo!  totalCount: Int! }
type BatchEdge { cursor: String!  node: Batch! }
type ObjectConnection { edges: [ObjectEdge!]!  nodes: [Object!]!  pageInfo: PageInfo!  totalCount: Int! }
type ObjectEdge { cursor: String!  node: Object! }
input DataWhere { key: String  value: ValueWhere }
input ValueWhere @oneOf { eq: String  in: [String!]  startsWith: String  gt: Float  gte: Float  lt: Float  lte: Float }
input ObjectWhere {
  data: [DataWhere!]
  batchId: String  objectIds: [String!]  createdAfter: DateTime  createdBefore: DateTime
  and: [ObjectWhere!]  or: [ObjectWhere!]  not: ObjectWhere
}
input BatchWhere { data: [DataWhere!]  batchIds: [String!]  createdAfter: DateTime  createdBefore: DateTime }
input DatumInput { key: String!  value: String! }
input ObjectInput { objectId: String!  data: [DatumInput!] }
input CreateBatchInput { batchId: String!  objects: [ObjectInput!] }
input CreateObjectsInput { batchId: String!  objects: [ObjectInput!]! }
input UpdateObjectDataInput { objectId: String!  replace: [DatumInput!]  set: [DatumInput!]  unset: [String!] }
input DeleteObjectsInput { objectIds: [String!]! }
input DeleteBatchInput { batchId: String!  cascade: Boolean! = false }
type CreateBatchPayload { batch: Batch!  objects: [Object!]! }
type CreateObjectsPayload { batch: Batch!  objects: [Object!]! }
type UpdateObjectDataPayload { object: Object! }
type DeleteObjectsPayload { deletedObjectIds: [String!]! }
type DeleteBatchPayload { deletedBatchId: String! }
type Mutation {
  createBatch(input: CreateBatchInput!): CreateBatchPayload!
  createObjects(input: CreateObjectsInput!): CreateObjectsPayload!
  updateObjectData(input: UpdateObjectDataInput!): UpdateObjectDataPayload!
  deleteObjects(input: DeleteObjectsInput!): DeleteObjectsPayload!
  deleteBatch(input: DeleteBatchInput!): DeleteBatchPayload!
}
""").type_map


def test_committed_schema_is_what_the_code_says() -> None:
    assert (ROOT / "schema.graphql").read_text() == schema.as_str() + "\n"


@pytest.mark.parametrize("name", [name for name in CONTRACT if not name.startswith("__")])
def test_names_and_types_of_the_contract_are_kept(name: str) -> None:
    ours, theirs = OWN[name], CONTRACT[name]
    assert type(ours).__name__ == type(theirs).__name__
    if isinstance(theirs, COMPOSITE) and isinstance(ours, COMPOSITE):
        for field_name, field in theirs.fields.items():
            own = ours.fields[field_name]
            assert str(own.type) == str(field.type), f"{name}.{field_name}"
            for argument_name, argument in getattr(field, "args", {}).items():
                assert str(own.args[argument_name].type) == str(argument.type)
    if isinstance(theirs, GraphQLObjectType) and isinstance(ours, GraphQLObjectType):
        assert {one.name for one in theirs.interfaces} <= {one.name for one in ours.interfaces}


@pytest.mark.parametrize("name", [name for name in CONTRACT if not name.startswith("__")])
def test_whoever_knows_only_the_contract_need_not_pass_more(name: str) -> None:
    ours, theirs = OWN[name], CONTRACT[name]
    if isinstance(theirs, GraphQLInputObjectType) and isinstance(ours, GraphQLInputObjectType):
        assert {one for one, field in ours.fields.items() if is_required_input_field(field)} <= set(theirs.fields)
    if isinstance(theirs, GraphQLObjectType) and isinstance(ours, GraphQLObjectType):
        for field_name, field in theirs.fields.items():
            arguments = ours.fields[field_name].args
            assert {one for one, argument in arguments.items() if is_required_argument(argument)} <= set(field.args)


@pytest.mark.parametrize("type_", OWN.values(), ids=OWN.keys())
def test_every_type_and_field_is_described(type_: GraphQLNamedType) -> None:
    assert type_.description
    if isinstance(type_, COMPOSITE):
        for name, field in type_.fields.items():
            assert field.description, f"{type_.name}.{name}"


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith("Connection")])
def test_connections_are_as_the_relay_compiler_wants_them(name: str) -> None:
    """https://relay.dev/graphql/connections.htm"""
    connection = OWN[name]
    assert isinstance(connection, GraphQLObjectType)
    edge = get_named_type(connection.fields["edges"].type)
    assert isinstance(edge, GraphQLObjectType)
    assert str(edge.fields["cursor"].type) == "String!"
    assert "node" in edge.fields
    assert str(connection.fields["pageInfo"].type) == "PageInfo!"


def test_whatever_is_a_node_can_be_refetched_by_its_id() -> None:
    node = OWN["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    for type_ in OWN.values():
        if isinstance(type_, GraphQLObjectType) and node in type_.interfaces:
            assert isinstance(type_.fields["id"].type, GraphQLNonNull)


def test_enums_hold_their_values_names() -> None:
    for type_ in OWN.values():
        if isinstance(type_, GraphQLEnumType):
            assert all(name.isupper() for name in type_.values)
