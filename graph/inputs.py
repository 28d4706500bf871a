"""The inputs of mutations, and the checks that no type can express."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import orjson
import strawberry

from graph.context import Context, InputLimits
from graph.file_input import FileInput, new_file
from graph.thread import in_thread
from models.errors import AlreadyExists, BadInput, short
from models.writes import NewObject, Pair

_MANY = 500  # objects; checking more takes more than a few milliseconds


@strawberry.input(description="A key and its value.")
class DatumInput:
    key: str = strawberry.field(description="Not empty.")
    value: str = strawberry.field(description="Any text; may be empty.")


@strawberry.input(description="An object to make.")
class ObjectInput:
    object_id: str = strawberry.field(description="Your id for it, unique in the tenant.")
    data: list[DatumInput] | None = strawberry.field(
        description="Its pairs, in order; none when absent. A key may occur more than once.", default=None
    )
    file: FileInput | None = strawberry.field(description="A file to be uploaded for it.", default=None)


async def new_objects(given: Sequence[ObjectInput], context: Context) -> list[NewObject]:
    """Raises BadInput or AlreadyExists naming the object and the pair, StorageUnavailable where files are large."""
    many = len(given) > _MANY
    objects = await in_thread(_new_objects, given, context) if many else _new_objects(given, context)
    files = iter(await context.begin_parts([one.file for one in objects if one.file is not None]))
    return [one if one.file is None else replace(one, file=next(files)) for one in objects]


def _new_objects(given: Sequence[ObjectInput], context: Context) -> list[NewObject]:
    limits = context.limits
    if len(given) > limits.max_objects_per_call:
        raise BadInput(
            f"{len(given):,} objects in one call; at most {limits.max_objects_per_call:,} are allowed:"
            " send the rest with createObjects."
        )
    for one in given:
        check_id("objectId", one.object_id, limits)
    check_once([one.object_id for one in given])
    return [_new_object(one, f'Object "{short(one.object_id)}"', context) for one in given]


def check_once(object_ids: Sequence[str]) -> None:
    """Raises AlreadyExists naming what the call has more than once."""
    if len(set(object_ids)) < len(object_ids):
        twice = [object_id for object_id, times in Counter(object_ids).items() if times > 1]
        raise AlreadyExists(f'The call has "{short(twice[0])}" more than once.', objectIds=twice[:100])


def _new_object(given: ObjectInput, whose: str, context: Context) -> NewObject:
    data = orjson.dumps(pairs(given.data or (), whose, context.limits)).decode()
    return NewObject(given.object_id, data, new_file(given.file, whose, context) if given.file else None)


def pairs(given: Sequence[DatumInput], whose: str, limits: InputLimits) -> list[Pair]:
    """Raises BadInput naming the pair by its position, counted from 0 as in the request."""
    check_pair_count(len(given), whose, limits)
    for index, datum in enumerate(given):
        if not datum.key:
            raise BadInput(f"{whose}, data[{index}]: the key is empty.")
        if len(datum.key) > limits.max_key_characters:
            raise BadInput(_too_long(f"{whose}, data[{index}]: the key", datum.key, limits.max_key_characters))
        if len(datum.value) > limits.max_value_characters:
            where = f'{whose}, data[{index}]: the value of "{short(datum.key)}"'
            raise BadInput(_too_long(where, datum.value, limits.max_value_characters))
    return [{"key": datum.key, "value": datum.value} for datum in given]


def check_pair_count(count: int, whose: str, limits: InputLimits) -> None:
    if count > limits.max_pairs_per_object:
        raise BadInput(f"{whose} has {count} pairs; at most {limits.max_pairs_per_object} are allowed.")


def is_id(text: str, limits: InputLimits) -> bool:
    """Whether something can have it; nobody needs to ask the database about any other."""
    return 0 < len(text) <= limits.max_id_characters


def check_id(name: str, text: str, limits: InputLimits) -> None:
    """Raises BadInput if nothing may be made with it."""
    if not text:
        raise BadInput(f'"{name}" must not be empty.')
    if len(text) > limits.max_id_characters:
        raise BadInput(_too_long(f'"{name}"', text, limits.max_id_characters))


def _too_long(what: str, text: str, most: int) -> str:
    return f"{what} has {len(text)} characters; at most {most} are allowed."
