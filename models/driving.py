"""Which part of an AND leads to its rows: by its kind, and among lists by how far back the newest of each reach.

The list that is thinnest leads to the page in the fewest steps, each of its entries being looked up in the others. A
look-up takes as long as reading some thirty entries of a list: where another is not denser than that, the two are
merged.

What is granted to a user has lists of its own: those of what is granted singly, and in each batch that is granted those
of the batch. The tenant's lists lead a user, and are tested for grants, where he sees so many batches that most objects
are visible anyway, or where they are thinner than these.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

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


@dataclass(frozen=True, slots=True)
class Both:
    """Two parts of an AND that drive together: lists in key order, in which an object stands once."""

    one: HasPair
    other: tuple[HasPair, ...]  # any of them


@dataclass(frozen=True, slots=True)
class Singly:
    """A list of what is granted singly; of everything, the grants themselves."""

    of: Condition


Depths: TypeAlias = Mapping[Condition | Singly, float]  # how far back, in keys, the newest of the lists reach


def rivals(condition: Condition) -> list[Condition | Singly]:
    """The lists whose lengths decide which way to go, none where there is but one way."""
    parts, found = flat(condition), lists(condition)
    if (given := _with_own_lists(parts)) is not None:
        return [*found, given, *(Singly(one) for one in (Everything(), *found))]
    if len(found) == 1 and not (is_range(found[0]) and not _of_batch(parts)):
        return []
    return [*found]


def lists(condition: Condition) -> list[Condition]:
    """Those that may lead, none where something is found by its id."""
    able = leading(flat(condition))
    if any(distance(part) == 0 for part in able):
        return []
    return sorted((part for part in able if 0 < distance(part) < FAR), key=distance)[:_MOST_RIVALS]


def by_grants(condition: Condition, depths: Depths) -> tuple[Granted, Condition] | None:
    """Whether a user's own lists lead: what is granted, and the rest of the AND."""
    parts = flat(condition)
    given = _with_own_lists(parts)
    if given is None or depths.get(given) == NEVER:
        return None
    of_batches, singly = depths.get(given, RARE), depths.get(Singly(Everything()), RARE)
    for one in lists(condition):
        depth = depths.get(one, NEVER)
        if of_batches == SELDOM:  # of a list that goes on, most may be past what is granted
            is_led = depth == RARE
        else:
            is_led = not alternatives(one) and depth > (of_batches if _is_of_pairs(one) else min(of_batches, singly))
        if is_led:
            return None
    return given, All(tuple(part for part in parts if part is not given))


def _with_own_lists(parts: list[Condition]) -> Granted | None:
    """Whose lists may lead: nobody's in a batch that is asked for, nor where something is found by its id."""
    if _of_batch(parts) or any(distance(part) == 0 for part in parts):
        return None
    return next((part for part in parts if isinstance(part, Granted)), None)


def _is_of_pairs(condition: Condition) -> bool:
    """Whether there is such a list of what is granted singly: of files there is none."""
    if isinstance(condition, AnyOf):
        return all(_is_of_pairs(driver(one)[0]) for one in condition.of)
    return isinstance(condition, HasPair)


def all_rivals(condition: Condition) -> Iterator[Condition | Singly]:
    """Those of the condition, and of what is asked in it of the objects of a batch."""
    yield from rivals(condition)
    yield from _of_objects(condition)


def _of_objects(condition: Condition) -> Iterator[Condition | Singly]:
    match condition:
        case All(of) | AnyOf(of):
            for part in of:
                yield from _of_objects(part)
        case Not(of):
            yield from _of_objects(of)
        case HasObject(of):
            some = rivals(of)
            yield from some if len(some) > 1 else ()


def lead(condition: Condition, depths: Depths, *, alone: bool = False) -> tuple[Condition | Both, Condition]:
    """What drives an AND (``alone``: one part), and what remains to be tested."""
    known = [(depths[part], -place, part) for place, part in enumerate(lists(condition)) if part in depths]
    if not known:
        return driver(condition)
    parts = flat(condition)
    if Everything() in depths or any(isinstance(part, Granted) for part in parts):
        # What is granted, or all of which most is: in key order, which the others may not be.
        known.append((depths.get(Everything(), 0.0), -len(known), Everything()))
    (depth, _, first), *others = sorted(known, reverse=True)
    led: Condition | Both = first
    taken = [first]
    if depth < RARE and not alone and not _of_batch(parts):
        for other_depth, _, other in others:
            merged = both(first, other)
            if merged is not None and depth <= _AS_DENSE * other_depth:
                led, taken = merged, [first, other]
                break
    return led, All(tuple(part for part in parts if not any(part is one for one in taken)))


def lead_of_batch(condition: Condition, depths: Depths) -> tuple[Condition, Condition]:
    """The same in a batch that is granted as a whole: a list that it has in key order, or its objects themselves."""
    found = [
        (depths.get(part, NEVER), -place, part) for place, part in enumerate(lists(condition)) if alternatives(part)
    ]
    led = max(found)[2] if found else Everything()
    return led, All(tuple(part for part in flat(condition) if part is not led))


def may_begin(condition: Condition, depths: Depths) -> bool:
    """Whether to look up the newest of the thinnest of lists that are to be merged, before they are."""
    if split := by_grants(condition, depths):
        return may_begin(split[1], of_grants(depths))
    led, first = (lead(condition, depths, alone=alone)[0] for alone in (False, True))
    return isinstance(led, Both) and isinstance(first, HasPair) and isinstance(first.test, Equals)


def is_open(condition: Condition, depths: Depths) -> bool:
    """Whether how many rows the values have decides what is quickest: lists to be merged, or in no order."""
    if split := by_grants(condition, depths):
        return is_open(split[1], of_grants(depths))
    led = lead(condition, depths)[0]
    is_known = not isinstance(led, Both) and depths.get(led) == RARE and in_no_order(led)
    return not is_known and not _of_batch(flat(condition)) and _is_open(led)


def _is_open(led: Condition | Both) -> bool:
    match led:
        case Both():
            return True
        case AnyOf(of):
            return any(_is_open(part) for one in of for part in flat(one))
        case HasPair(key, test):
            return not (isinstance(test, Equals) or (key is not None and isinstance(test, OneOf)))
        case _:
            return False


def of_grants(depths: Depths) -> Depths:
    """Those of what is granted singly."""
    return {one.of: depth for one, depth in depths.items() if isinstance(one, Singly)}


def both(one: Condition, other: Condition) -> Both | None:
    for first, second in ((one, other), (other, one)):
        if len(alternatives(first)) == 1 and (some := alternatives(second)):
            return Both(alternatives(first)[0], some)
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
    driving = min(leading(parts), key=distance, default=None)
    if driving is None or distance(driving) >= FAR:
        return Everything(), All(tuple(parts))
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
