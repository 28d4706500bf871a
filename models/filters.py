"""Conditions on objects, and how each becomes SQL.

A condition is asked in one of two ways. As a *test* it is a boolean expression about one candidate (its primary key and
its batch's). As a *source* it lists the keys of all matching objects in key order, so that a page reads as many index
entries as it shows: `(tenant, key, value, object)` for a pair, the union of sources for OR, the best source of an AND
with its other parts as tests. data-model.md has the measurements behind this.

Text is compared by code point (collation "C"), as Python does.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from models import ids
from models.errors import BadInput

MOST_LOOKUPS = 500  # of pairs in one statement; planning them takes 0.2 s and 150 MB
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
    """Of a batch: one of its objects meets the condition."""

    of: "Condition"


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
    | HasObjectId
    | InBatch
    | InOuterBatch
    | HasBatchId
    | HasObject
)


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


class Sql:
    """One statement in the making: its arguments, and the tenant that every table is read for."""

    def __init__(self, tenant_id: int) -> None:
        self.arguments: list[object] = []
        self.tenant = self.bind(tenant_id, "bigint")
        self._aliases = 0

    def bind(self, value: object, type_name: str) -> str:
        self.arguments.append(value)
        return f"${len(self.arguments)}::{type_name}"

    def alias(self) -> str:
        """Raises BadInput where alternatives, each tested for all the rest, would make a plan of gigabytes."""
        self._aliases += 1
        if self._aliases > MOST_LOOKUPS:
            raise BadInput('The filter combines too many alternatives: use "in" for several values, or ask in parts.')
        return f"p{self._aliases}"

    # -- tests ---------------------------------------------------------------------------------------------------

    def test(self, condition: Condition, key: str, batch: str, *, nested: bool = False) -> str:
        """A boolean expression about the row whose primary key and batch are given as SQL expressions.

        For a batch both are its own key. Pairs ``nested`` in OR or NOT are looked up row by row (OFFSET 0 sees to it):
        the planner would rather hash a whole list for a page of ten. Otherwise it may turn them into a join.
        """
        match condition:
            case Everything():
                return "true"
            case All(of):
                return _joined("AND", "true", [self.test(part, key, batch, nested=nested) for part in of])
            case AnyOf(of):
                return _joined("OR", "false", [self.test(part, key, batch, nested=True) for part in of])
            case Not(of):
                # Not NOT: the comparison with a batch that is not there is null.
                return f"({self.test(of, key, batch, nested=True)}) IS NOT TRUE"
            case HasPair():
                pair = self.alias()
                found = f"{self._pair(condition, pair)} AND {pair}.object_pk = {key}"
                return f"EXISTS (SELECT FROM object_pairs {pair} WHERE {found}{' OFFSET 0' if nested else ''})"
            case HasObjectId(object_ids):
                wanted = self.bind(list(object_ids), "text[]")
                return (
                    f"{key} IN (SELECT id FROM objects WHERE tenant_id = {self.tenant} AND object_id = ANY({wanted}))"
                )
            case HasKey(keys):
                return f"{key} = ANY({self.bind(list(keys), 'bigint[]')})"
            case InBatch(batch_id):
                wanted = self.bind(batch_id, "text")
                return f"{batch} = (SELECT id FROM batches WHERE tenant_id = {self.tenant} AND batch_id = {wanted})"
            case InOuterBatch(expression):
                return f"{batch} = {expression}"
            case HasBatchId(batch_ids):
                wanted = self.bind(list(batch_ids), "text[]")
                return (
                    f"{batch} IN (SELECT id FROM batches WHERE tenant_id = {self.tenant} AND batch_id = ANY({wanted}))"
                )
            case HasObject(of):
                driving, others = driver(of)
                pair = self.alias()
                assert isinstance(driving, HasPair)  # noqa: S101 -- batches are filtered by pairs only
                rest = self.test(others, f"{pair}.object_pk", f"{pair}.batch_pk")
                return (
                    f"EXISTS (SELECT FROM object_pairs {pair}"
                    f" WHERE {self._pair(driving, pair)} AND {pair}.batch_pk = {batch} AND {rest})"
                )
            case CreatedAfter(moment):
                return f"{key} >= {self.bind(ids.first_key_after(moment), 'bigint')}"
            case CreatedBefore(moment):
                return f"{key} < {self.bind(ids.first_key_from(moment), 'bigint')}"

    def _pair(self, condition: HasPair, pair: str, value: str | None = None) -> str:
        """The condition on one row of ``object_pairs``; ``value`` replaces the bound value of an Equals."""
        parts = [f"{pair}.tenant_id = {self.tenant}"]
        if condition.key is not None:
            parts.append(f"{pair}.key = {self.bind(condition.key, 'text')}")
        match condition.test:
            case Equals(wanted):
                parts.append(f"{pair}.value = {value or self.bind(indexed(wanted), 'text')}")
            case OneOf(values):
                parts.append(f"{pair}.value = ANY({self.bind([indexed(v) for v in values], 'text[]')})")
            case StartsWith(prefix):
                parts += self._prefix(prefix, pair)
            case Compares(operator, number):
                parts.append(f"{pair}.number {operator} {self.bind(number, 'double precision')}")
            case None:
                pass
        return " AND ".join(parts)

    def _prefix(self, prefix: str, pair: str) -> Iterator[str]:
        head = prefix[:HEAD_CHARACTERS]
        if head:
            yield f"{pair}.value >= {self.bind(head, 'text')}"
            if (end := after_prefix(head)) is not None:
                yield f"{pair}.value < {self.bind(end, 'text')}"
        if len(prefix) > HEAD_CHARACTERS:  # the index knows the head only: ask the truth
            whole = self.bind(prefix, "text")
            yield (
                "EXISTS (SELECT FROM objects t, LATERAL jsonb_to_recordset(t.data) AS d (key text, value text)"
                f" WHERE t.id = {pair}.object_pk AND d.key = {pair}.key AND starts_with(d.value, {whole}))"
            )

    # -- sources -------------------------------------------------------------------------------------------------

    def source(self, condition: Condition, narrow: Callable[[str], str], end: str) -> str:
        """A SELECT of the matching ``object_pk`` in key order.

        ``narrow`` bounds a key expression (the cursor), ``end`` is "ORDER BY object_pk ... LIMIT ..." or empty: each
        part of a union needs only as many rows as the page.
        """
        driving, others = driver(condition)
        if isinstance(driving, AnyOf) and driving.of:
            parts = [f"({self.source(All((part, others)), narrow, end)})" for part in driving.of]
            return f"SELECT object_pk FROM ({' UNION '.join(parts)}) AS u {end}"
        if not isinstance(driving, HasPair):
            test = self.test(condition, "o.id", "o.batch_pk")
            tests = f"o.tenant_id = {self.tenant} AND {test} AND {narrow('o.id')}"
            return f"SELECT o.id AS object_pk FROM objects o WHERE {tests} {end}"
        pair = self.alias()
        key = f"{pair}.object_pk"
        rest = f"{self.test(others, key, f'{pair}.batch_pk')} AND {narrow(key)} {end}"
        if isinstance(driving.test, OneOf):  # one ordered index range per value, however many values
            values = self.bind(sorted({indexed(value) for value in driving.test.values}), "text[]")
            one = self._pair(HasPair(driving.key, Equals("")), pair, value="w.value")
            return (
                f"SELECT DISTINCT object_pk FROM unnest({values}) AS w (value) CROSS JOIN LATERAL"
                f" (SELECT DISTINCT {key} FROM object_pairs {pair} WHERE {one} AND {rest}) AS l {end}"
            )
        exact = driving.key is not None and isinstance(driving.test, Equals)  # an object has this pair once
        distinct = "" if exact else "DISTINCT "
        return f"SELECT {distinct}{key} FROM object_pairs {pair} WHERE {self._pair(driving, pair)} AND {rest}"


def driver(condition: Condition) -> tuple[Condition, Condition]:
    """The part of a condition whose index leads to the rows, and what remains to be tested on each."""
    parts = _flat(condition)
    if not parts:
        return Everything(), Everything()
    driving = min(parts, key=_distance)
    return driving, All(tuple(part for part in parts if part is not driving))


def _distance(condition: Condition) -> int:
    """How far a condition's index is from being the answer; how many rows match is not known here."""
    match condition:
        case HasObjectId() | HasKey():
            return 0
        case HasPair(key, Equals()):
            return 1 if key is not None else 2
        case HasPair(_, OneOf()):
            return 3
        case AnyOf(of) if of:
            return 4 + max(min((_distance(part) for part in _flat(one)), default=100) for one in of)
        case HasPair(_, StartsWith()):
            return 20
        case HasPair(_, Compares()):
            return 21
        case HasPair():
            return 22
        case _:
            return 100


def _flat(condition: Condition) -> list[Condition]:
    match condition:
        case Everything():
            return []
        case All(of):
            return [part for one in of for part in _flat(one)]
        case _:
            return [condition]


def _joined(operator: str, empty: str, parts: list[str]) -> str:
    return f"({f' {operator} '.join(parts)})" if parts else empty
