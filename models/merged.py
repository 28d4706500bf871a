"""Two lists of pairs in key order, read side by side.

Where one list is thin, each of its entries is looked up in the other. Where both are dense that takes ten times as long
as reading the other one, too, and where they seldom meet, it is done for all of it; where they often do, both are
quick.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.filters import Condition, Equals, HasPair

if TYPE_CHECKING:
    from models.sql import Narrow, Sql

_AS_DENSE = 8  # times as many entries


@dataclass(frozen=True, slots=True)
class Both:
    """Two parts of an AND that drive together."""

    one: HasPair
    other: HasPair


def both(rivals: list[Condition]) -> Both | None:
    """Where they are two lists in key order, in which an object stands once."""
    pairs = [one for one in rivals if isinstance(one, HasPair) and isinstance(one.test, Equals) and one.key is not None]
    return Both(pairs[0], pairs[1]) if len(rivals) == len(pairs) == 2 else None


def thinnest(sql: "Sql", reaches: str, both: int | None) -> str:
    """A SELECT of the ``number`` of the list that is thinnest, or of ``both`` where the two are about as dense."""
    listed = f"(VALUES {reaches}) AS r (number, reach)"
    if both is None:
        return f"SELECT number FROM {listed} ORDER BY reach, number LIMIT 1"
    newest = f"SELECT id FROM objects WHERE tenant_id = {sql.tenant} ORDER BY id DESC LIMIT 1"
    thin = "(array_agg(number ORDER BY reach, number))[1]"
    dense = f"min(reach) > 0 AND n.id - min(reach) <= {_AS_DENSE} * (n.id - max(reach))"
    return (
        f"SELECT CASE WHEN {dense} THEN {both} ELSE {thin} END AS number FROM {listed}, ({newest}) AS n GROUP BY n.id"
    )


def source(sql: "Sql", both: Both, others: Condition, narrow: "Narrow", end: str) -> str:
    """A SELECT of the ``object_pk`` in both. The planner merges them, or looks one up in the other: it is no worse."""
    one, other = sql.alias(), sql.alias()
    key = f"{one}.object_pk"
    first = f"{one}.tenant_id = {sql.tenant}{sql.pair(both.one, one)} AND {narrow(key)}"
    second = f"{other}.tenant_id = {sql.tenant}{sql.pair(both.other, other)} AND {narrow(f'{other}.object_pk')}"
    joined = f"object_pairs {one} JOIN object_pairs {other} ON {other}.object_pk = {key}"
    test = sql.test(others, key, f"{one}.batch_pk")
    return f"SELECT {key} FROM {joined} WHERE {first} AND {second} AND {test} {end}"
