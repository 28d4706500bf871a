"""Which part of an AND leads to its rows: by its kind, and among lists by how far back the newest of each reach.

The list that is thinnest leads to the page in the fewest steps, each of its entries being looked up in the others. A
look-up takes as long as reading some thirty entries of a list: where another is not denser than that, the two are
merged. A short list is found as a whole, and then among grants.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from models.filters import (
    All,
    AnyOf,
    Compares,
    Condition,
    Equals,
    Everything,
    Granted,
    HasFile,
    HasKey,
    HasObject,
    HasObjectId,
    HasPair,
    InBatch,
    InOuterBatch,
    Not,
    OneOf,
    StartsWith,
)

FAR = 100  # of what makes no list in key order
RARE = math.inf  # as far back as fewer entries reach than are looked at, and lists in no order that are short
SELDOM = -1.0  # of lists in no order: they lead to nothing, but may be put in order
NEVER = -2.0
_MOST_RIVALS = 4  # that one AND chooses its driving part from
_AS_DENSE = 32  # times as many entries
_MOST_MERGED = 4


class Short(float):
    """How far a list reaches that has few entries."""


@dataclass(frozen=True, slots=True)
class Both:
    """Two parts of an AND that drive together: lists in key order, in which an object stands once."""

    one: HasPair | Granted
    other: tuple[HasPair, ...]  # any of them
    is_short: bool = False  # of the other, and the one are grants


def rivals(condition: Condition) -> list[Condition]:
    """The lists whose lengths decide which way to go, none where there is but one way."""
    parts = flat(condition)
    able = leading(parts)
    if any(distance(part) == 0 for part in able):
        return []
    given = next((part for part in parts if isinstance(part, Granted)), None)
    if given is not None and _of_batch(parts):
        return rivals(All(tuple(part for part in parts if part is not given)))
    lists = sorted((part for part in able if 0 < distance(part) < FAR - 1), key=distance)[:_MOST_RIVALS]
    if given is not None:
        return [*lists, Everything(), given]  # the objects themselves, and the grants
    if len(lists) == 1 and not (is_range(lists[0]) and not _of_batch(parts)):
        return []
    return lists


def all_rivals(condition: Condition) -> Iterator[Condition]:
    """Those of the condition, and of what is asked in it of the objects of a batch."""
    yield from rivals(condition)
    yield from _of_objects(condition)


def _of_objects(condition: Condition) -> Iterator[Condition]:
    match condition:
        case All(of) | AnyOf(of):
            for part in of:
                yield from _of_objects(part)
        case Not(of):
            yield from _of_objects(of)
        case HasObject(of):
            some = rivals(of)
            yield from some if len(some) > 1 else ()


def lead(
    condition: Condition, depths: Mapping[Condition, float], *, alone: bool = False
) -> tuple[Condition | Both, Condition]:
    """What drives an AND (``alone``: one part), and what remains to be tested.

    ``depths`` are how far back, in keys, the newest of the lists reach.
    """
    known = [(depths[part], -place, part) for place, part in enumerate(rivals(condition)) if part in depths]
    if not known:
        return driver(condition)
    (depth, _, first), *others = sorted(known, reverse=True)
    parts = flat(condition)
    led: Condition | Both = first
    taken = [first]
    if depth < RARE and not alone and not _of_batch(parts):
        for other_depth, _, other in others:
            merged = both(first, other)
            if merged is not None and depth <= _AS_DENSE * other_depth:
                taken = [first, other]
                is_short = isinstance(merged.one, Granted) and any(isinstance(depths[one], Short) for one in taken)
                led = replace(merged, is_short=is_short)
                break
    return led, All(tuple(part for part in parts if not any(part is one for one in taken)))


def may_begin(condition: Condition, depths: Mapping[Condition, float]) -> bool:
    """Whether to look up the newest of the thinnest of lists that are to be merged, before they are."""
    led, first = (lead(condition, depths, alone=alone)[0] for alone in (False, True))
    is_one = isinstance(first, Granted) or (isinstance(first, HasPair) and isinstance(first.test, Equals))
    return is_one and isinstance(led, Both) and not led.is_short


def is_open(condition: Condition, depths: Mapping[Condition, float]) -> bool:
    """Whether how many rows the values have decides what is quickest: lists to be merged, or in no order."""
    led = lead(condition, depths)[0]
    is_known = not isinstance(led, Both) and depths.get(led) == RARE and in_no_order(led)
    return not is_known and not _of_batch(flat(condition)) and _is_open(led)


def _is_open(led: Condition | Both) -> bool:
    match led:
        case Both(is_short=is_short):
            return not is_short
        case AnyOf(of):
            return any(_is_open(part) for one in of for part in flat(one))
        case HasPair(key, test):
            return not (isinstance(test, Equals) or (key is not None and isinstance(test, OneOf)))
        case _:
            return False


def both(one: Condition, other: Condition) -> Both | None:
    for first, second in ((one, other), (other, one)):
        if (isinstance(first, Granted) or len(alternatives(first)) == 1) and (some := alternatives(second)):
            return Both(first, some)  # type: ignore[arg-type]  # what is its only alternative is a HasPair
    return None


def alternatives(condition: Condition) -> tuple[HasPair, ...]:
    """The lists in key order that a condition stands for, where they are few."""
    match condition:
        case HasPair(str(), Equals()):
            return (condition,)
        case HasPair(str(key), OneOf(values)) if len(values) <= _MOST_MERGED:
            return tuple(HasPair(key, Equals(value)) for value in values)
        case AnyOf(of) if all(len(alternatives(part)) == 1 for part in of) and len(of) <= _MOST_MERGED:
            return tuple(pair for part in of for pair in alternatives(part))
        case _:
            return ()


def is_range(condition: Condition) -> bool:
    """Of numbers of a key: see ``zones.py``."""
    return isinstance(condition, HasPair) and condition.key is not None and isinstance(condition.test, Compares)


def in_no_order(condition: Condition) -> bool:
    """Whether what an index finds of a list is in the order of values, not of keys."""
    return isinstance(condition, HasPair) and isinstance(condition.test, StartsWith | Compares)


def _of_batch(parts: list[Condition]) -> bool:
    return any(isinstance(part, InBatch | InOuterBatch) for part in parts)


def driver(condition: Condition) -> tuple[Condition, Condition]:
    """The part of an AND whose index leads to the rows, going by its kind alone, and what remains to be tested."""
    parts = flat(condition)
    if not parts:
        return Everything(), Everything()
    driving = min(leading(parts), key=distance)
    return driving, All(tuple(part for part in parts if part is not driving))


def leading(parts: list[Condition]) -> list[Condition]:
    """Those that may drive: the list of files knows no batches, so that it would be read whole for one."""
    if _of_batch(parts):
        return [part for part in parts if not isinstance(part, HasFile)]
    return parts


def distance(condition: Condition) -> int:
    """How far a condition's index is from being the answer; how many rows match is not known here."""
    match condition:
        case HasObjectId() | HasKey():
            return 0
        case HasPair(key, Equals()):
            return 1 if key is not None else 2
        case HasFile():
            return 2
        case HasPair(_, OneOf()):
            return 3
        case AnyOf(of) if of:
            # What is found by its id (0) makes no list.
            return 4 + max(min((distance(part) for part in leading(flat(one))), default=FAR) or FAR for one in of)
        case HasPair(_, StartsWith()):
            return 20
        case HasPair(_, Compares()):
            return 21
        case HasPair():
            return 22
        case Granted():
            return FAR - 1  # where it may drive, driven.py considers it by itself
        case _:
            return FAR


def flat(condition: Condition) -> list[Condition]:
    match condition:
        case Everything():
            return []
        case All(of):
            return [part for one in of for part in flat(one)]
        case _:
            return [condition]
