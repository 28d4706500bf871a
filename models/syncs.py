"""Local copies as they are read: pages of those that exist for somebody, and the one of each object.

A list has one index for each way to lead to it (the object, the batch, the source, the tenant), in which each state is
in the order of the keys; so that a page is merged from as many newest rows of each state. Who sees only what is granted
to him is led by the same list where enough of its newest rows are his, or where it is short; else by his grants.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from models import database, ids
from models.filters import Granted
from models.pages import Bounds, Page, Row, Scope
from models.sql import Narrow, Sql
from models.sync import SyncState

_NEWEST = 1_000  # rows of a list that are looked at
_ENOUGH = 30  # of them

_COLUMNS = (
    "s.id, s.tenant_id, s.source_id, s.batch_pk, s.object_pk, s.file_name, s.file_type, s.state, s.queued_at, s.due_at,"
    " s.attempts, s.problem, s.error, s.path, s.size_bytes, s.sha256, s.etag, s.synced_at, c.name AS source"
)
_SOURCE = "JOIN sync_sources c ON c.tenant_id = s.tenant_id AND c.id = s.source_id"
_BATCH = "b.batch_id, b.created_by_id"


@dataclass(frozen=True, slots=True)
class Which:
    """Which of those that exist for the scope. All that is given must hold; batch and object are the clients' ids."""

    scope: Scope
    states: tuple[SyncState, ...] | None = None
    source_id: int | None = None
    batch_id: str | None = None
    object_id: str | None = None
    after: datetime | None = None
    before: datetime | None = None


async def page(which: Which, bounds: Bounds) -> Page:
    """Newest first, by when a copy was first asked for. Of each the row, and what names its source and batch."""
    query = _Query(which, bounds.narrow)
    # Below a join of the keys that were found, whose order is asked for again: the planner may lose it.
    source = query.source(bounds.direction, bounds.limit + 1)
    text = f"{_select(f'({source}) AS k JOIN syncs s ON s.id = k.id')} ORDER BY s.id {bounds.direction}"
    return bounds.page(await query.fetch(text))


async def count(which: Which) -> int:
    """Exact, and linear in the matches."""
    query = _Query(which, lambda _: lambda _: "true")
    [row] = await query.fetch(f"SELECT count(*) FROM ({query.everything()}) AS k")
    return int(row["count"])


async def some(scope: Scope, keys: Sequence[int]) -> list[Row]:
    """By primary keys, in no order; those that exist for the scope, as pages have them."""
    sql = Sql(scope.tenant_id)
    wanted = sql.bind(tuple(keys), "bigint[]")
    seen = sql.test(scope.within, "s.object_pk", "s.batch_pk")
    text = f"{_select('syncs s')} WHERE s.tenant_id + 0 = {sql.tenant} AND s.id = ANY({wanted}) AND {seen}"
    return await database.fetch(sql.statement(text), *sql.arguments)


async def copies(tenant_id: int, objects: Sequence[int]) -> dict[int, Row]:
    """The local copy of each of the objects (primary keys) that has one: the newest SYNCED, else the newest."""
    rows = await database.fetch(
        "SELECT l.* FROM unnest($2::bigint[]) AS k (object_pk) CROSS JOIN LATERAL ("
        f"SELECT {_COLUMNS} FROM syncs s {_SOURCE} WHERE s.tenant_id + 0 = $1 AND s.object_pk = k.object_pk"
        " ORDER BY s.state = 'SYNCED' DESC, s.id DESC LIMIT 1) AS l",
        *(tenant_id, list(objects)),
    )
    return {row["object_pk"]: row for row in rows}


def _select(from_: str) -> str:
    return f"SELECT {_COLUMNS}, {_BATCH} FROM {from_} {_SOURCE} JOIN batches b ON b.id = s.batch_pk"


_End: TypeAlias = str  # ORDER BY and LIMIT, or empty


class _Query:
    """One statement: its sources are SELECTs of ``id``, ``object_pk`` and ``batch_pk``."""

    def __init__(self, which: Which, narrow: Callable[[Sql], Narrow]) -> None:
        self._which = which
        self._sql = Sql(which.scope.tenant_id)
        self._narrow = narrow(self._sql)
        self._states = self._sql.bind(tuple(dict.fromkeys(which.states or SyncState)), "text[]")

    async def fetch(self, text: str) -> list[Row]:
        return await database.fetch(self._sql.statement(text), *self._sql.arguments)

    def source(self, direction: str, limit: int) -> str:
        """In this direction of the keys, so many."""
        end = f"ORDER BY id {direction} LIMIT {limit}"
        within = self._which.scope.within
        if not isinstance(within, Granted) or self._which.object_id is not None:
            return self._listed(self._visible(), end)
        newest = self._sql.choice(self._listed("true", f"ORDER BY id {direction} LIMIT {_NEWEST}"))
        mine = f"SELECT FROM {newest} AS n WHERE {self._sql.test(within, 'n.object_pk', 'n.batch_pk')} LIMIT {_ENOUGH}"
        short = f"(SELECT count(*) FROM {newest}) < {_NEWEST}"
        leads = self._sql.choice(f"SELECT {short} OR (SELECT count(*) FROM ({mine}) AS m) = {_ENOUGH} AS it")
        listed = self._listed(f"(SELECT it FROM {leads}) AND {self._visible()}", end)
        by_grants = self._by_grants(within, f"NOT (SELECT it FROM {leads})", end)
        return f"SELECT * FROM (({listed}) UNION ALL ({by_grants})) AS u {end}"

    def everything(self) -> str:
        within = self._which.scope.within
        if isinstance(within, Granted) and self._which.object_id is None:
            return self._by_grants(within, "true", "")
        return self._listed(self._visible(), "")

    def _visible(self) -> str:
        return self._sql.test(self._which.scope.within, "s.object_pk", "s.batch_pk")

    def _listed(self, test: str, end: _End) -> str:
        """Those of the list that pass the test."""
        # What is of the object, batch or source is of the tenant, too; as an expression, as in grants.py.
        of_tenant = f"s.tenant_id + 0 = {self._sql.tenant}"
        if self._which.object_id is not None:
            lead, hidden = f"{of_tenant} AND s.object_pk = {self._object()}", [*self._state(), *self._source()]
            if self._which.batch_id is not None:
                hidden.append(f"s.batch_pk + 0 = {self._batch()}")
            return self._select("syncs s", [lead, *hidden, test], end)
        if self._which.batch_id is not None:
            tests = [of_tenant, f"s.batch_pk = {self._batch()}", *self._source(), test]
        elif self._which.source_id is not None:
            tests = [of_tenant, f"s.source_id = {self._sql.bind(self._which.source_id, 'bigint')}", test]
        else:
            tests = [f"s.tenant_id = {self._sql.tenant}", test]
        return self._of_each_state("", tests, end, "")

    def _by_grants(self, within: Granted, test: str, end: _End) -> str:
        user = self._sql.bind(within.user_id, "bigint")
        of_user = f"g.user_id = {user}"
        if self._which.batch_id is not None:
            of_user += f" AND g.batch_pk = {self._batch()}"
        # Those of single objects, few of each.
        singly = self._select("syncs s", ["s.object_pk = g.object_pk", *self._state(), *self._source(), test], end)
        objects = f"SELECT l.* FROM grants g CROSS JOIN LATERAL ({singly}) AS l"
        batches = self._of_each_state(
            "grants g CROSS JOIN",
            ["s.batch_pk = g.batch_pk", *self._source(), test],
            end,
            f"WHERE {of_user} AND g.object_pk IS NULL",
        )
        return f"({objects} WHERE {of_user} AND g.object_pk IS NOT NULL {end}) UNION ({batches})"

    def _of_each_state(self, around: str, tests: list[str], end: _End, where: str) -> str:
        each = self._select("syncs s", [*tests, "s.state = w.state"], end)
        states = f"unnest({self._states}) AS w (state)"
        return f"SELECT l.* FROM {around} {states} CROSS JOIN LATERAL ({each}) AS l {where} {end}"

    def _select(self, from_: str, tests: list[str], end: _End) -> str:
        all_ = " AND ".join([*tests, *self._created(), self._narrow("s.id")])
        return f"SELECT s.id, s.object_pk, s.batch_pk FROM {from_} WHERE {all_} {end}"

    def _created(self) -> Iterator[str]:
        if self._which.after is not None:
            yield f"s.id >= {self._sql.bind(ids.first_key_after(self._which.after), 'bigint')}"
        if self._which.before is not None:
            yield f"s.id < {self._sql.bind(ids.first_key_from(self._which.before), 'bigint')}"

    # As expressions, which no index has: another part leads.

    def _state(self) -> Iterator[str]:
        if self._which.states is not None:
            yield f"s.state || '' = ANY({self._states})"

    def _source(self) -> Iterator[str]:
        if self._which.source_id is not None:
            yield f"s.source_id + 0 = {self._sql.bind(self._which.source_id, 'bigint')}"

    def _batch(self) -> str:
        wanted = self._sql.bind(self._which.batch_id, "text")
        return f"(SELECT id FROM batches WHERE tenant_id = {self._sql.tenant} AND batch_id = {wanted})"

    def _object(self) -> str:
        wanted = self._sql.bind(self._which.object_id, "text")
        return f"(SELECT id FROM objects WHERE tenant_id = {self._sql.tenant} AND object_id = {wanted})"
