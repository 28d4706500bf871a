"""The filter inputs, and the condition each one means."""

from collections.abc import Iterable, Iterator
from datetime import datetime

import strawberry

import graph.types.files  # noqa: F401 - describes FileState, before it is used here
from graph.context import Context
from graph.loads import Filter
from models import FileState, filters
from models.errors import BadInput
from models.filters import Condition

MOST_PREDICATES = 50
MOST_DEEP = 10
MOST_LISTED = 1_000

_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@strawberry.input(one_of=True, description="What a value must be. Numbers match values that are decimal numbers.")
class ValueWhere:
    eq: strawberry.Maybe[str] = strawberry.field(description="Exactly this text.", default=None)
    in_: strawberry.Maybe[list[str]] = strawberry.field(name="in", description="Any of these texts.", default=None)
    starts_with: strawberry.Maybe[str] = strawberry.field(description="Text that begins with this.", default=None)
    gt: strawberry.Maybe[float] = strawberry.field(description="A number greater than this.", default=None)
    gte: strawberry.Maybe[float] = strawberry.field(description="A number greater than or equal to this.", default=None)
    lt: strawberry.Maybe[float] = strawberry.field(description="A number less than this.", default=None)
    lte: strawberry.Maybe[float] = strawberry.field(description="A number less than or equal to this.", default=None)

    def test(self) -> filters.ValueTest:
        if self.eq is not None:
            return filters.Equals(self.eq.value)
        if self.in_ is not None:
            return filters.OneOf(_listed("in", self.in_.value))
        if self.starts_with is not None:
            return filters.StartsWith(self.starts_with.value)
        [(operator, number)] = [
            (sign, some.value) for name, sign in _COMPARISONS.items() if (some := getattr(self, name))
        ]
        return filters.Compares(operator, number)


@strawberry.input(
    description="A pair the data must have: at least one of key and value. Any pair of a repeated key will do."
)
class DataWhere:
    key: str | None = strawberry.field(description="The pair's key.", default=None)
    value: ValueWhere | None = strawberry.field(description="What the pair's value must be.", default=None)

    def condition(self) -> Condition:
        if self.key is None and self.value is None:
            raise BadInput('Each entry of "data" needs "key", "value" or both.')
        return filters.HasPair(self.key, None if self.value is None else self.value.test())


@strawberry.input(description="Which objects. All that is given must hold.")
class ObjectWhere:
    data: list[DataWhere] | None = strawberry.field(description="The data must match every entry.", default=None)
    batch_id: str | None = strawberry.field(description="In this batch.", default=None)
    object_ids: list[str] | None = strawberry.field(description="One of these ids.", default=None)
    file_state: FileState | None = strawberry.field(description="Its file is in this state.", default=None)
    created_after: datetime | None = strawberry.field(description="Made later than this.", default=None)
    created_before: datetime | None = strawberry.field(description="Made earlier than this.", default=None)
    and_: list["ObjectWhere"] | None = strawberry.field(name="and", description="All of these hold.", default=None)
    or_: list["ObjectWhere"] | None = strawberry.field(
        name="or", description="At least one of these holds; of none, none does.", default=None
    )
    not_: "ObjectWhere | None" = strawberry.field(name="not", description="This does not hold.", default=None)

    def condition(self) -> Condition:
        return filters.every(self._parts())

    def _parts(self) -> Iterator[Condition]:
        yield from (pair.condition() for pair in self.data or ())
        if self.batch_id is not None:
            yield filters.InBatch(self.batch_id)
        if self.object_ids is not None:
            yield filters.HasObjectId(_listed("objectIds", self.object_ids))
        if self.file_state is not None:
            yield filters.HasFile(self.file_state)
        yield from _created(self.created_after, self.created_before)
        yield from (part.condition() for part in self.and_ or ())
        if self.or_ is not None:
            yield filters.AnyOf(tuple(part.condition() for part in self.or_))
        if self.not_ is not None:
            yield filters.opposite(self.not_.condition())


@strawberry.input(description="Which batches. All that is given must hold.")
class BatchWhere:
    data: list[DataWhere] | None = strawberry.field(
        description="The batch has an object whose data matches every entry.", default=None
    )
    batch_ids: list[str] | None = strawberry.field(description="One of these ids.", default=None)
    created_after: datetime | None = strawberry.field(description="Made later than this.", default=None)
    created_before: datetime | None = strawberry.field(description="Made earlier than this.", default=None)

    def condition(self) -> Condition:
        parts: list[Condition] = []
        if self.data:
            if len(self.data) > MOST_PREDICATES:
                raise BadInput(f'"data" has {len(self.data)} entries; at most {MOST_PREDICATES} are allowed.')
            parts.append(filters.HasObject(filters.every(pair.condition() for pair in self.data)))
        if self.batch_ids is not None:
            parts.append(filters.HasBatchId(_listed("batchIds", self.batch_ids)))
        parts += _created(self.created_after, self.created_before)
        return filters.every(parts)


def filter_of(where: ObjectWhere | BatchWhere | None, context: Context) -> Filter:
    """Made once per request, however many batches a nested list is of."""
    known = context.filters.get(id(where))
    if known is None:
        # With ``where``, which keeps its id its own.
        known = context.filters[id(where)] = where, Filter.of(_condition(where))
    return known[1]


def _condition(where: ObjectWhere | BatchWhere | None) -> Condition:
    if where is None:
        return filters.Everything()
    if isinstance(where, ObjectWhere):
        _refuse_large(where)
    return where.condition()


def _created(after: datetime | None, before: datetime | None) -> Iterable[Condition]:
    if after is not None:
        yield filters.CreatedAfter(after)
    if before is not None:
        yield filters.CreatedBefore(before)


def _listed(name: str, values: list[str]) -> tuple[str, ...]:
    if len(values) > MOST_LISTED:
        raise BadInput(f'"{name}" has {len(values)} entries; at most {MOST_LISTED} are allowed.')
    return tuple(values)


def _refuse_large(where: ObjectWhere) -> None:
    """Bounds the SQL that one filter can become."""
    predicates = 0
    level = [where]
    for _ in range(MOST_DEEP):
        predicates += sum(max(1, len(one.data or ())) for one in level)
        if predicates > MOST_PREDICATES:
            raise BadInput(f"The filter has more than {MOST_PREDICATES} parts.")
        level = [
            part for one in level for part in (*(one.and_ or ()), *(one.or_ or ()), *([one.not_] if one.not_ else ()))
        ]
        if not level:
            return
    raise BadInput(f"The filter is nested more than {MOST_DEEP} deep.")
