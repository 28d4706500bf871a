"""What introspection costs: its answers are made of hundreds of types and fields."""

from graphql import (
    FieldNode,
    GraphQLField,
    GraphQLList,
    GraphQLNamedType,
    SchemaMetaFieldDef,
    TypeMetaFieldDef,
    get_nullable_type,
)

META = {"__schema": SchemaMetaFieldDef, "__type": TypeMetaFieldDef}

# In tenths of a point. The query of GraphiQL, which uses no alias, has to stay affordable.
_FIELD = 5
_MANY = 80  # a list of types, fields or arguments; and what an alias lets be there again


def is_introspection(type_: GraphQLNamedType, name: str) -> bool:
    return name.startswith("__") or type_.name.startswith("__")


def units(node: FieldNode, definition: GraphQLField) -> int:
    """Of a field of introspection, without what is selected below it."""
    is_list = isinstance(get_nullable_type(definition.type), GraphQLList)
    return _MANY if is_list or node.alias else _FIELD
