"""Local copies as they are read: pages of those that exist for somebody, and the one of each object.

A list has one index for each way to lead to it (the object, the batch, the source, the tenant), in which each state is
in the order of the keys; so that a page is merged from as many newest rows of each state. Who sees only what is granted
to him is led by the same list where enough of its newest rows are his, or where it is short; else by his grants.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from models import database, ids
from models.filters import Granted
from models.pages import Bounds, Page, Row, Scope
from models.sql import Sql
from models.sync import SyncState

_NEWEST = 1_000  # rows of a list that are looked at
_ENOUGH = 30  # of them

_COLUMNS = (
    "s.id, s.tenant_id, s.source_id, s.batch_pk, s.object_pk, s.file_name, s.file_type, s.state, s.queued_at, s.due_at,"
    " s.attempts, s.problem, s.error, s.path, s.size_bytes, s.sha256, s.etag, s.synced_at, c.name AS source"
)
_SOURCE = "JOIN sync_sources c ON c.tenant_id = s.tenant_id AND c.id = s.source_id"
_BATCH = "b.batch_id, b.created_by_id"
_SELECT_KEYS = "SELECT s.id, s.object_pk, s.batch_pk FROM syncs s"


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
    query = _Query(which, bounds)
    source = query.source(bounds.limit + 1)
    found = _select(f"({source}) AS k JOIN syncs s ON s.id = k.id")
    text = f"{found} WHERE s.tenant_id + 0 = {query.tenant} ORDER BY s.id {bounds.direction}"
    return bounds.page(await query.fetch(text))


async def count(which: Which) -> int:
    """Exact, and linear in the matches."""
    query = _Query(which, Bounds(0))
    [row] = await query.fetch(f"SELECT count(*) FROM ({query.source(None)}) AS k")
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


class _Query:
    """One statement: its sources are SELECTs of ``id``, ``object_pk`` and ``batch_pk``."""

    def __init__(self, which: Which, bounds: Bounds) -> None:
        self._which = which
        self._direction = bounds.direction
        self._sql = Sql(which.scope.tenant_id)
        uppers = [bounds.after, which.before and ids.first_key_from(which.before)]
        lowers = [bounds.before and bounds.before + 1, which.after and ids.first_key_after(which.after)]
        upper = min(one for one in (*uppers, ids.LARGEST) if one is not None)
        self._upper = self._sql.bind(upper, "bigint")  # below it
        self._lower = self._sql.bind(max(one for one in (*lowers, 0) if one is not None), "bigint")  # or it

    @property
    def tenant(self) -> str:
        return self._sql.tenant

    async def fetch(self, text: str) -> list[Row]:
        return await database.fetch(self._sql.statement(text), *self._sql.arguments)

    def source(self, limit: int | None) -> str:
        """The newest or the oldest; or all."""
        within = self._which.scope.within
        if not isinstance(within, Granted) or self._which.object_id is not None:
            return self._listed(self._visible(), limit)
        if limit is None:
            return self._by_grants(within, "true", limit)
        leads = self._leads(within, limit)
        listed = self._listed(f"{leads} AND {self._visible()}", limit)
        by_grants = self._by_grants(within, f"NOT {leads}", limit)
        return f"SELECT * FROM (({listed}) UNION ALL ({by_grants})) AS u {self._end(limit)}"

    def _leads(self, within: Granted, limit: int) -> str:
        """A boolean expression: the list leads to so many of what is granted in fewer steps than the grants do."""
        newest = self._sql.choice(self._listed("true", _NEWEST))
        visible = f"SELECT FROM {newest} AS n WHERE {self._sql.test(within, 'n.object_pk', 'n.batch_pk')}"
        seen = self._sql.choice(f"SELECT count(*) AS it FROM ({visible} LIMIT {_ENOUGH}) AS m")
        # Of as many as are seen of the newest, the list has a page in so many steps; the grants take one each.
        most = _NEWEST * limit
        grants = f"SELECT count(*) FROM (SELECT FROM grants g WHERE {self._mine(within)} LIMIT {most}) AS m"
        leads = self._sql.choice(
            f"SELECT CASE WHEN (SELECT count(*) FROM {newest}) < {_NEWEST} OR it = {_ENOUGH} THEN true"
            f" WHEN it = 0 THEN false ELSE it * ({grants}) >= {most} END AS it FROM {seen}"
        )
        return f"(SELECT it FROM {leads})"

    def _mine(self, within: Granted) -> str:
        mine = f"g.user_id = {self._sql.bind(within.user_id, 'bigint')}"
        return mine if self._which.batch_id is None else f"{mine} AND g.batch_pk = {self._batch()}"

    def _visible(self) -> str:
        return self._sql.test(self._which.scope.within, "s.object_pk", "s.batch_pk")

    def _listed(self, test: str, limit: int | None) -> str:
        """Those of the list that pass the test."""
        if self._which.object_id is not None:
            tests = [f"s.object_pk = {self._object()}", *self._source(), test]
            if self._which.batch_id is not None:
                tests.append(f"s.batch_pk + 0 = {self._batch()}")
            return f"SELECT * FROM ({self._of_object(tests)}) AS l {self._end(limit)}"
        if self._which.batch_id is None and self._which.source_id is None:
            return self._merged("s.tenant_id", self._sql.tenant, [test], limit)
        if self._which.batch_id is None:
            return self._merged("s.source_id", self._source_id(), [test], limit)
        if self._which.source_id is None:
            return self._merged("s.batch_pk", self._batch(), [test], limit)
        by_source = [f"s.batch_pk + 0 = {self._batch()}", self._source_is_short, test]
        by_batch = [*self._source(), f"NOT {self._source_is_short}", test]
        return (
            f"SELECT * FROM (({self._merged('s.source_id', self._source_id(), by_source, limit)})"
            f" UNION ALL ({self._merged('s.batch_pk', self._batch(), by_batch, limit)})) AS u {self._end(limit)}"
        )

    @cached_property
    def _source_is_short(self) -> str:
        """A boolean expression: the list of the source is, which then leads past that of a large batch."""
        newest = self._merged("s.source_id", self._source_id(), ["true"], _NEWEST)
        return f"(SELECT it FROM {self._sql.choice(f'SELECT count(*) < {_NEWEST} AS it FROM ({newest}) AS n')})"

    def _merged(self, lead: str, value: str, tests: list[str], limit: int | None) -> str:
        states, each = self._of_each_state(lead, value, tests, limit)
        return f"SELECT l.* FROM {states} CROSS JOIN LATERAL ({each}) AS l {self._end(limit)}"

    def _by_grants(self, within: Granted, test: str, limit: int | None) -> str:
        mine, end = f"{self._mine(within)} AND {test}", self._end(limit)
        singly = self._of_object(["s.object_pk = g.object_pk", *self._source()])
        states, each = self._of_each_state("s.batch_pk", "g.batch_pk", [*self._source()], limit)
        return (
            f"(SELECT l.* FROM grants g CROSS JOIN LATERAL ({singly}) AS l"
            f" WHERE {mine} AND g.object_pk IS NOT NULL {end})"
            f" UNION (SELECT l.* FROM grants g CROSS JOIN {states} CROSS JOIN LATERAL ({each}) AS l"
            f" WHERE {mine} AND g.object_pk IS NULL {end})"
        )

    def _of_each_state(self, lead: str, value: str, tests: list[str], limit: int | None) -> tuple[str, str]:
        """The states, and a SELECT of the newest of each, of those whose ``lead`` is the value.

        Whole rows are compared, and put in their order, so that one index only fits; and how many are wanted is hidden.
        The planner, which knows neither the tenant nor the source, would otherwise walk another index past everything
        there is, or read and sort all that fits because it takes it for less than is wanted.
        """
        row, direction = f"({lead}, s.state, s.id)", self._direction
        bounds = f"{row} >= ({value}, w.state, {self._lower}) AND {row} < ({value}, w.state, {self._upper})"
        order = f"ORDER BY {lead} {direction}, s.state {direction}, s.id {direction} LIMIT (SELECT {limit})"
        each = f"{_SELECT_KEYS} WHERE {' AND '.join([bounds, *tests])} {'' if limit is None else order}"
        return f"unnest({self._states()}) AS w (state)", each

    def _of_object(self, tests: list[str]) -> str:
        """All of one, which are few (and put in order afterwards, for the same reason)."""
        within = [f"s.id >= {self._lower}", f"s.id < {self._upper}", f"s.state || '' = ANY({self._states()})"]
        return f"{_SELECT_KEYS} WHERE {' AND '.join([*tests, *within])} OFFSET 0"

    def _end(self, limit: int | None) -> str:
        return "" if limit is None else f"ORDER BY id {self._direction} LIMIT {limit}"

    def _states(self) -> str:
        wanted = tuple(SyncState) if self._which.states is None else tuple(dict.fromkeys(self._which.states))
        return self._sql.bind(wanted, "text[]")

    def _source(self) -> Iterator[str]:
        """As an expression, which no index has: another part leads."""
        if self._which.source_id is not None:
            yield f"s.source_id + 0 = {self._source_id()}"

    def _source_id(self) -> str:
        return self._sql.bind(self._which.source_id, "bigint")

    def _batch(self) -> str:
        wanted = self._sql.bind(self._which.batch_id, "text")
        return f"(SELECT id FROM batches WHERE tenant_id = {self._sql.tenant} AND batch_id = {wanted})"

    def _object(self) -> str:
        wanted = self._sql.bind(self._which.object_id, "text")
        return f"(SELECT id FROM objects WHERE tenant_id = {self._sql.tenant} AND object_id = {wanted})"
