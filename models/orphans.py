"""Bytes that no row knows: found by comparing what a scan has listed, and what becomes of them.

A key is known as long as a row answers for its bytes: an upload that has not ended, or a deletion, which is there from
then on until no request can bring them any more. The row of an upload that has ended stays, but nobody acts on it.
"""

from collections.abc import Sequence
from datetime import timedelta

from models import database
from models.pages import Row
from models.reaper import OrphanState, ScanStep
from models.scans import Held, go_on

# No URL works longer than a week after its signature, whatever the settings were then; a request that began in time may
# bring its bytes for a day (as `deletion_until` has it), and clocks differ.
LEAST_AGE = timedelta(days=8, minutes=10)
BETWEEN_SIGHTINGS = timedelta(hours=12)  # a moment in which the database was not itself is over by then
_HELD = timedelta(minutes=10)  # for which an orphan is somebody's to move
_LONGEST_BACKOFF = timedelta(hours=1)
_REMEMBERED = timedelta(days=90)


def known(bucket: str, key: str, multipart_id: str) -> str:
    """Whether a row knows an object, or an unfinished upload in parts by its id (expressions in SQL).

    S3 may have begun more than one for a key: the SDK asks again where an answer is lost.
    """
    # OFFSET 0 keeps each a look-up in an index: the planner would rather read the whole table.
    return (
        f"(EXISTS (SELECT FROM uploads u WHERE u.bucket = {bucket} AND u.key = {key} AND u.state <> 'EXPIRED'"
        f" AND {multipart_id} IN ('', u.multipart_id) OFFSET 0)"
        f" OR EXISTS (SELECT FROM deletions d WHERE d.bucket = {bucket} AND d.key = {key}"
        f" AND {multipart_id} IN ('', d.multipart_id) OFFSET 0))"
    )


_IS_KNOWN = known("o.bucket", "o.key", "o.multipart_id")


def _ripe(age: str, between: str) -> str:
    return (
        f"o.state = 'SEEN' AND o.sightings >= 2 AND o.modified_at < now() - {age}::interval"
        f" AND o.first_seen_at < now() - {between}::interval"
    )


async def note(held: Held, most: int) -> bool:
    """Notes what no row knows of the next so many that were listed; whether there are more. Raises ScanLost.

    Keys of no tenant of ours are somebody else's, who uses the same bucket: counted for the scan's figures, and left
    alone.
    """
    async with database.transaction():
        rows = await database.fetch(
            "SELECT key, multipart_id FROM reaper_keys WHERE scan_id = $1 AND (key, multipart_id) > ($2, $3)"
            " ORDER BY key, multipart_id OFFSET $4 LIMIT 1",
            *(held.id, held.cursor, held.cursor_id, most - 1),
        )
        last = (rows[0]["key"], rows[0]["multipart_id"]) if rows else None
        [figures] = await database.fetch(_NOTED, held.id, held.bucket, held.cursor, held.cursor_id, *last or _THE_END)
        await go_on(held, ScanStep.ROWS, *last or (held.cursor, held.cursor_id), figures=dict(figures))
    return last is not None


def _tenant(key: str) -> str:
    """The slug in a key of our form."""
    return f"split_part({key}, '/', 2)"


_THE_END = (None, None)
_SAME = (
    "(o.state <> 'DELETED' AND (o.size_bytes, o.etag, o.modified_at)"
    " = (excluded.size_bytes, excluded.etag, excluded.modified_at))"
)
_NOTED = (
    "WITH listed AS (SELECT DISTINCT ON (key, multipart_id) * FROM reaper_keys"
    " WHERE scan_id = $1 AND (key, multipart_id) > ($3, $4)"
    " AND ($5::text IS NULL OR (key, multipart_id) <= ($5, $6::text)) ORDER BY key, multipart_id),"
    f" unknown AS (SELECT s.*, EXISTS (SELECT FROM tenants t WHERE t.slug = {_tenant('s.key')} OFFSET 0) AS is_ours"
    f" FROM listed s WHERE NOT {known('$2', 's.key', 's.multipart_id')}),"
    " noted AS (INSERT INTO orphans AS o (bucket, key, multipart_id, size_bytes, etag, modified_at, first_seen_at,"
    " sightings, scan_id, state, state_at, due_at)"
    " SELECT $2, key, multipart_id, size_bytes, etag, modified_at, now(), 1, $1, 'SEEN', now(), now()"
    " FROM unknown WHERE is_ours ON CONFLICT (bucket, key, multipart_id) DO UPDATE SET"
    f" sightings = CASE WHEN {_SAME} THEN o.sightings + 1 ELSE 1 END,"
    f" first_seen_at = CASE WHEN {_SAME} THEN o.first_seen_at ELSE now() END,"
    " size_bytes = excluded.size_bytes, etag = excluded.etag, modified_at = excluded.modified_at,"
    " scan_id = excluded.scan_id, state = CASE o.state WHEN 'DELETED' THEN 'SEEN' ELSE o.state END"
    # What is on its way somewhere is noted when it is there; a scan counts once.
    " WHERE o.state IN ('SEEN', 'RESTORED', 'DELETED') AND o.scan_id <> excluded.scan_id)"
    " SELECT count(*) FILTER (WHERE multipart_id = '') AS foreign_keys,"
    " coalesce(sum(size_bytes), 0)::bigint AS foreign_bytes,"
    " count(*) FILTER (WHERE multipart_id <> '') AS foreign_multiparts FROM unknown WHERE NOT is_ours"
)


async def forget_gone(held: Held) -> None:
    """Those that the scan has not found any more, or that a row knows by now; and what is long over."""
    await database.execute(
        "DELETE FROM orphans WHERE bucket = $1 AND state IN ('SEEN', 'RESTORED') AND scan_id <> $2 AND state_at < $3",
        *(held.bucket, held.id, held.started_at),
    )
    await database.execute(
        "DELETE FROM orphans WHERE bucket = $1 AND state = 'DELETED' AND state_at < now() - $2::interval",
        *(held.bucket, _REMEMBERED),
    )


async def claim(most: int, window: timedelta) -> list[Row]:
    """Up to so many of each kind to do something about now, and their states say what. Nobody else is given them.

    That is what somebody has left undone, those seen long enough, and those in quarantine for longer than ``window``.
    """
    next_ones = "ORDER BY o.due_at LIMIT $1 FOR UPDATE SKIP LOCKED"
    due = "SELECT o.id FROM orphans o WHERE o.due_at <= now()"
    return await database.fetch(
        "UPDATE orphans o SET due_at = now() + $5, state_at = CASE WHEN state LIKE '%ING' THEN state_at ELSE now() END,"
        " state = CASE WHEN state = 'SEEN' AND multipart_id = '' THEN 'QUARANTINING'"
        " WHEN state IN ('SEEN', 'QUARANTINED') THEN 'DELETING' ELSE state END"
        f" WHERE id = ANY(ARRAY({due} AND o.state IN ('QUARANTINING', 'RESTORING', 'DELETING') {next_ones})"
        f" || ARRAY({due} AND {_ripe('$2', '$3')} AND NOT {_IS_KNOWN} {next_ones})"
        f" || ARRAY({due} AND o.state = 'QUARANTINED' AND o.state_at < now() - $4::interval"
        f" AND NOT {_IS_KNOWN} {next_ones})) RETURNING o.*",
        *(most, LEAST_AGE, BETWEEN_SIGHTINGS, window, _HELD),
    )


async def bring_back_known() -> None:
    """What is in quarantine and has a row again is to be restored: a database was set back, and forth."""
    await database.execute(
        f"UPDATE orphans o SET state = 'RESTORING', state_at = now() WHERE o.state = 'QUARANTINED' AND {_IS_KNOWN}"
    )


async def restore(key: str) -> list[Row]:
    """Those of the key that are in quarantine, to be brought back by whoever asks. Nobody else is given them."""
    return await database.fetch(
        "UPDATE orphans SET state = 'RESTORING', due_at = now() + $2,"
        " state_at = CASE state WHEN 'RESTORING' THEN state_at ELSE now() END"
        " WHERE key = $1 AND state IN ('QUARANTINED', 'RESTORING') RETURNING *",
        *(key, _HELD),
    )


async def hold(orphan: Row) -> None:
    """It takes long, and is not to be given to anybody else."""
    await database.execute("UPDATE orphans SET due_at = now() + $2 WHERE id = $1", orphan["id"], _HELD)


async def is_still_unknown(orphan: Row) -> bool:
    """Asked at the last moment, with the orphan's row locked, and still in the state that it was claimed in."""
    return bool(
        await database.fetch(
            f"UPDATE orphans o SET due_at = now() + $3 WHERE id = $1 AND state = $2 AND NOT {_IS_KNOWN} RETURNING id",
            *(orphan["id"], orphan["state"], _HELD),
        )
    )


async def became(orphan: Row, state: OrphanState) -> None:
    await database.execute(
        "UPDATE orphans SET state = $2, state_at = now(), due_at = now(), last_error = NULL WHERE id = $1",
        *(orphan["id"], state.value),
    )


async def forget(orphan: Row) -> None:
    """It is something else by now, which the next scan will find."""
    await database.execute("DELETE FROM orphans WHERE id = $1", orphan["id"])


async def later(orphan: Row, error: str) -> None:
    """It could not be done, and is tried again in an hour."""
    await database.execute(
        "UPDATE orphans SET last_error = $2, due_at = now() + $3 WHERE id = $1", orphan["id"], error, _LONGEST_BACKOFF
    )


async def figures() -> list[Row]:
    """By bucket, ``tenant``, state and whether in parts: ``count``, ``bytes``, and ``ripe``, to be taken next."""
    return await database.fetch(
        f"SELECT o.bucket, {_tenant('o.key')} AS tenant, o.state, o.multipart_id <> '' AS in_parts, count(*) AS count,"
        f" sum(o.size_bytes)::bigint AS bytes, count(*) FILTER (WHERE {_ripe('$1', '$2')}) AS ripe"
        " FROM orphans o GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4",
        *(LEAST_AGE, BETWEEN_SIGHTINGS),
    )


async def listed(states: Sequence[OrphanState], most: int) -> list[Row]:
    """Orphans in these states, those first seen first."""
    return await database.fetch(
        f"SELECT o.*, {_tenant('o.key')} AS tenant FROM orphans o WHERE state = ANY($1) ORDER BY id LIMIT $2",
        *(list(states), most),
    )
