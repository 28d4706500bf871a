"""Drift reports: whose they are, what they have found so far, and how that is compared with the rows.

What buckets and directories have is listed into a table, because their order is not that of any index, and because a
key in a bucket may be several rows' file. One report of a source is made at a time, from the beginning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import orjson

from models import database, jobs
from models.pages import Row

HELD = timedelta(minutes=2)  # for which a report is somebody's, unless he says that he goes on
_FORGOTTEN = 50_000  # rows in one statement
_LOCKED = 100  # paths at once: each lock takes shared memory of PostgreSQL

# Looked up one by one, for PostgreSQL knows nothing yet of what was listed a moment ago. The tenant's column is kept
# from the index that begins with it.
_KNOWS_PATH = (
    "LEFT JOIN LATERAL (SELECT true AS there FROM syncs s WHERE s.tenant_id + 0 = $1 AND s.source_id = $2"
    " AND s.path = n.name LIMIT 1) AS k ON true LEFT JOIN LATERAL (SELECT true AS there FROM copy_deletions d"
    " WHERE d.tenant_id = $1 AND d.source_id = $2 AND d.path = n.name LIMIT 1) AS d ON true"
    " WHERE k.there IS NULL AND d.there IS NULL"
)


class ReportLost(Exception):
    """Somebody else makes the report, or PostgreSQL has forgotten what was listed."""


class Listed(StrEnum):
    KEY = "KEY"  # in the bucket of the source
    COPY = "COPY"  # in the destination
    # A first row of each report. PostgreSQL empties the table when it crashes: where this row is, all others are, too.
    MARK = "MARK"


class Entry(NamedTuple):
    """What was listed. The size is -1 of what is no file, and there is an ETag of keys alone."""

    name: str
    size: int
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A report that is ours to make."""

    source: Row  # id, tenant_id, tenant_slug, name, origin, destination
    held_by: UUID
    started_at: datetime
    asked_at: datetime | None  # null: nobody has asked the worker for it
    repair: bool
    verify: bool

    @property
    def of(self) -> tuple[int, int]:
        return self.source["tenant_id"], self.source["id"]


async def ask(tenant_id: int, source_id: int, *, repair: bool, verify: bool) -> None:
    """Have the worker make one. Of several that nobody has made yet there is one, which does all that they ask for."""
    async with database.transaction():
        await database.execute(
            "INSERT INTO drift_reports AS d (source_id, tenant_id, asked_at, repair, verify)"
            " VALUES ($2, $1, date_trunc('milliseconds', now()), $3, $4) ON CONFLICT (source_id) DO UPDATE"
            " SET asked_at = excluded.asked_at, repair = excluded.repair OR (d.asked_at IS NOT NULL AND d.repair),"
            " verify = excluded.verify OR (d.asked_at IS NOT NULL AND d.verify)",
            *(tenant_id, source_id, repair, verify),
        )
        await jobs.add(jobs.DRIFT)


async def take_asked(*, directories: bool) -> Held | None:
    """The one that was asked for longest ago and nobody makes; without ``directories`` of sources that need none."""
    rows = await database.fetch(
        "UPDATE drift_reports d SET held_by = $1, held_until = now() + $2::interval FROM sync_sources s, tenants t"
        " WHERE d.source_id = (SELECT r.source_id FROM drift_reports r JOIN sync_sources o ON o.id = r.source_id"
        " JOIN tenants n ON n.id = r.tenant_id WHERE r.asked_at IS NOT NULL AND n.revoked_at IS NULL"
        " AND (r.held_until IS NULL OR r.held_until <= now()) AND ($3 OR NOT o.destination ? 'directory')"
        " ORDER BY r.asked_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED) AND s.id = d.source_id AND t.id = d.tenant_id"
        " RETURNING s.id, s.tenant_id, t.slug AS tenant_slug, s.name, s.origin, s.destination, d.held_by, d.asked_at,"
        " d.repair, d.verify, now() AS started_at",
        *(uuid4(), HELD, directories),
    )
    if not rows:
        return None
    [row] = rows
    return Held(row, row["held_by"], row["started_at"], row["asked_at"], repair=row["repair"], verify=row["verify"])


async def take(source: Row, *, repair: bool, verify: bool) -> Held | None:
    """That of this source, whether anybody has asked for it or not; None while somebody else makes it."""
    held_by = uuid4()
    rows = await database.fetch(
        "INSERT INTO drift_reports AS d (source_id, tenant_id, repair, verify, held_by, held_until)"
        " VALUES ($2, $1, false, false, $3, now() + $4::interval) ON CONFLICT (source_id) DO UPDATE"
        " SET held_by = excluded.held_by, held_until = excluded.held_until"
        " WHERE d.held_until IS NULL OR d.held_until <= now() RETURNING now() AS started_at",
        *(source["tenant_id"], source["id"], held_by, HELD),
    )
    return Held(source, held_by, rows[0]["started_at"], None, repair=repair, verify=verify) if rows else None


async def begin(held: Held) -> None:
    """Nothing is listed then: another one may have been broken off."""
    await _forget(held)
    await add(held, Listed.MARK, [Entry("", 0)])


async def keep(held: Held) -> None:
    """It stays ours for a while, if it is."""
    await database.execute(
        "UPDATE drift_reports SET held_until = now() + $4::interval"
        " WHERE tenant_id = $1 AND source_id = $2 AND held_by = $3",
        *(*held.of, held.held_by, HELD),
    )


async def go_on(held: Held) -> None:
    """As ``keep``; raises ReportLost where it is not ours, or what was listed is not there any more."""
    if not await database.execute(
        "UPDATE drift_reports SET held_until = now() + $4::interval WHERE tenant_id = $1 AND source_id = $2"
        " AND held_by = $3 AND EXISTS (SELECT FROM drift_found WHERE source_id = $2 AND place = 'MARK')",
        *(*held.of, held.held_by, HELD),
    ):
        raise ReportLost


async def finish(held: Held, report: Mapping[str, Any]) -> None:
    """Raises ReportLost. What was asked for meanwhile is still to be made."""
    await _forget(held)
    if not await database.execute(
        "UPDATE drift_reports SET checked_at = date_trunc('milliseconds', now()), report = $4::jsonb, held_by = NULL,"
        " held_until = NULL, asked_at = CASE WHEN asked_at = $5 THEN NULL ELSE asked_at END"
        " WHERE tenant_id = $1 AND source_id = $2 AND held_by = $3",
        *(*held.of, held.held_by, orjson.dumps(report).decode(), held.asked_at),
    ):
        raise ReportLost


async def let_go(held: Held) -> None:
    """Somebody else may begin anew at once; nothing is done where it is finished."""
    await database.execute(
        "UPDATE drift_reports SET held_by = NULL, held_until = NULL"
        " WHERE tenant_id = $1 AND source_id = $2 AND held_by = $3",
        *(*held.of, held.held_by),
    )


async def latest(tenant_id: int, keys: Sequence[int]) -> dict[int, Row]:
    """``asked_at``, ``checked_at`` and ``report`` by source, of those that have one or wait for one."""
    rows = await database.fetch(
        "SELECT source_id, asked_at, checked_at, report FROM drift_reports"
        " WHERE tenant_id = $1 AND source_id = ANY($2::bigint[])",
        *(tenant_id, list(keys)),
    )
    return {row["source_id"]: row for row in rows}


async def add(held: Held, place: Listed, entries: Sequence[Entry]) -> None:
    records = [(held.source["id"], place.value, *entry) for entry in entries]
    await database.copy("drift_found", ("source_id", "place", "name", "size_bytes", "etag"), records)


async def _forget(held: Held) -> None:
    while await database.execute(
        "DELETE FROM drift_found WHERE ctid = ANY(ARRAY(SELECT ctid FROM drift_found WHERE source_id = $1 LIMIT $2))",
        *(held.source["id"], _FORGOTTEN),
    ):
        pass


async def forget_broken_off() -> int:
    """Some of what was listed for reports that nobody makes any more; how much."""
    return await database.execute(
        "DELETE FROM drift_found WHERE ctid = ANY(ARRAY(SELECT f.ctid FROM drift_found f JOIN drift_reports r"
        " ON r.source_id = f.source_id WHERE r.held_until IS NULL OR r.held_until <= now() LIMIT $1))",
        _FORGOTTEN,
    )


async def untold(held: Held, files: Sequence[tuple[str, str, str]]) -> list[int]:
    """The places in this list of files, by oeid, ref_id and name, that no row is about."""
    columns = map(list, zip(*files, strict=True))
    rows = await database.fetch(
        "SELECT n.place - 1 AS place FROM unnest($3::text[], $4::text[], $5::text[]) WITH ORDINALITY"
        # The first one that is not before it, by an index in that order: "=" would offer another one, with the tenant.
        " AS n (oeid, ref_id, name, place) LEFT JOIN LATERAL (SELECT id, object_id FROM objects"
        " WHERE tenant_id = $1 AND object_id >= n.ref_id ORDER BY object_id LIMIT 1) AS o ON o.object_id = n.ref_id"
        " LEFT JOIN LATERAL (SELECT true AS there FROM syncs s JOIN batches b ON b.id = s.batch_pk"
        " WHERE s.tenant_id + 0 = $1 AND s.source_id = $2 AND s.object_pk = o.id AND s.file_name = n.name"
        " AND b.batch_id = n.oeid LIMIT 1) AS k ON true WHERE k.there IS NULL",
        *(*held.of, *columns),
    )
    return [row["place"] for row in rows]


async def strangers(held: Held, paths: Sequence[str]) -> list[str]:
    """Those that no row knows, nor who deletes copies."""
    asked = f"SELECT n.name FROM unnest($3::text[]) AS n (name) {_KNOWS_PATH}"
    found = [row["name"] for row in await database.fetch(asked, *held.of, list(paths))]
    sure: list[str] = []
    for begin_ in range(0, len(found), _LOCKED):
        some = found[begin_ : begin_ + _LOCKED]
        async with database.transaction():
            # A file that gets its name just now has none in its row before the end of a transaction (copying._alone).
            await database.fetch(
                "SELECT pg_advisory_xact_lock(hashtextextended(p, $1))"
                " FROM (SELECT p FROM unnest($2::text[]) AS p ORDER BY p OFFSET 0) AS p",
                *(held.source["id"], some),
            )
            sure += [row["name"] for row in await database.fetch(asked, *held.of, some)]
    return sure


async def compared(held: Held, prefix: str, after: tuple[int, str], most: int) -> list[Row]:
    """Rows of the source, whatever their state, and what was listed of them: ``copy_size``, ``key_size``,
    ``key_etag``, null where there is nothing.

    ``is_settled`` are those that were SYNCED when the report was begun. In the order of ``object_pk`` and
    ``file_name``, from behind those of ``after``. The prefix is the source's, with its placeholders.
    """
    key = "replace(replace($7::text, '{oeid}', b.batch_id), '{ref_id}', o.object_id)"  # as Location.key makes it
    return await database.fetch(
        "WITH page AS MATERIALIZED (SELECT id, batch_pk, object_pk, file_name, path, size_bytes, sha256, etag,"
        " state = 'SYNCED' AND synced_at < $6 AS is_settled FROM syncs WHERE tenant_id + 0 = $1 AND source_id = $2"
        " AND (object_pk, file_name) > ($3, $4) ORDER BY object_pk, file_name LIMIT $5)"
        " SELECT p.*, b.batch_id, o.object_id, c.size_bytes AS copy_size, k.size_bytes AS key_size, k.etag AS key_etag"
        " FROM page p JOIN objects o ON o.id = p.object_pk JOIN batches b ON b.id = p.batch_pk"
        " LEFT JOIN LATERAL (SELECT size_bytes FROM drift_found WHERE source_id = $2 AND place = 'COPY'"
        " AND name = p.path LIMIT 1) AS c ON true"
        " LEFT JOIN LATERAL (SELECT size_bytes, etag FROM drift_found WHERE source_id = $2 AND place = 'KEY'"
        f" AND name = {key} || p.file_name LIMIT 1) AS k ON true ORDER BY p.object_pk, p.file_name",
        *(*held.of, *after, most, held.started_at, prefix),
    )


async def queue(held: Held, syncs: Sequence[int]) -> int:
    """Have them (primary keys) copied again that are as the report found them; how many. Their copies stay so long."""
    return await database.execute(
        "UPDATE syncs SET state = 'QUEUED', queued_at = date_trunc('milliseconds', now()), due_at = now(),"
        " attempts = 0, problem = NULL, error = NULL WHERE tenant_id = $1 AND id = ANY(ARRAY("
        "SELECT id FROM syncs WHERE tenant_id = $1 AND source_id = $2 AND id = ANY($3::bigint[])"
        " AND state = 'SYNCED' AND synced_at < $4 ORDER BY id FOR UPDATE))",
        *(*held.of, list(syncs), held.started_at),
    )
