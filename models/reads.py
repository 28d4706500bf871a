"""Everything that is read of batches and objects, each question one statement."""

from collections.abc import Sequence

from models import database
from models.filters import All, Condition, HasObjectId, InOuterBatch
from models.pages import Bounds, Page, Row, Scope
from models.sql import Sql

MOST_CHARACTERS = 64_000_000  # of data in one answer of the database

_OBJECT = (
    "o.id, o.object_id, {data} AS data, o.updated_at, o.batch_pk, b.batch_id, b.created_by_id"
    " FROM {source} JOIN objects o ON o.id = s.object_pk JOIN batches b ON b.id = o.batch_pk"
)
_NO_DATA = "'[]'::jsonb"
# A hundred pages of a hundred objects of a megabyte: what goes beyond is null, and refused if it is asked for.
_SOME_DATA = (
    f"CASE WHEN sum(length(o.data::text)) OVER (ORDER BY o.id DESC ROWS UNBOUNDED PRECEDING) <= {MOST_CHARACTERS}"
    " THEN o.data END"
)


async def objects(scope: Scope, where: Condition, bounds: Bounds, *, with_data: bool = True) -> Page:
    """One page of objects, newest first; ``data`` of each is empty unless it is asked for."""
    sql = Sql(scope.tenant_id)
    source = sql.source(All((scope.within, where)), bounds.narrow(sql), bounds.order("object_pk"))
    select = _OBJECT.format(data="o.data" if with_data else _NO_DATA, source=f"({source}) AS s")
    return bounds.page(await _fetch(sql, f"SELECT {select} ORDER BY o.id {bounds.direction}"))


async def objects_of_batches(
    scope: Scope, batches: Sequence[int], where: Condition, bounds: Bounds, *, with_data: bool = True
) -> dict[int, Page]:
    """The same page of each of several batches (primary keys).

    ``data`` is empty unless it is asked for, and null where all of them have more than MOST_CHARACTERS.
    """
    sql = Sql(scope.tenant_id)
    outer = sql.bind(tuple(batches), "bigint[]")
    condition = All((scope.within, InOuterBatch("k.outer_pk"), where))
    source = sql.source(condition, bounds.narrow(sql), bounds.order("object_pk"))
    lateral = f"unnest({outer}) AS k (outer_pk) CROSS JOIN LATERAL ({source}) AS s"
    select = _OBJECT.format(data=_SOME_DATA if with_data else _NO_DATA, source=lateral)
    rows: dict[int, list[Row]] = {batch: [] for batch in batches}
    for row in await _fetch(sql, f"SELECT {select} ORDER BY o.id {bounds.direction}"):
        rows[row["batch_pk"]].append(row)
    return {batch: bounds.page(of) for batch, of in rows.items()}


async def count_objects(scope: Scope, where: Condition) -> int:
    """Exact, and linear in the matches: 20 ms per 100,000."""
    sql = Sql(scope.tenant_id)
    source = sql.source(All((scope.within, where)), _anywhere, "")
    [row] = await _fetch(sql, f"SELECT count(*) FROM ({source}) AS s")
    return int(row["count"])


async def count_objects_of_batches(scope: Scope, batches: Sequence[int], where: Condition) -> dict[int, int]:
    sql = Sql(scope.tenant_id)
    outer = sql.bind(tuple(batches), "bigint[]")
    source = sql.source(All((scope.within, InOuterBatch("k.outer_pk"), where)), _anywhere, "")
    text = f"SELECT k.outer_pk, (SELECT count(*) FROM ({source}) AS s) FROM unnest({outer}) AS k (outer_pk)"
    return {row["outer_pk"]: row["count"] for row in await _fetch(sql, text)}


async def batches(scope: Scope, where: Condition, bounds: Bounds) -> Page:
    """One page of batches, newest first."""
    sql = Sql(scope.tenant_id)
    text = f"SELECT {_batch(sql, scope, where)} AND {bounds.narrow(sql)('b.id')} {bounds.order('b.id')}"
    return bounds.page(await _fetch(sql, text))


async def count_batches(scope: Scope, where: Condition) -> int:
    sql = Sql(scope.tenant_id)
    [row] = await _fetch(sql, f"SELECT count(*) FROM (SELECT {_batch(sql, scope, where)}) AS s")
    return int(row["count"])


def _batch(sql: Sql, scope: Scope, where: Condition) -> str:
    test = sql.test(All((scope.within, where)), "b.id", "b.id")
    return f"b.id, b.batch_id, b.created_by_id FROM batches b WHERE b.tenant_id = {sql.tenant} AND {test}"


async def visible_object_ids(scope: Scope, object_ids: Sequence[str]) -> Sequence[Row]:
    """``object_id`` of those among the given that exist for the scope, however many."""
    sql = Sql(scope.tenant_id)
    source = sql.source(All((scope.within, HasObjectId(tuple(object_ids)))), _anywhere, "")
    text = f"SELECT o.object_id FROM ({source}) AS s JOIN objects o ON o.id = s.object_pk"
    return await _fetch(sql, text)


async def _fetch(sql: Sql, text: str) -> list[Row]:
    return await database.fetch(sql.statement(text), *sql.arguments)


def _anywhere(_: str) -> str:
    return "true"
