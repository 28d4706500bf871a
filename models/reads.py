"""Everything that is read of batches and objects, each question one statement.

Before it another may ask which of several lists lead to the answer, see ``depths.py``.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from models import database, depths, driven, files, granted
from models.driving import flat
from models.filters import All, Condition, Granted, HasBatchId, HasKey, HasObject, HasObjectId, InOuterBatch
from models.pages import Bounds, Page, Row, Scope
from models.sql import Narrow, Sql

MOST_CHARACTERS = 64_000_000  # of data in one answer of the database
_MANY = 500  # objects; no list should have so many in one page, but whoever asks by their keys may

_OBJECTS = "AS s JOIN objects o ON o.id = s.object_pk"  # of a source
# Looked up for each object (OFFSET 0 sees to it): there is no other way that planning could find.
_BATCH = (
    " JOIN LATERAL (SELECT b.batch_id, b.created_by_id FROM batches b WHERE b.id = o.batch_pk OFFSET 0) AS b ON true"
)
_FILE = " LEFT JOIN LATERAL (SELECT {} FROM uploads u WHERE u.object_pk = o.id AND u.is_current OFFSET 0) AS u ON true"
# A hundred pages of a hundred objects of a megabyte: what goes beyond is null, and refused if it is asked for.
_SOME_DATA = (
    f"CASE WHEN sum(length(o.data::text)) OVER (ORDER BY o.id DESC ROWS UNBOUNDED PRECEDING) <= {MOST_CHARACTERS}"
    " THEN o.data END"
)


class Parts(NamedTuple):
    """What is read of each object beside itself; ``data`` is an empty list and ``file_...`` null otherwise.

    Without ``batch`` nothing of it is there but its key. Of a file only ``columns`` are there, where some are named.
    ``updated_at`` is there if ``updated``: asyncpg takes longer to make a datetime than all else of a row.
    """

    data: bool = True
    file: bool = True
    batch: bool = True
    columns: frozenset[str] = frozenset()
    updated: bool = True

    def of(self, objects: str, data: str = "o.data") -> str:
        """A SELECT and FROM clause: of the objects ``o`` of a FROM clause."""
        columns, joined = _columns(self, data)
        return f"SELECT {columns} FROM {objects}{joined}"


@lru_cache(256)
def _columns(parts: Parts, data: str) -> tuple[str, str]:
    columns = (
        "o.id, o.object_id, o.batch_pk",
        "o.updated_at" if parts.updated else "",
        "b.*" if parts.batch else "",
        f"{data if parts.data else _NO_DATA} AS data",
        "u.*" if parts.file else files.NO_COLUMNS if parts.batch else "",
    )
    file = _FILE.format(files.some_columns(parts.columns)) if parts.file else ""
    return ", ".join(filter(None, columns)), (_BATCH if parts.batch else "") + file


_NO_DATA = "'[]'::jsonb"
_ALL = Parts()


async def objects(scope: Scope, where: Condition, bounds: Bounds, parts: Parts = _ALL) -> Page:
    """One page of objects, newest first; of very many, ``data`` is null beyond MOST_CHARACTERS of all of it."""
    condition = All((scope.within, where))
    if not flat(condition):
        return await _all_objects(scope, bounds, parts)
    sql = await depths.sql(scope, condition)
    if begins := depths.beginning(scope, condition, sql, bounds):
        rows = await _some_objects(begins, condition, bounds, parts)
        if len(rows) > bounds.limit:
            return bounds.page(rows)
        depths.was_too_short(scope, condition, bounds)
    return bounds.page(await _some_objects(sql, condition, bounds, parts))


async def _some_objects(sql: Sql, condition: Condition, bounds: Bounds, parts: Parts) -> list[Row]:
    source = f"({driven.source(sql, condition, bounds.narrow(sql), bounds.order('object_pk'))}) {_OBJECTS}"
    return await _fetch(sql, f"{_of(parts, source, bounds)} ORDER BY o.id {bounds.direction}")


async def _all_objects(scope: Scope, bounds: Bounds, parts: Parts) -> Page:
    keys = [key for key in (bounds.after, bounds.before) if key is not None]
    after, before = (None if key is None else some for key, some in ((bounds.after, -1), (bounds.before, -2)))
    text = _all_text(parts, Bounds(bounds.limit, bounds.backward, after, before))
    return bounds.page(await database.fetch(text, scope.tenant_id, *keys))


@lru_cache(1_000)
def _all_text(parts: Parts, bounds: Bounds) -> str:
    """Of a statement. Its arguments are the tenant and the keys among the bounds, of which there are any here."""
    sql = Sql(0, is_open=False)
    newest = f"objects o WHERE {sql.rows('o')} AND {bounds.narrow(sql)('o.id')} {bounds.order('o.id')}"
    if not (parts.batch or parts.file):
        return sql.statement(parts.of(newest))
    select = _of(parts, f"(SELECT o.* FROM {newest}) AS o", bounds)
    return sql.statement(f"{select} ORDER BY o.id {bounds.direction}")


def _of(parts: Parts, source: str, bounds: Bounds) -> str:
    return parts.of(source, data=_SOME_DATA if bounds.limit > _MANY else "o.data")


async def object_with_id(scope: Scope, object_id: str, parts: Parts = _ALL) -> Row | None:
    """The one object of this id of the client's, if it exists for the scope."""
    text, arguments = _one(scope, parts)
    rows = await database.fetch(text, object_id, *arguments)
    return rows[0] if rows else None


@lru_cache(1_000)
def _one(scope: Scope, parts: Parts) -> tuple[str, list[object]]:
    """A statement, and its arguments beside the first, which is an object's id."""
    sql = Sql(scope.tenant_id, is_open=False)
    wanted = f"o.object_id = {sql.bind('', 'text')} AND o.tenant_id = {sql.some_tenant}"
    seen = sql.test(scope.within, "o.id", "o.batch_pk")
    return sql.statement(f"{parts.of('objects o')} WHERE {wanted} AND {seen}"), sql.arguments[1:]


async def objects_with_ids(scope: Scope, object_ids: Collection[str], parts: Parts) -> dict[str, Row]:
    """Those of them that exist for the scope, by their ids."""
    sql = Sql(scope.tenant_id, is_open=False)
    wanted = f"o.tenant_id = {sql.some_tenant} AND o.object_id = ANY({sql.bind(tuple(object_ids), 'text[]')})"
    seen = sql.test(scope.within, "o.id", "o.batch_pk")
    rows = await _fetch(sql, f"{parts.of('objects o')} WHERE {wanted} AND {seen}")
    return {row["object_id"]: row for row in rows}


async def objects_of_batches(
    scope: Scope, batches: Sequence[int], where: Condition, bounds: Bounds, parts: Parts = _ALL
) -> dict[int, Page]:
    """The same page of each of several batches (primary keys); ``data`` is null beyond MOST_CHARACTERS of all of it."""
    condition = All((scope.within, InOuterBatch("k.outer_pk"), where))
    sql = await depths.sql(scope, condition)
    outer = sql.bind(tuple(batches), "bigint[]")
    source = driven.source(sql, condition, bounds.narrow(sql), bounds.order("object_pk"))
    of_each = f"unnest({outer}) AS k (outer_pk) CROSS JOIN LATERAL ({source}) {_OBJECTS}"
    select = parts.of(of_each, data=_SOME_DATA)
    rows: dict[int, list[Row]] = {batch: [] for batch in batches}
    for row in await _fetch(sql, f"{select} ORDER BY o.id {bounds.direction}"):
        rows[row["batch_pk"]].append(row)
    return {batch: bounds.page(of) for batch, of in rows.items()}


async def count_objects(scope: Scope, where: Condition) -> int:
    """Exact, and linear in the matches: 20 ms per 100,000."""
    condition = All((scope.within, where))
    sql = await depths.sql(scope, condition)
    source = driven.source(sql, condition, _anywhere, "")
    [row] = await _fetch(sql, f"SELECT count(*) FROM ({source}) AS s")
    return int(row["count"])


async def count_objects_of_batches(scope: Scope, batches: Sequence[int], where: Condition) -> dict[int, int]:
    condition = All((scope.within, InOuterBatch("k.outer_pk"), where))
    sql = await depths.sql(scope, condition)
    outer = sql.bind(tuple(batches), "bigint[]")
    source = driven.source(sql, condition, _anywhere, "")
    text = f"SELECT k.outer_pk, (SELECT count(*) FROM ({source}) AS s) FROM unnest({outer}) AS k (outer_pk)"
    return {row["outer_pk"]: row["count"] for row in await _fetch(sql, text)}


async def batches(scope: Scope, where: Condition, bounds: Bounds) -> Page:
    """One page of batches, newest first."""
    sql = await depths.sql(scope, where)
    text = f"SELECT {_batches(sql, scope, where, bounds.narrow(sql), bounds.direction)} {bounds.order('b.id')}"
    return bounds.page(await _fetch(sql, text))


async def count_batches(scope: Scope, where: Condition) -> int:
    sql = await depths.sql(scope, where)
    [row] = await _fetch(sql, f"SELECT count(*) FROM (SELECT {_batches(sql, scope, where, _anywhere, 'DESC')}) AS s")
    return int(row["count"])


def _batches(sql: Sql, scope: Scope, where: Condition, narrow: Narrow, direction: str) -> str:
    """Columns, FROM and WHERE. Where grants are all that somebody may see, they lead to it."""
    parts = flat(where)
    within = scope.within
    seen = [replace(part, within=within) if isinstance(part, HasObject) else part for part in parts]
    by_id = any(isinstance(part, HasKey | HasBatchId) for part in parts)
    if isinstance(within, Granted) and not by_id:
        source = f"({granted.batches(sql, within, narrow, direction)}) AS s JOIN batches b ON b.id = s.batch_pk"
    else:
        source, seen = "batches b", [within, *seen]
    test = sql.test(All(tuple(seen)), "b.id", "b.id")
    return f"b.id, b.batch_id, b.created_by_id FROM {source} WHERE {sql.rows('b')} AND {test} AND {narrow('b.id')}"


async def visible_object_ids(scope: Scope, object_ids: Sequence[str]) -> Sequence[Row]:
    """``id``, ``object_id``, ``batch_pk`` of those among the given that exist for the scope, however many."""
    sql = Sql(scope.tenant_id, is_open=False)
    source = driven.source(sql, All((scope.within, HasObjectId(tuple(object_ids)))), _anywhere, "")
    text = f"SELECT o.id, o.object_id, o.batch_pk FROM ({source}) AS s JOIN objects o ON o.id = s.object_pk"
    return await _fetch(sql, text)


async def _fetch(sql: Sql, text: str) -> list[Row]:
    return await database.fetch(sql.statement(text), *sql.arguments)


def _anywhere(_: str) -> str:
    return "true"
