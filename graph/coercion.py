"""Makes the instances of Strawberry's input types while graphql-core coerces the input.

Strawberry makes them afterwards, inside the resolver and so on the event loop, and looks every field's type up again:
0.8 s for 10,000 objects of 5 pairs. Made as graphql-core goes, they add a tenth to the coercion, and the endpoint
coerces large input in a thread.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import strawberry
from graphql import GraphQLInputObjectType
from strawberry.exceptions import StrawberryInputCoercionError
from strawberry.relay import GlobalID
from strawberry.types.arguments import InputContext
from strawberry.types.base import StrawberryContainer, StrawberryMaybe, StrawberryObjectDefinition, StrawberryOptional
from strawberry.types.field import StrawberryField


def build_inputs(schema: strawberry.Schema) -> None:
    """Do so for every input type of the schema, once. Raises TypeError for an input field of type GlobalID."""
    for type_ in schema._schema.type_map.values():  # noqa: SLF001 - Strawberry has no public name for it
        if isinstance(type_, GraphQLInputObjectType):
            definition: StrawberryObjectDefinition = type_.extensions["strawberry-definition"]
            type_.out_type = _builder(schema, definition, type_.out_type)  # type: ignore[method-assign, assignment]
            definition.from_input = _as_built


def _as_built(_: type, value: Mapping[str, Any], __: InputContext) -> Any:
    return value


@dataclasses.dataclass(frozen=True)
class Builder:
    """Makes the instances of one type, of what was coerced of its fields."""

    name: str
    cls: type
    names: Mapping[str, str]  # from GraphQL's to Python's
    maybes: Sequence[tuple[str, bool]]  # and whether it may be null
    required: dict[str, None]  # by Python; absent is null in GraphQL
    check: Callable[[Any], Any]

    def __call__(self, coerced: dict[str, Any]) -> Any:
        self.check(coerced)
        for name, nullable in self.maybes:
            if name in coerced:
                if coerced[name] is None and not nullable:
                    raise StrawberryInputCoercionError(f'"{self.name}.{name}" can be left out, but not be null.')
                coerced[name] = strawberry.Some(coerced[name])
        return self.cls(**self.required | {self.names[name]: value for name, value in coerced.items()})


def _builder(schema: strawberry.Schema, definition: StrawberryObjectDefinition, check: Callable[[Any], Any]) -> Builder:
    names: dict[str, str] = {}
    maybes: list[tuple[str, bool]] = []
    required: dict[str, None] = {}
    for field in definition.fields:
        name = schema.config.name_converter.from_field(field)
        names[name] = field.python_name
        type_ = field.resolve_type(type_definition=definition)
        if _innermost(type_) is GlobalID:
            raise TypeError(f"{definition.name}.{name}: take the id as strawberry.ID")
        if isinstance(type_, StrawberryMaybe):
            maybes.append((name, isinstance(type_.of_type, StrawberryOptional)))
        elif _has_no_default(field):
            required[field.python_name] = None
    return Builder(definition.name, definition.origin, names, maybes, required, check)


def _innermost(type_: object) -> object:
    while isinstance(type_, StrawberryContainer):
        type_ = type_.of_type
    return type_


def _has_no_default(field: StrawberryField) -> bool:
    return field.default_value is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
