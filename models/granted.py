"""How grants become SQL: whether something is granted to a user, and the list of all objects that are.

A list is led to in one of three ways. Where the batch is given: by the batch if it is granted, else by the user's
grants to objects in it. Where not: by the grants, those to objects in key order and the newest objects of each batch;
or, where the user may see so many batches that most objects are visible anyway, by the objects themselves. Which of
these is found out before, see ``depths.py``.
"""

from typing import TYPE_CHECKING

from models.distinct import united
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


def source(sql: "Sql", granted: Granted, others: Condition, narrow: "Narrow", end: str, *, singly: bool) -> str:
    """A SELECT of the ``object_pk`` that are granted and pass the ``others``; ``singly`` leaves out granted batches."""
    user, g = sql.bind(granted.user_id, "bigint"), sql.alias()
    key = f"{g}.object_pk"
    tests = f"{sql.test(others, key, f'{g}.batch_pk')} AND {narrow(key)}"
    objects = f"SELECT {key} FROM grants {g} WHERE {g}.user_id = {user} AND {key} > 0 AND {tests} {end}"
    return objects if singly else with_batches(sql, granted, objects, others, narrow, end)


def with_batches(sql: "Sql", granted: Granted, objects: str, others: Condition, narrow: "Narrow", end: str) -> str:
    """The ``objects`` that are granted singly together with those of granted batches that pass the ``others``."""
    user, h, o = sql.bind(granted.user_id, "bigint"), sql.alias(), sql.alias()
    tests = f"{sql.test(others, f'{o}.id', f'{o}.batch_pk')} AND {narrow(f'{o}.id')}"
    newest = (
        f"SELECT {o}.id AS object_pk FROM objects {o} WHERE {o}.tenant_id = {sql.tenant}"
        f" AND {o}.batch_pk = {h}.batch_pk AND {tests} {end}"
    )
    batches = (
        f"SELECT l.object_pk FROM grants {h} CROSS JOIN LATERAL ({newest}) AS l"
        f" WHERE {h}.user_id = {user} AND {h}.object_pk IS NULL {end}"
    )
    return united([objects, batches], end)


def batches(sql: "Sql", granted: Granted, narrow: "Narrow", direction: str) -> str:
    """A SELECT of the ``batch_pk`` that are granted or hold something that is, in this direction, each once."""
    user, g = sql.bind(granted.user_id, "bigint"), sql.alias()
    where = f"{g}.user_id = {user} AND {narrow(f'{g}.batch_pk')}"
    return f"SELECT DISTINCT {g}.batch_pk FROM grants {g} WHERE {where} ORDER BY {g}.batch_pk {direction} OFFSET 0"


def reaches(sql: "Sql", granted: Granted, *, sample: int, never: int) -> tuple[str, str]:
    """As those of other lists, keys: of the objects themselves, read for what is granted, and of the grants.

    Of few granted batches the newest objects are looked up. Of many the newest objects of all batches are looked at:
    where enough of them are granted they lead, and the grants ``never``.
    """
    user, g, h, o = sql.bind(granted.user_id, "bigint"), sql.alias(), sql.alias(), sql.alias()
    batches = f"grants {h} WHERE {h}.user_id = {user} AND {h}.object_pk IS NULL"
    many = sql.choice(f"SELECT count(*) > {_FEW} AS it FROM (SELECT FROM {batches} LIMIT {_FEW + 1}) AS b")
    newest = f"SELECT {o}.id, {o}.batch_pk FROM objects {o} WHERE"
    all_newest = f"{newest} {sql.rows(o)} ORDER BY {o}.id DESC LIMIT {_NEWEST}"
    visible = f"(SELECT it FROM {many}) AND {test(sql, granted, 'n.id', 'n.batch_pk')}"
    seen = sql.choice(
        f"SELECT n.id FROM ({all_newest}) AS n WHERE {visible} ORDER BY n.id DESC OFFSET {_ENOUGH - 1} LIMIT 1"
    )
    singly = f"SELECT {g}.object_pk FROM grants {g} WHERE {g}.user_id = {user} AND {g}.object_pk > 0"
    hundredth = f"DESC OFFSET {sample - 1} LIMIT 1"
    of_batch = (
        f"{newest} {o}.tenant_id = {sql.tenant} AND {o}.batch_pk = {h}.batch_pk ORDER BY {o}.id DESC LIMIT {sample}"
    )
    of_few = (
        f"SELECT l.id FROM grants {h} CROSS JOIN LATERAL ({of_batch}) AS l WHERE {h}.user_id = {user}"
        f" AND {h}.object_pk IS NULL AND NOT (SELECT it FROM {many}) ORDER BY l.id {hundredth}"
    )
    thin = f"greatest(0, ({singly} ORDER BY {g}.object_pk {hundredth}), ({of_few}))"
    objects = f"coalesce((SELECT id FROM {seen}), {never})"
    return objects, f"CASE WHEN EXISTS (SELECT FROM {seen}) THEN {never} ELSE {thin} END"
