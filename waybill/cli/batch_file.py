"""The form in which batches are imported and exported: one batch, or a list of them, as JSON."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any, TypeAlias

import click
import orjson

Object: TypeAlias = dict[str, Any]  # {"object_id": ..., "data": [{"key": ..., "value": ...}, ...]}
Batch: TypeAlias = dict[str, Any]  # {"batch_id": ..., "objects": [Object, ...]}

_SHOWN = 10
_TYPES = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


class Malformed(click.ClickException):
    """The file is not what can be imported."""

    exit_code = 2


def read(file: IO[bytes], name: str) -> list[Batch]:
    """Raises Malformed, saying of the first faults where they are, in the notation of jq."""
    try:
        content = orjson.loads(file.read().removeprefix(BOM_UTF8))
    except orjson.JSONDecodeError as error:
        raise Malformed(f"{name} is not JSON: {error}. Nothing was sent.") from error
    faults = _faults(content)
    if shown := list(islice(faults, _SHOWN)):
        more = sum(1 for _ in faults)
        lines = [f"{name} cannot be imported; nothing was sent. Correct it:", *shown]
        raise Malformed("\n  ".join(lines + ([f"and {more:,} more"] if more else [])))
    return content if isinstance(content, list) else [content]


def _faults(content: Any) -> Iterator[str]:
    batch_places: dict[str, str] = {}
    object_places: dict[str, str] = {}
    places = enumerate(content) if isinstance(content, list) else [(None, content)]
    for index, batch in places:
        here = "" if index is None else f".[{index}]"
        if fault := _fault(batch, batch_id=str, objects=list):
            yield f"{here or '.'}: {fault}"
            continue
        if (first := batch_places.setdefault(batch["batch_id"], here)) != here:
            yield f'{here}.batch_id: "{batch["batch_id"]}" is the id of {first} already'
        for number, one in enumerate(batch["objects"]):
            yield from _object_faults(one, f"{here}.objects[{number}]", object_places)


def _object_faults(one: Any, here: str, places: dict[str, str]) -> Iterator[str]:
    if fault := _fault(one, object_id=str, data=list):
        yield f"{here}: {fault}"
        return
    if (first := places.setdefault(one["object_id"], here)) != here:
        yield f'{here}.object_id: "{one["object_id"]}" is the id of {first} already'
    for number, pair in enumerate(one["data"]):
        if fault := _fault(pair, key=str, value=str):
            yield f'{here}.data[{number}] of "{one["object_id"]}": {fault}'


def _fault(thing: Any, **fields: type) -> str | None:
    if not isinstance(thing, dict):
        return f"must be an object with {' and '.join(fields)}, not {_type(thing)}"
    for name, kind in fields.items():
        if name not in thing:
            return f'"{name}" is missing'
        if not isinstance(thing[name], kind):
            return f'"{name}" must be {_TYPES[kind]}, not {_type(thing[name])}'
        if thing[name] == "" and name != "value":
            return f'"{name}" is empty'
    if unknown := [name for name in thing if name not in fields]:
        return f'"{unknown[0]}" is not known here: there is only {" and ".join(fields)}'
    return None


def _type(thing: Any) -> str:
    return "null" if thing is None else _TYPES[type(thing)]
