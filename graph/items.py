"""Items of lists, completed by a function that is made once of what is selected of them.

graphql-core and Strawberry take some 10 us for each resolver and 5 for each attribute, and a payload may have a
thousand uploads. What is selected of an item mostly is attributes, and resolvers that take no arguments and wait for
nothing, which are called here without all that stands around them. Whatever else is selected (``NotPlain``), and an
item with which something goes wrong, is left to graphql-core.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLString,
    SelectionSetNode,
    is_leaf_type,
)
from strawberry.types.field import StrawberryField

from graph.selection import NotPlain, Selected, fragments_of, select


class Completing(Protocol):
    """The executor, as far as items need it."""

    def complete_leaf_value(self, return_type: Any, result: Any) -> Any: ...

    def is_awaitable(self, value: Any) -> bool: ...

    def info(self, field: "Field") -> Any:
        """Strawberry's view of it, the same for all items."""


Complete: TypeAlias = Callable[[Any, Completing], Any]


class Unfit(Exception):
    """This value is graphql-core's to complete."""


class Field:
    """One with a resolver, of the items of one list."""

    def __init__(
        self, definition: GraphQLField, of: StrawberryField, parent_type: GraphQLObjectType, nodes: list[FieldNode]
    ) -> None:
        self.definition = definition
        self.of = of
        self.parent_type = parent_type
        self.nodes = nodes


def item(
    schema: GraphQLSchema, type_: GraphQLOutputType, nodes: Sequence[FieldNode], document: DocumentNode
) -> Complete | None:
    """Of fields that give a list of objects of the type; None where graphql-core has to complete them.

    The function raises whatever goes wrong; of what a resolver has begun then, nothing is known.
    """
    below = [node.selection_set for node in nodes if node.selection_set]
    try:
        return _Items(schema, fragments_of(document)).value(type_, below) if below else None
    except NotPlain:
        return None


class _Items:
    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments

    def value(self, type_: GraphQLOutputType, below: Sequence[SelectionSetNode]) -> Complete:
        if not isinstance(type_, GraphQLNonNull):
            some = self._some(type_, below)
            return lambda value, executor: None if value is None else some(value, executor)
        some = self._some(type_.of_type, below)

        def complete(value: Any, executor: Completing) -> Any:
            if value is None:
                raise Unfit
            return some(value, executor)

        return complete

    def _some(self, type_: GraphQLOutputType, below: Sequence[SelectionSetNode]) -> Complete:
        if is_leaf_type(type_):
            return lambda value, executor: executor.complete_leaf_value(type_, value)
        if isinstance(type_, GraphQLObjectType):
            return self._object(type_, below)
        if not isinstance(type_, GraphQLList):
            raise NotPlain
        one = self.value(type_.of_type, below)

        def complete(values: Any, executor: Completing) -> list[Any]:
            if type(values) is not list:
                raise Unfit
            return [one(value, executor) for value in values]

        return complete

    def _object(self, type_: GraphQLObjectType, below: Sequence[SelectionSetNode]) -> Complete:
        selected = select(self._schema, type_, below, self._fragments)
        fields = [(name, self._field(type_, one)) for name, one in selected.items()]
        is_type_of: Any = type_.is_type_of

        def complete(source: Any, executor: Completing) -> dict[str, Any]:
            if is_type_of is not None and is_type_of(source, None) is not True:
                raise Unfit
            return {name: field(source, executor) for name, field in fields}

        return complete

    def _field(self, type_: GraphQLObjectType, one: Selected) -> Complete:
        if one.name == "__typename":
            return lambda _, executor: executor.complete_leaf_value(GraphQLString, type_.name)
        definition: GraphQLField = type_.fields[one.name]
        field: StrawberryField | None = (definition.extensions or {}).get("strawberry-definition")
        if field is None or definition.args or field.extensions:
            raise NotPlain
        complete = self.value(definition.type, one.below)
        if field.is_basic_field:
            lookup, name = field.default_resolver, field.python_name
            return lambda source, executor: complete(lookup(source, name), executor)
        resolve = _resolver(Field(definition, field, type_, one.nodes))
        return lambda source, executor: complete(resolve(source, executor), executor)


def _resolver(field: Field) -> Complete:
    resolver = field.of.base_resolver
    if resolver is None or resolver.is_async or resolver.parent_parameter or resolver.root_parameter:
        raise NotPlain
    if resolver.self_parameter is None or not callable(resolver.wrapped_func):
        raise NotPlain
    function = resolver.wrapped_func
    info = resolver.info_parameter and resolver.info_parameter.name

    def resolve(source: Any, executor: Completing) -> Any:
        value = function(source, **{info: executor.info(field)}) if info else function(source)
        if executor.is_awaitable(value):
            _forget(value)
            raise Unfit
        return value

    return resolve


def _forget(value: Any) -> None:
    """What nobody will await, lest it complains."""
    if isinstance(value, asyncio.Future):
        value.cancel()
    else:
        value.close()
