"""Relay's Node, and the global ids: base64 of the type's name and the row's primary key."""

import base64
import binascii

import strawberry

from models.errors import BadInput

_LONGEST = 64  # characters; a name of a type and the largest key take less


@strawberry.interface(description="Anything with a global id.")
class Node:
    id: strawberry.ID = strawberry.field(description="Global id: opaque, for `node`, `nodes` and client caches.")


def global_id(type_name: str, key: int) -> strawberry.ID:
    return strawberry.ID(base64.b64encode(f"{type_name}:{key}".encode()).decode())


def parse_global_id(text: str) -> tuple[str, int]:
    """Type name and primary key; raises BadInput for what no id can be."""
    try:
        type_name, _, key = base64.b64decode(text[:_LONGEST], validate=True).decode("ascii").partition(":")
        number = int(key)
    except (binascii.Error, ValueError):
        raise BadInput("This is not a global id: take one from a field `id`.") from None
    if global_id(type_name, number) != text or not 0 < number < 1 << 63:
        raise BadInput("This is not a global id: take one from a field `id`.")
    return type_name, number
