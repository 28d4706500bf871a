"""How grants become SQL: whether something is granted to a user, and the list of all objects that are.

A list is led to in one of three ways. Where the batch is given: by the batch if it is granted, else by the user's
grants to objects in it. Where not: by what is granted singly, which has lists of its own (migrations/_granted.py), and
by the lists of each batch; or by the tenant's, where the user may see so many batches that most objects are visible
anyway. Which of these is found out before, see ``depths.py``.
"""

from typing import TYPE_CHECKING

from models.filters import Condition, Granted, InBatch, InOuterBatch

if TYPE_CHECKING:
    from models.sql import Narrow, Sql

_FEW = 20
_NEWEST = 1_000  # objects that are looked at
_ENOUGH = 30  # of them


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


def has_object(sql: "Sql", granted: Granted, of: Condition, led: str, batch: str) -> str:
    """A boolean expression about a batch: one of the objects that are granted in it meets the condition.

    ``led`` says the same by the lists of pairs; the grants lead where there are few.
    """
    user, g, h = sql.bind(granted.user_id, "bigint"), sql.alias(), sql.alias()
    singly = f"{h}.user_id = {user} AND {h}.batch_pk = {batch} AND {h}.object_pk IS NOT NULL LIMIT {_FEW + 1}"
    many = f"(SELECT count(*) FROM (SELECT FROM grants {h} WHERE {singly}) AS few) > {_FEW}"
    test = sql.test(of, f"{g}.object_pk", f"{g}.batch_pk")
    wanted = f"{g}.user_id = {user} AND {g}.batch_pk = {batch} AND {g}.object_pk IS NOT NULL AND {test}"
    return (
        f"CASE WHEN {whole_batch(sql, granted, InOuterBatch(batch))} OR {many} THEN {led}"
        f" ELSE EXISTS (SELECT FROM grants {g} WHERE {wanted} OFFSET 0) END"
    )


def singly(sql: "Sql", granted: Granted, alias: str) -> str:
    """A SELECT, with a WHERE to go on, of the ``object_pk`` that are granted themselves."""
    user = sql.bind(granted.user_id, "bigint")
    return f"SELECT {alias}.object_pk FROM grants {alias} WHERE {alias}.user_id = {user} AND {alias}.object_pk > 0"


def batches(sql: "Sql", granted: Granted, narrow: "Narrow", direction: str) -> str:
    """A SELECT of the ``batch_pk`` that are granted or hold something that is, in this direction, each once."""
    user, g = sql.bind(granted.user_id, "bigint"), sql.alias()
    where = f"{g}.user_id = {user} AND {narrow(f'{g}.batch_pk')}"
    return f"SELECT DISTINCT {g}.batch_pk FROM grants {g} WHERE {where} ORDER BY {g}.batch_pk {direction} OFFSET 0"


def reach(sql: "Sql", granted: Granted, *, sample: int, seldom: int, never: int) -> str:
    """As that of other lists, a key: of the objects of granted batches together, 0 where there are few or none.

    Of few granted batches the newest objects are looked up. Of many the newest objects of all batches are looked at:
    where enough of them are granted it is ``never``, for the tenant's objects lead, and else ``seldom``.
    """
    user, h, o = sql.bind(granted.user_id, "bigint"), sql.alias(), sql.alias()
    batches = f"grants {h} WHERE {h}.user_id = {user} AND {h}.object_pk IS NULL"
    many = sql.choice(f"SELECT count(*) > {_FEW} AS it FROM (SELECT FROM {batches} LIMIT {_FEW + 1}) AS b")
    newest = f"SELECT {o}.id, {o}.batch_pk FROM objects {o} WHERE"
    all_newest = f"{newest} {sql.rows(o)} ORDER BY {o}.id DESC LIMIT {_NEWEST}"
    visible = f"(SELECT it FROM {many}) AND {test(sql, granted, 'n.id', 'n.batch_pk')}"
    seen = f"SELECT FROM ({all_newest}) AS n WHERE {visible} ORDER BY n.id DESC OFFSET {_ENOUGH - 1} LIMIT 1"
    of_batch = (
        f"{newest} {o}.tenant_id = {sql.tenant} AND {o}.batch_pk = {h}.batch_pk ORDER BY {o}.id DESC LIMIT {sample}"
    )
    of_few = (
        f"SELECT l.id FROM grants {h} CROSS JOIN LATERAL ({of_batch}) AS l WHERE {h}.user_id = {user}"
        f" AND {h}.object_pk IS NULL ORDER BY l.id DESC OFFSET {sample - 1} LIMIT 1"
    )
    return (
        f"CASE WHEN EXISTS ({seen}) THEN {never} WHEN (SELECT it FROM {many}) THEN {seldom}"
        f" ELSE coalesce(({of_few}), 0) END"
    )
