from collections.abc import Callable
from datetime import datetime

import strawberry

from access.policy import require_on
from graph import lookups
from graph.context import Info, InputLimits
from graph.inputs import DatumInput, check_pair_count, pairs
from graph.types.objects import Object
from models import AccessLevel, writes
from models.errors import BadInput, short
from models.grants import thing_of
from models.writes import Pair


@strawberry.input(description="A change of one object's data: `replace`, or `set` and `unset`.")
class UpdateObjectDataInput:
    object_id: str = strawberry.field(description="The object.")
    replace: list[DatumInput] | None = strawberry.field(description="The new data, whole.", default=None)
    set: list[DatumInput] | None = strawberry.field(
        description="Pairs to have: all pairs of these keys give way, the first in its place.", default=None
    )
    unset: list[str] | None = strawberry.field(description="Keys to remove, with all their pairs.", default=None)
    if_updated_at: datetime | None = strawberry.field(
        description="CONFLICT unless the object's `updatedAt` is still this.", default=None
    )


@strawberry.type(description="What was changed.")
class UpdateObjectDataPayload:
    object: Object = strawberry.field(description="The object as it is now.")


@strawberry.type
class UpdateObjectData:
    @strawberry.mutation(description="Change an object's data. Concurrent changes of different keys are all kept.")
    async def update_object_data(self, info: Info, input: UpdateObjectDataInput) -> UpdateObjectDataPayload:  # noqa: A002
        change = _change(input, info.context.limits)
        row = await lookups.object_(info.context, input.object_id)
        await require_on(info.context.viewer, AccessLevel.EDIT, [thing_of(row)])
        changed = await writes.update_data(info.context.viewer.tenant_id, row["id"], change, input.if_updated_at)
        return UpdateObjectDataPayload(object=Object.of({**row, **changed}))


def _change(given: UpdateObjectDataInput, limits: InputLimits) -> Callable[[list[Pair]], list[Pair]]:
    whose = f'Object "{short(given.object_id)}"'
    if given.replace is not None:
        if given.set is not None or given.unset is not None:
            raise BadInput('Pass "replace", or "set" and "unset", not both.')
        new = pairs(given.replace, whose, limits)
        return lambda _: new
    if not given.set and not given.unset:
        raise BadInput('Pass "replace", "set" or "unset": there is nothing to change.')
    put, gone = pairs(given.set or (), whose, limits), frozenset(given.unset or ())
    if both := gone & {pair["key"] for pair in put}:
        raise BadInput(f'The key "{short(min(both))}" is in both "set" and "unset".')

    def change(data: list[Pair]) -> list[Pair]:
        changed = merged(data, put, gone)
        check_pair_count(len(changed), whose, limits)
        return changed

    return change


def merged(data: list[Pair], put: list[Pair], gone: frozenset[str]) -> list[Pair]:
    """``data`` without the keys of ``put`` and ``gone``; the pairs of ``put`` stand where their key first stood."""
    new: dict[str, list[Pair]] = {}
    for pair in put:
        new.setdefault(pair["key"], []).append(pair)
    replaced = frozenset(new)
    result: list[Pair] = []
    for pair in data:
        if pair["key"] in replaced:
            result += new.pop(pair["key"], ())
        elif pair["key"] not in gone:
            result.append(pair)
    return result + [pair for rest in new.values() for pair in rest]
