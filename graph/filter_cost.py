"""What a filter costs, counted before it is coerced: what PostgreSQL has to do for each of its parts."""

from collections.abc import Mapping
from typing import Any, NamedTuple

# In tenths of a point.
PART = 10  # an index leads to what matches
SCAN = 500  # none does, or not far: it is asked of every row there is, 70,000 of them in this time
LISTED = 1  # each text of a list

_SIMPLE = ("in", "eq")  # that an index on key and value answers
_PARTS = ("and", "or", "not")


class _Open(NamedTuple):
    where: Any
    scans: bool


def units(where: Any) -> int:
    """Of a value as JSON would say it, which nobody has checked yet. Of none, nothing."""
    total = 0
    # A stack instead of recursion, so that no filter can exhaust Python's.
    stack = [] if where is None else [_Open(where, scans=False)]
    while stack:
        where, scans = stack.pop()
        if not isinstance(where, Mapping):
            continue
        own = 0
        for name, value in where.items():
            if value is None:
                continue
            if name in _PARTS:
                stack.extend(_Open(one, scans or name == "not") for one in _list(value))
            elif name == "data":
                own += sum(_pair(one, scans) for one in _list(value))
            else:
                own += (SCAN if scans else PART) + (LISTED * len(value) if isinstance(value, list) else 0)
        total += own or PART
    return total


def _pair(pair: Any, scans: bool) -> int:
    """An index leads where there is a key, and a value only if it must equal something."""
    if not isinstance(pair, Mapping):
        return PART
    value = pair.get("value")
    listed = 0
    if isinstance(value, Mapping):
        scans = scans or any(name not in _SIMPLE for name, one in value.items() if one is not None)
        listed = LISTED * len(value["in"]) if isinstance(value.get("in"), list) else 0
    return (SCAN if scans or pair.get("key") is None else PART) + listed


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
