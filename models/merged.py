"""Two lists in key order, read side by side: of pairs, or a user's grants to single objects and pairs.

Where one list is thin, each of its entries is looked up in the other. Where both are dense that takes thirty times as
long as reading the other one, too, and where they seldom meet, it is done for all of it; where they often do, both are
quick.
"""

from typing import TYPE_CHECKING

from models import granted
from models.driving import Both
from models.filters import All, Condition, Granted

if TYPE_CHECKING:
    from models.sql import Narrow, Sql


def source(sql: "Sql", both: Both, others: Condition, narrow: "Narrow", end: str) -> str:
    """A SELECT of the ``object_pk`` in both that pass the ``others``.

    The planner merges them, or looks one up in the other: it is no worse. The others are tested afterwards (OFFSET 0),
    or it would test all of one list before it merges; and it is to think of the lists as a whole, as for the first few
    of them it would rather look up. Batches are in none of the indexes.
    """
    one, other, found = sql.alias(), sql.alias(), sql.alias()
    key = f"{one}.object_pk"
    pairs = f"{other}.tenant_id = {sql.tenant}{sql.pair(both.other, other)} AND {narrow(f'{other}.object_pk')}"
    if isinstance(both.one, Granted):
        lists = f"grants {one}"
        first = f"{one}.user_id = {sql.bind(both.one.user_id, 'bigint')} AND {key} IS NOT NULL"
    else:
        lists = f"object_pairs {one}"
        first = f"{one}.tenant_id = {sql.tenant}{sql.pair(both.one, one)}"
    lists = f"{lists} JOIN object_pairs {other} ON {other}.object_pk = {key}"
    where = f"{first} AND {pairs} AND {narrow(key)} {end.partition(' LIMIT ')[0]}"
    test = sql.test(others, f"{found}.object_pk", f"(SELECT batch_pk FROM objects WHERE id = {found}.object_pk)")
    merged = f"SELECT object_pk FROM (SELECT {key} FROM {lists} WHERE {where} OFFSET 0) AS {found} WHERE {test} {end}"
    if isinstance(both.one, Granted):
        return granted.with_batches(sql, both.one, merged, All((both.other, others)), narrow, end)
    return merged
