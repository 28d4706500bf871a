"""Reading lists: one statement per page, by keyset in both directions, newest first.

A cursor is opaque to clients: a version, the row's key and a digest of what the list was (its kind, scope and filter),
so that a cursor of another list is refused instead of answered wrongly. It stays right while rows come and go, because
the page begins at a key, whether or not its row still exists.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from models.errors import BadCursor, BadInput
from models.filters import Condition, Everything
from models.sql import Sql

Row: TypeAlias = Any  # asyncpg.Record: a mapping of column names
_CURSOR = struct.Struct(">Bq8s")
_CURSOR_VERSION = 1


class Scope(NamedTuple):
    """What exists for somebody: made by ``access.policy`` only, taken by every read."""

    tenant_id: int
    within: Condition = Everything()


class Bounds(NamedTuple):
    """Which part of a list: at most ``limit`` rows, counted from the start or the end, strictly between two keys."""

    limit: int
    backward: bool = False
    after: int | None = None
    before: int | None = None

    def narrow(self, sql: Sql) -> Callable[[str], str]:
        """SQL that keeps a key expression between the cursors; newest first, so what comes after is smaller."""

        def between(key: str) -> str:
            parts = []
            if self.after is not None:
                parts.append(f"{key} < {sql.bind(self.after, 'bigint')}")
            if self.before is not None:
                parts.append(f"{key} > {sql.bind(self.before, 'bigint')}")
            return " AND ".join(parts) or "true"

        return between

    @property
    def direction(self) -> str:
        return "ASC" if self.backward else "DESC"

    def order(self, key: str) -> str:
        """One row more than the page, to see whether the list goes on."""
        return f"ORDER BY {key} {self.direction} LIMIT {self.limit + 1}"

    def page(self, rows: Sequence[Row]) -> "Page":
        """From the rows that were read in the order of ``order``."""
        more = len(rows) > self.limit
        rows = rows[: self.limit]
        if self.backward:
            return Page(rows[::-1], has_next=self.before is not None, has_previous=more)
        return Page(rows, has_next=more, has_previous=self.after is not None)


class Page(NamedTuple):
    """Rows in list order, and whether there are more on either side."""

    rows: Sequence[Row]
    has_next: bool
    has_previous: bool


def bounds(
    first: int | None, after: str | None, last: int | None, before: str | None, *, default: int, most: int, of: bytes
) -> Bounds:
    """Relay's four arguments, checked. ``of`` is the digest of the list the cursors must belong to."""
    if first is not None and last is not None:
        raise BadInput('Pass "first" or "last", not both.')
    for name, size in (("first", first), ("last", last)):
        if size is not None and not 1 <= size <= most:
            raise BadInput(f'"{name}" must be from 1 to {most}, not {size}.')
    after_key = None if after is None else position(after, of)
    before_key = None if before is None else position(before, of)
    return Bounds(last or first or default, last is not None, after_key, before_key)


def digest(*parts: object) -> bytes:
    """What a list is, in 8 bytes. The conditions are frozen dataclasses, so that equal filters have equal reprs."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()


def cursor(key: int, of: bytes) -> str:
    return base64.urlsafe_b64encode(_CURSOR.pack(_CURSOR_VERSION, key, of)).rstrip(b"=").decode()


def position(text: str, of: bytes) -> int:
    """The key in a cursor of this list; raises BadCursor for anything else."""
    try:
        version, key, digest_given = _CURSOR.unpack(
            base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        )
    except (binascii.Error, struct.error, ValueError):
        raise BadCursor from None
    if version != _CURSOR_VERSION or digest_given != of or cursor(key, of) != text:
        raise BadCursor
    return int(key)
