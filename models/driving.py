"""Which part of an AND may lead to its rows, going by its kind alone; how many rows match is not known here."""

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
    HasObjectId,
    HasPair,
    InBatch,
    InOuterBatch,
    OneOf,
    StartsWith,
)

FAR = 100  # of what makes no list in key order


def driver(condition: Condition) -> tuple[Condition, Condition]:
    """The part of an AND whose index leads to the rows, going by its kind alone, and what remains to be tested."""
    parts = flat(condition)
    if not parts:
        return Everything(), Everything()
    driving = min(leading(parts), key=distance)
    return driving, All(tuple(part for part in parts if part is not driving))


def leading(parts: list[Condition]) -> list[Condition]:
    """Those that may drive: the list of files knows no batches, so that it would be read whole for one."""
    if any(isinstance(part, InBatch | InOuterBatch) for part in parts):
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
            return FAR - 1  # where it may drive, sql.py considers it by itself
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
