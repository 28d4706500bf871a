"""The GraphQL schema."""

from datetime import datetime

import strawberry
from graphql import GraphQLInputObjectType, GraphQLObjectType, GraphQLSchema, Undefined
from strawberry.schema.config import StrawberryConfig

from graph.coercion import build_inputs
from graph.idempotency import add_argument
from graph.mutations import Mutation
from graph.queries import Query
from graph.scalars import BigInt, Count, DateTime, Size


def _lookup(source: object, name: str) -> object:
    """Rows that only feed leaves stay plain dicts; everything else has attributes."""
    return source[name] if type(source) is dict else getattr(source, name)


schema = strawberry.Schema(
    query=Query,
    mutation=Mutation,
    config=StrawberryConfig(default_resolver=_lookup, scalar_map={datetime: DateTime, Size: BigInt, Count: BigInt}),
)


def _drop_null_defaults(of: GraphQLSchema) -> None:
    """Strawberry writes ``= null`` for every optional input; absent means the same and reads better."""
    for type_ in of.type_map.values():
        if isinstance(type_, GraphQLInputObjectType):
            inputs = list(type_.fields.values())
        elif isinstance(type_, GraphQLObjectType):
            inputs = [argument for field in type_.fields.values() for argument in field.args.values()]
        else:
            continue
        for one in inputs:
            if one.default_value is None:
                one.default_value = Undefined


_drop_null_defaults(schema._schema)  # noqa: SLF001 - Strawberry has no public name for it
build_inputs(schema)
add_argument(schema._schema)  # noqa: SLF001 - see above
