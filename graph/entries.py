"""How much a mutation is given, counted before its input is coerced."""

from functools import cache
from itertools import islice
from typing import Any, NamedTuple

from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNamedType,
    get_named_type,
    get_nullable_type,
)

from models.ids import MAX_ROWS_PER_CALL


class Entries(NamedTuple):
    all: int  # of all lists of an input
    longest: int  # of the lists that are in no other list; the payload's lists are as long
    large: int = 0  # files that are uploaded in parts, each of which S3 is asked to begin


def entries(value: Any, type_: GraphQLInputType, large_bytes: int) -> Entries:
    """Of a value as JSON would say it, which nobody has checked yet; files of more than ``large_bytes`` are large."""
    total = longest = large = 0
    # A stack instead of recursion, so that no input can exhaust Python's.
    stack: list[tuple[Any, GraphQLInputType, bool]] = [(value, type_, True)]
    while stack:
        value, type_, is_outermost = stack.pop()
        if value is None:
            continue
        expected = get_nullable_type(type_)
        if isinstance(expected, GraphQLList):
            items = value if isinstance(value, list) else [value]
            total += len(items)
            if is_outermost:
                longest = max(longest, len(items))
            if _lists_in(get_named_type(expected)):
                # No call may have more; whoever sends more is refused.
                stack.extend((item, expected.of_type, False) for item in islice(items, MAX_ROWS_PER_CALL))
        elif isinstance(value, dict):
            large += get_named_type(expected).name == "FileInput" and _whole(value.get("size")) > large_bytes
            stack.extend((value.get(name), below, is_outermost) for name, below in _lists_in(expected))
    return Entries(total, longest, large)


def _whole(number: object) -> int:
    """As a number or as text; 0 for what is neither, which is refused."""
    try:
        return int(number) if isinstance(number, int | float | str) else 0
    except (ValueError, OverflowError):
        return 0


@cache
def _lists_in(type_: GraphQLNamedType) -> list[tuple[str, GraphQLInputType]]:
    """The fields of an input type that are lists or may have some."""
    if not isinstance(type_, GraphQLInputObjectType):
        return []
    return [
        (name, one.type)
        for name, one in type_.fields.items()
        if isinstance(get_nullable_type(one.type), GraphQLList)
        or isinstance(get_named_type(one.type), GraphQLInputObjectType)
    ]
