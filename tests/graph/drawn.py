"""Mutations drawn from the schema: of each any input and any selection, most of the values known to mean something."""

import random
from collections.abc import Mapping

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    OperationDefinitionNode,
    Undefined,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    parse,
)

from tests.graph.test_stock import SCHEMA, Known

assert SCHEMA.mutation_type is not None
MUTATION = SCHEMA.mutation_type
_SCALARS = {
    "Boolean": ["true", "false"],
    "String": ['"x"', '"y"', '""', '"ü\\n"'],
    "Int": ["1", "2", "0", "-1", "2147483647"],
    "BigInt": ["0", "5", '"6000000"', "1000000000000000"],
    "Float": ["1.5", "0"],
    "DateTime": ['"2026-01-01T00:00:00Z"'],
    "ID": ['"wrong"'],
}
_DEPTH = 3


class Drawn:
    """``known`` are values by the name of what they are for, with or without its input's, or by the input's.

    The last of each is the wrong one, and is seldom taken.
    """

    def __init__(self, chance: random.Random, known: Known) -> None:
        self._chance = chance
        self._known = known

    def operation(self, fields: Mapping[str, str]) -> OperationDefinitionNode:
        """Of the mutations with these names, by their names in the answer."""
        calls = []
        for name, field in fields.items():
            of = MUTATION.fields[field]
            calls.append(f"{name}: {field}{self._arguments(of.args)}{self._selected(of.type)}")
        [operation] = parse(f"mutation {{ {' '.join(calls)} }}").definitions
        assert isinstance(operation, OperationDefinitionNode)
        return operation

    def _arguments(self, given: Mapping[str, GraphQLArgument], how_often: float = 0.1) -> str:
        each = self._each(given, "", how_often)
        return f"({each})" if each else ""

    def _each(
        self, given: Mapping[str, GraphQLArgument] | Mapping[str, GraphQLInputField], of: str, how_often: float
    ) -> str:
        named = [
            f"{name}: {self._value(name, one.type, of)}"
            for name, one in given.items()
            if (isinstance(one.type, GraphQLNonNull) and one.default_value is Undefined) or self._happens(how_often)
        ]
        self._chance.shuffle(named)
        return ", ".join(named)

    def _value(self, name: str, wanted: GraphQLInputType, of: str) -> str:
        type_ = get_nullable_type(wanted)
        if type_ is wanted and self._happens(0.03):
            return "null"
        if isinstance(type_, GraphQLList):
            size = self._chance.choice([0, 1, 1, 1, 2, 3])
            return f"[{', '.join(self._value(name, type_.of_type, of) for _ in range(size))}]"
        is_object = isinstance(type_, GraphQLInputObjectType)
        known = self._known.get(f"{of}.{name}") or self._known.get(type_.name if is_object else name)
        if known and self._happens(0.97):
            return self._chance.choice(known[:-1]) if self._happens(0.95) else known[-1]
        if isinstance(type_, GraphQLInputObjectType):
            if not type_.is_one_of:
                return f"{{{self._each(type_.fields, type_.name, 0.4)}}}"
            one = self._chance.choice(list(type_.fields))
            return f"{{{one}: {self._value(one, GraphQLNonNull(get_nullable_type(type_.fields[one].type)), of)}}}"
        if isinstance(type_, GraphQLEnumType):
            return str(self._chance.choice(list(type_.values)))
        return self._chance.choice(_SCALARS[type_.name])

    def _selected(self, of: GraphQLOutputType, depth: int = _DEPTH) -> str:
        type_ = get_named_type(of)
        if is_leaf_type(type_):
            return ""
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)
        found = [
            name + self._arguments(one.args) + self._selected(one.type, depth - 1)
            for name, one in type_.fields.items()
            if (self._happens(0.4) if is_leaf_type(get_named_type(one.type)) else depth and self._happens(0.5))
        ]
        self._chance.shuffle(found)
        return f" {{ {' '.join(found) or '__typename'} }}"

    def _happens(self, how_often: float) -> bool:
        return self._chance.random() < how_often
