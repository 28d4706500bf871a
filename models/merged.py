"""Two lists of pairs in key order, read side by side.

Where one list is thin, each of its entries is looked up in the other. Where both are dense that takes thirty times as
long as reading the other one, too, and where they seldom meet, it is done for all of it; where they often do, both are
quick. So the newest of one are looked up first, with a plan that is kept, and where they do not fill the page, all are
merged, which is planned each time.
"""

from typing import TYPE_CHECKING

from models.distinct import united
from models.driving import Both
from models.filters import Condition, HasPair
from models.ids import LARGEST

if TYPE_CHECKING:
    from models.sql import Narrow, Sql

LOOKED_UP = 256  # which takes as long as planning to merge


def source(sql: "Sql", both: Both, others: Condition, narrow: "Narrow", end: str) -> str:
    """A SELECT of the ``object_pk`` in both that pass the ``others``."""
    sources = [_merged(sql, both.one, other, others, narrow, end) for other in both.other]
    return sources[0] if len(sources) == 1 else united(sources, end)


def newest(sql: "Sql", led: Condition | Both, narrow: "Narrow", end: str) -> "Narrow":
    """``narrow``, and of a list not beyond the LOOKED_UP entries that come first in the order of ``end``."""
    assert isinstance(led, HasPair)  # noqa: S101 -- driving.may_begin says so
    pair, is_descending = sql.alias(), " DESC " in end
    key, order = f"{pair}.object_pk", end.partition(" LIMIT ")[0]
    listed = f"{sql.pairs(pair)}{sql.pair(led, pair)} AND {narrow(key)}"
    entries = f"SELECT {key} FROM {listed} {order} OFFSET {LOOKED_UP - 1} LIMIT 1"
    last = sql.choice(f"SELECT coalesce(({entries}), {0 if is_descending else LARGEST}) AS it")
    return lambda key: f"{narrow(key)} AND {key} {'>=' if is_descending else '<='} (SELECT it FROM {last})"


def _merged(sql: "Sql", first: HasPair, second: HasPair, others: Condition, narrow: "Narrow", end: str) -> str:
    """The planner merges them, or looks one up in the other: it is no worse.

    The others are tested afterwards (OFFSET 0), or it would test all of one list before it merges; and it is to think
    of the lists as a whole, as for the first few of them it would rather look up. Batches are in none of the indexes.
    """
    one, other, found = sql.alias(), sql.alias(), sql.alias()
    key, other_key = f"{one}.object_pk", f"{other}.object_pk"
    listed = f"{sql.pairs(one, other)} AND {other_key} = {key}{sql.pair(first, one)}{sql.pair(second, other)}"
    order = end.partition(" LIMIT ")[0]
    lists = f"SELECT {key} FROM {listed} AND {narrow(key)} AND {narrow(other_key)} {order} OFFSET 0"
    test = sql.test(others, f"{found}.object_pk", f"(SELECT batch_pk FROM objects WHERE id = {found}.object_pk)")
    return f"SELECT object_pk FROM ({lists}) AS {found} WHERE {test} {end}"
