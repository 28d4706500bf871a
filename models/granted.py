"""How grants become SQL: whether something is granted to a user, and the list of all objects that are.

A list is led to in one of three ways. Where the batch is given: by the batch if it is granted, else by the user's
grants to objects in it. Where not: by the grants, those to objects in key order and the newest objects of each batch;
or, where the user may see so many batches that most objects are visible anyway, by the objects themselves. The
statement finds out itself which, see ``sql.py``.
"""

from typing import TYPE_CHECKING

from models.filters import Condition, Granted, InBatch, InOuterBatch

if TYPE_CHECKING:
    from models.sql import Narrow, Sql

_FEW = 100  # batches whose newest objects may be looked up for every page
_SAMPLE = 1_000  # of the newest objects
_MANY = 100  # visible ones among them


def test(sql: "Sql", granted: Granted, key: str, batch: str) -> str:
    """A boolean expression about an object, or with ``key`` and ``batch`` the same, about a batch."""
    user = sql.bind(granted.user_id, "bigint")
    g, h = sql.alias(), sql.alias()
    if key == batch:
        return f"EXISTS (SELECT FROM grants {g} WHERE {g}.user_id = {user} AND {g}.batch_pk = {batch} OFFSET 0)"
    return (
        f"(EXISTS (SELECT FROM grants {g} WHERE {g}.user_id = {user} AND {g}.object_pk = {key} OFFSET 0)"
        f" OR EXISTS (SELECT FROM grants {h} WHERE {h}.user_id = {user} AND {h}.batch_pk = {batch}"
        f" AND {h}.object_pk IS NULL OFFSET 0))"
    )


def whole_batch(sql: "Sql", granted: Granted, batch: InBatch | InOuterBatch) -> str:
    """A boolean expression: the batch itself is granted."""
    user, g = sql.bind(granted.user_id, "bigint"), sql.alias()
    mine = sql.test(batch, "null", f"{g}.batch_pk")
    return f"EXISTS (SELECT FROM grants {g} WHERE {g}.user_id = {user} AND {mine} AND {g}.object_pk IS NULL OFFSET 0)"


def source(sql: "Sql", granted: Granted, others: Condition, narrow: "Narrow", end: str, *, singly: bool) -> str:
    """A SELECT of the ``object_pk`` that are granted and pass the ``others``; ``singly`` leaves out granted batches."""
    user, g = sql.bind(granted.user_id, "bigint"), sql.alias()
    key = f"{g}.object_pk"
    tests = f"{sql.test(others, key, f'{g}.batch_pk')} AND {narrow(key)}"
    objects = f"SELECT {key} FROM grants {g} WHERE {g}.user_id = {user} AND {key} IS NOT NULL AND {tests} {end}"
    if singly:
        return objects
    h, o = sql.alias(), sql.alias()
    tests = f"{sql.test(others, f'{o}.id', f'{o}.batch_pk')} AND {narrow(f'{o}.id')}"
    newest = (
        f"SELECT {o}.id AS object_pk FROM objects {o} WHERE {o}.tenant_id = {sql.tenant}"
        f" AND {o}.batch_pk = {h}.batch_pk AND {tests} {end}"
    )
    batches = (
        f"SELECT l.object_pk FROM grants {h} CROSS JOIN LATERAL ({newest}) AS l"
        f" WHERE {h}.user_id = {user} AND {h}.object_pk IS NULL {end}"
    )
    return f"SELECT object_pk FROM (({objects}) UNION ({batches})) AS u {end}"


def batches(sql: "Sql", granted: Granted, narrow: "Narrow", direction: str) -> str:
    """A SELECT of the ``batch_pk`` that are granted or hold something that is, in this direction, each once."""
    user, g = sql.bind(granted.user_id, "bigint"), sql.alias()
    where = f"{g}.user_id = {user} AND {narrow(f'{g}.batch_pk')}"
    return f"SELECT DISTINCT {g}.batch_pk FROM grants {g} WHERE {where} ORDER BY {g}.batch_pk {direction} OFFSET 0"


def reach(sql: "Sql", granted: Granted, *, sample: int, never: int) -> str:
    """As that of other lists, a key: ``never`` where the objects themselves lead to the page in fewer steps."""
    user, g, h, o = sql.bind(granted.user_id, "bigint"), sql.alias(), sql.alias(), sql.alias()
    singly = (
        f"SELECT {g}.object_pk FROM grants {g} WHERE {g}.user_id = {user} AND {g}.object_pk IS NOT NULL"
        f" ORDER BY {g}.object_pk DESC OFFSET {sample - 1} LIMIT 1"
    )
    batches = f"SELECT FROM grants {h} WHERE {h}.user_id = {user} AND {h}.object_pk IS NULL LIMIT {_FEW + 1}"
    newest = (
        f"SELECT {o}.id, {o}.batch_pk FROM objects {o} WHERE {o}.tenant_id = {sql.tenant}"
        f" ORDER BY {o}.id DESC LIMIT {_SAMPLE}"
    )
    visible = f"SELECT FROM ({newest}) AS n WHERE {test(sql, granted, 'n.id', 'n.batch_pk')} LIMIT {_MANY}"
    return (
        f"CASE WHEN (SELECT count(*) FROM ({batches}) AS b) > {_FEW}"
        f" AND (SELECT count(*) FROM ({visible}) AS v) = {_MANY} THEN {never} ELSE coalesce(({singly}), 0) END"
    )
