"""Where a range of numbers begins in key order, which neither the lists in this order nor those in that of numbers say.

Keys are ordered by time, and what is made within 128 ms is a zone. An index has the numbers of each zone in order, so
that a zone without any in the range is passed over at one look: where numbers grow with time, as they often do, all of
what a page is not about.
"""

from typing import TYPE_CHECKING

from models.driving import NEVER, SELDOM, flat, is_range
from models.filters import Condition, HasPair, InBatch, InOuterBatch
from models.ids import LARGEST

if TYPE_CHECKING:
    from models.sql import Narrow, Sql

_BITS = 29  # as migrations/_zones.py has it
_MOST = 2_000  # zones that are looked at


def narrowed(sql: "Sql", condition: Condition, narrow: "Narrow", end: str) -> "Narrow":
    """``narrow``, and not before the first zone, in the order of ``end``, that has a number of each long range."""
    parts = flat(condition)
    long = (NEVER, SELDOM) if len(parts) > 1 else (NEVER,)
    if end and not any(isinstance(part, InBatch | InOuterBatch) for part in parts):
        for part in parts:
            if isinstance(part, HasPair) and is_range(part) and sql.depths.get(part) in long:
                narrow = _from_first(sql, part, narrow, is_descending=" DESC " in end)
    return narrow


def _from_first(sql: "Sql", condition: HasPair, narrow: "Narrow", *, is_descending: bool) -> "Narrow":
    start, later, match = sql.alias(), sql.alias(), sql.alias()
    beyond, direction = ("<", "DESC") if is_descending else (">", "ASC")
    bound = f"(zone + 1) << {_BITS}" if is_descending else f"zone << {_BITS}"
    first = (  # with numbers or without
        f"SELECT {start}.id >> {_BITS}, 1 FROM objects {start} WHERE {sql.rows(start)}"
        f" AND {narrow(f'{start}.id')} ORDER BY {start}.id {direction} LIMIT 1"
    )
    next_ = _in_zone(sql, later, HasPair(condition.key, None), beyond)
    found = f"SELECT FROM {_in_zone(sql, match, condition, '=')} OFFSET 0"
    zone = f"({later}.object_pk >> {_BITS})"
    begin = sql.choice(
        f"WITH RECURSIVE zones (zone, number) AS (({first}) UNION ALL"
        f" SELECT (SELECT {zone} FROM {next_} ORDER BY {zone} {direction} LIMIT 1), z.number + 1 FROM zones z"
        f" WHERE z.zone IS NOT NULL AND z.number < {_MOST} AND NOT EXISTS ({found}))"
        f" SELECT coalesce((SELECT {bound} FROM zones ORDER BY number DESC LIMIT 1),"
        f" {0 if is_descending else LARGEST}) AS it"
    )
    return lambda key: f"{narrow(key)} AND {key} {'<' if is_descending else '>='} (SELECT it FROM {begin})"


def _in_zone(sql: "Sql", pair: str, condition: HasPair, compares: str) -> str:
    return (
        f"{sql.pairs(pair)}{sql.pair(condition, pair)}"
        f" AND {pair}.number IS NOT NULL AND ({pair}.object_pk >> {_BITS}) {compares} z.zone"
    )
