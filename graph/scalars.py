"""The scalars: DateTime with a required offset, a String and ID that hold what PostgreSQL can hold, and finite numbers.

The specified scalars cannot be replaced in a schema, because introspection refers to the very same ones.
"""

import math
import re
from datetime import UTC, datetime
from typing import Any, NewType

import strawberry
from graphql import GraphQLError, GraphQLFloat, GraphQLID, GraphQLInt, GraphQLScalarType, GraphQLString
from graphql.language import IntValueNode, ValueNode
from graphql.type.scalars import parse_float_literal, parse_int_literal

from models.errors import BadInput, short

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_LONGEST_INT = len("-2147483648")


def parse_datetime(value: object) -> datetime:
    """RFC 3339; finer than a microsecond is cut off."""
    if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
        raise BadInput('A DateTime is RFC 3339 with an offset, such as "2026-11-23T08:30:00Z".')
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise BadInput(f"There is no such moment: {error}.") from None


def format_datetime(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


DateTime = strawberry.scalar(
    name="DateTime",
    description="A moment as RFC 3339 says it, with its offset from UTC; answers are in UTC, to the millisecond.",
    specified_by_url="https://datatracker.ietf.org/doc/html/rfc3339",
    parse_value=parse_datetime,
    serialize=format_datetime,
)


def parse_big_int(value: object) -> int:
    """A whole number of at most 64 bits; text too, for clients whose numbers are floats."""
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        raise BadInput("A BigInt is a whole number of at most 64 bits, as a number or as text.")
    return value


BigInt = strawberry.scalar(
    name="BigInt",
    description="A whole number of up to 64 bits. JavaScript's own numbers are exact up to 2^53 (8 PiB).",
    parse_value=parse_big_int,
    serialize=int,
)
Size = NewType("Size", int)  # in bytes
Count = NewType("Count", int)  # of more than fit into an Int


def _refuse_unstorable(scalar: GraphQLScalarType) -> None:
    """Make the specified scalar refuse what PostgreSQL cannot store, wherever in the input it stands."""
    coerce_value, parse_literal = scalar.coerce_input_value, scalar.parse_literal

    def value(given: Any) -> Any:
        return storable(coerce_value(given))

    def literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        return storable(parse_literal(node, variables))

    coerce_literal = scalar.coerce_input_literal
    if coerce_literal is not None:
        scalar.coerce_input_literal = lambda node: storable(coerce_literal(node))
    scalar.coerce_input_value = value
    scalar.parse_value = value  # type: ignore[method-assign, assignment]
    scalar.parse_literal = literal  # type: ignore[method-assign]


def storable(text: Any) -> Any:
    """The same. Raises BadInput for text that PostgreSQL cannot store."""
    if isinstance(text, str) and _UNSTORABLE.search(text):
        raise BadInput("Text must not contain NUL (U+0000) or lone surrogates (U+D800 to U+DFFF).")
    return text


for _scalar in (GraphQLString, GraphQLID):
    _refuse_unstorable(_scalar)


def _finite_float(node: Any) -> float:
    """JSON cannot say infinity, but a literal may be too large for anything else."""
    number = parse_float_literal(node)
    if math.isinf(number):
        refused = BadInput(f"Float cannot represent {short(node.value)}: it is not a finite number.")
        raise GraphQLError(str(refused), node, extensions=refused.extensions)
    return number


def _short_int(node: Any) -> int:
    """Python refuses to read thousands of digits, with advice for its programmers."""
    if isinstance(node, IntValueNode) and len(node.value) > _LONGEST_INT:
        raise GraphQLError(f"Int cannot represent non 32-bit signed integer value: {short(node.value)}", node)
    return parse_int_literal(node)


GraphQLFloat.coerce_input_literal = _finite_float
GraphQLInt.coerce_input_literal = _short_int
