"""Two lists in key order, read side by side: of pairs, or a user's grants to single objects and pairs.

Where one list is thin, each of its entries is looked up in the other. Where both are dense that takes thirty times as
long as reading the other one, too, and where they seldom meet, it is done for all of it; where they often do, both are
quick. So the newest of one are looked up first, with a plan that is kept, and where they do not fill the page, all are
merged, which is planned each time.
"""

from typing import TYPE_CHECKING

from models import granted
from models.distinct import united
from models.driving import Both
from models.filters import All, AnyOf, Condition, Granted, HasPair
from models.ids import LARGEST

if TYPE_CHECKING:
    from models.sql import Narrow, Sql

LOOKED_UP = 256  # which takes as long as planning to merge


def source(sql: "Sql", both: Both, others: Condition, narrow: "Narrow", end: str) -> str:
    """A SELECT of the ``object_pk`` in both that pass the ``others``."""
    if both.is_short:
        merged = _found(sql, both, others, narrow, end)
    else:
        sources = [_merged(sql, both.one, other, others, narrow, end) for other in both.other]
        merged = sources[0] if len(sources) == 1 else united(sources, end)
    if isinstance(both.one, Granted):
        return granted.with_batches(sql, both.one, merged, All((AnyOf(both.other), others)), narrow, end)
    return merged


def newest(sql: "Sql", led: Condition | Both, narrow: "Narrow", end: str) -> "Narrow":
    """``narrow``, and of a list not beyond the LOOKED_UP entries that come first in the order of ``end``."""
    one, is_descending = sql.alias(), " DESC " in end
    key, order = f"{one}.object_pk", end.partition(" LIMIT ")[0]
    table, where = _list(sql, led, one)
    entries = f"SELECT {key} FROM {table} {one} WHERE {where} AND {narrow(key)} {order} OFFSET {LOOKED_UP - 1} LIMIT 1"
    last = sql.choice(f"SELECT coalesce(({entries}), {0 if is_descending else LARGEST}) AS it")
    return lambda key: f"{narrow(key)} AND {key} {'>=' if is_descending else '<='} (SELECT it FROM {last})"


def _list(sql: "Sql", condition: Condition | Both, alias: str) -> tuple[str, str]:
    """A table and a WHERE."""
    if isinstance(condition, Granted):
        user = sql.bind(condition.user_id, "bigint")
        return "grants", f"{alias}.user_id = {user} AND {alias}.object_pk > 0"
    assert isinstance(condition, HasPair)  # noqa: S101 -- driving.py sends nothing else here
    return "object_pairs", f"{alias}.tenant_id = {sql.tenant}{sql.pair(condition, alias)}"


def _found(sql: "Sql", both: Both, others: Condition, narrow: "Narrow", end: str) -> str:
    """Those of the short lists that are granted, in one scan of the grants."""
    assert isinstance(both.one, Granted)  # noqa: S101 -- driving.py says so
    pair, grant, found = sql.alias(), sql.alias(), sql.alias()
    begin = f"SELECT {pair}.object_pk FROM object_pairs {pair} WHERE {pair}.tenant_id = {sql.tenant}"
    keys = " UNION ALL ".join(f"({begin}{sql.pair(one, pair)} AND {narrow(f'{pair}.object_pk')})" for one in both.other)
    table, where = _list(sql, both.one, grant)
    order = end.partition(" LIMIT ")[0]
    listed = f"SELECT object_pk FROM {table} {grant} WHERE {where} AND object_pk = ANY(ARRAY({keys})) {order} OFFSET 0"
    test = sql.test(others, f"{found}.object_pk", f"(SELECT batch_pk FROM objects WHERE id = {found}.object_pk)")
    return f"SELECT object_pk FROM ({listed}) AS {found} WHERE {test} {end}"


def _merged(
    sql: "Sql", first: HasPair | Granted, second: HasPair, others: Condition, narrow: "Narrow", end: str
) -> str:
    """The planner merges them, or looks one up in the other: it is no worse.

    The others are tested afterwards (OFFSET 0), or it would test all of one list before it merges; and it is to think
    of the lists as a whole, as for the first few of them it would rather look up. Batches are in none of the indexes.
    """
    one, other, found = sql.alias(), sql.alias(), sql.alias()
    key = f"{one}.object_pk"
    table, where = _list(sql, first, one)
    pairs = f"{other}.tenant_id = {sql.tenant}{sql.pair(second, other)} AND {narrow(f'{other}.object_pk')}"
    order = end.partition(" LIMIT ")[0]
    lists = (
        f"SELECT {key} FROM {table} {one} JOIN object_pairs {other} ON {other}.object_pk = {key}"
        f" WHERE {where} AND {pairs} AND {narrow(key)} {order} OFFSET 0"
    )
    test = sql.test(others, f"{found}.object_pk", f"(SELECT batch_pk FROM objects WHERE id = {found}.object_pk)")
    return f"SELECT object_pk FROM ({lists}) AS {found} WHERE {test} {end}"
