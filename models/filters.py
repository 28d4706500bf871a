"""Conditions on objects and batches: what filters and permissions are made of. ``sql.py`` turns them into SQL.

Text is compared by code point (collation "C"), as Python does.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from models.file_state import FileState

HEAD_CHARACTERS = 300  # of a long value that are in the index; see migrations/_pairs.py


@dataclass(frozen=True)
class Everything:
    pass


@dataclass(frozen=True)
class All:
    of: tuple["Condition", ...]


@dataclass(frozen=True)
class AnyOf:
    of: tuple["Condition", ...]


@dataclass(frozen=True)
class Not:
    of: "Condition"


@dataclass(frozen=True)
class Equals:
    value: str


@dataclass(frozen=True)
class OneOf:
    values: tuple[str, ...]


@dataclass(frozen=True)
class StartsWith:
    prefix: str


@dataclass(frozen=True)
class Compares:
    """``operator`` is one of > >= < <=; a value that is no decimal number does not match."""

    operator: str
    number: float


ValueTest: TypeAlias = Equals | OneOf | StartsWith | Compares


@dataclass(frozen=True)
class HasPair:
    """Any pair with this key whose value passes the test; without a key any pair, without a test any value."""

    key: str | None
    test: ValueTest | None


@dataclass(frozen=True)
class HasFile:
    """Its file is in this state."""

    state: FileState


@dataclass(frozen=True)
class Granted:
    """By a grant to this user: on the object or on its batch; of a batch, on it or on something in it."""

    user_id: int


@dataclass(frozen=True)
class HasObjectId:
    object_ids: tuple[str, ...]


@dataclass(frozen=True)
class HasKey:
    """By primary keys."""

    keys: tuple[int, ...]


@dataclass(frozen=True)
class HasBatchId:
    """Of a batch: by the client's ids."""

    batch_ids: tuple[str, ...]


@dataclass(frozen=True)
class HasObject:
    """Of a batch: one of its objects meets the condition, of those ``within`` sight."""

    of: "Condition"
    within: "Condition" = Everything()


@dataclass(frozen=True)
class InBatch:
    """By the client's batch id."""

    batch_id: str


@dataclass(frozen=True)
class InOuterBatch:
    """In the batch that an outer query names by this SQL expression."""

    expression: str


@dataclass(frozen=True)
class CreatedAfter:
    moment: datetime


@dataclass(frozen=True)
class CreatedBefore:
    moment: datetime


Condition: TypeAlias = (
    Everything
    | All
    | AnyOf
    | Not
    | HasKey
    | CreatedAfter
    | CreatedBefore
    | HasPair
    | HasFile
    | Granted
    | HasObjectId
    | InBatch
    | InOuterBatch
    | HasBatchId
    | HasObject
)


def every(parts: Iterable[Condition]) -> Condition:
    """All of them, each once and without layers, so that what means the same in different words is often the same."""
    flat: dict[Condition, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.of if isinstance(part, All) else (part,)))
    flat.pop(Everything(), None)
    return next(iter(flat)) if len(flat) == 1 else All(tuple(flat)) if flat else Everything()


def opposite(of: Condition) -> Condition:
    return of.of if isinstance(of, Not) else Not(of)


def indexed(value: str) -> str:
    """The value as ``object_pairs`` holds it: SQL's ``pair_value``."""
    if len(value) <= HEAD_CHARACTERS:
        return value
    return value[:HEAD_CHARACTERS] + hashlib.sha256(value.encode()).hexdigest()


def after_prefix(prefix: str) -> str | None:
    """The least text above all texts with this prefix, None where there is none."""
    for position in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[position])
        if code < 0x10FFFF:
            return prefix[:position] + chr(0xE000 if code == 0xD7FF else code + 1)  # no surrogates in between
    return None
