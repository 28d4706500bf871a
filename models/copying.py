"""The worker's side of local copies: what is taken, by whom, and what becomes of it.

Whoever takes a file has it for a while, says meanwhile that it goes on, and loses it otherwise: another takes it then,
and what the first says of it later changes nothing.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from models import database, jobs, writes
from models.pages import Row

LEASE = timedelta(seconds=30)  # for which a file is whose who took it
_NAMES = ("file_name", "file_type", "size", "sha256")  # of the pairs that say what was copied
_DELETING = timedelta(minutes=2)
_LONGEST_BACKOFF = timedelta(hours=1)
_FREE = "SELECT id FROM syncs WHERE id = ANY($1::bigint[]) AND taken_by = $2 FOR NO KEY UPDATE SKIP LOCKED"


class Copied(NamedTuple):
    """A file that is where it belongs."""

    path: str
    size_bytes: int
    sha256: bytes
    etag: str


class Lost(Exception):
    """It is somebody else's meanwhile, or gone: the copy must not take its place."""


async def take(
    token: UUID, most: int, *, here: Sequence[int] = (), resting: Sequence[int] = (), directories: bool = True
) -> list[Row]:
    """At most so many files that are due, whose they are then that has the token: as many of each source as may be
    copied at once, and of all sources alike.

    ``here`` is the source of each file that the caller has already: of none it gets more than what is left to it, so
    that something is always left for a source that comes. Nothing is taken of sources that are ``resting``, nor
    without ``directories`` of those that go to one.

    Each with ``id``, ``tenant_id``, ``tenant_slug``, ``source_id``, ``source``, ``origin``, ``destination``,
    ``batch_id`` and ``object_id``, ``object_pk``, ``file_name``, ``file_type``, ``attempts`` (with this one),
    ``queued_at``, ``age`` (since then), ``problem`` (of the last one), and ``etag``, ``sha256``, ``path`` of what was
    copied before.
    """
    async with database.transaction():
        # Locked, so that two workers do not both take what one may. Not by EXISTS, for which all that is due would be
        # read (70 ms for 100,000 files) instead of one entry of the index.
        await database.fetch(
            "SELECT FROM sync_sources s WHERE paused_at IS NULL AND s.id <> ALL($1::bigint[])"
            " AND (SELECT d.id FROM syncs d WHERE d.source_id = s.id AND d.state IN ('QUEUED', 'RUNNING')"
            " AND d.due_at <= now() LIMIT 1) IS NOT NULL ORDER BY id FOR NO KEY UPDATE",
            list(resting),
        )
        return await database.fetch(
            "WITH room AS MATERIALIZED (SELECT s.id, s.concurrency - (SELECT count(*) FROM syncs r"
            " WHERE r.source_id = s.id AND r.state = 'RUNNING' AND r.due_at > now()) AS free,"
            " cardinality(array_positions($4::bigint[], s.id)) AS here FROM sync_sources s"
            " JOIN tenants t ON t.id = s.tenant_id WHERE s.paused_at IS NULL AND t.revoked_at IS NULL"
            " AND s.id <> ALL($5::bigint[]) AND ($6 OR NOT s.destination ? 'directory')),"
            " turn AS MATERIALIZED (SELECT n.id FROM (SELECT d.id, room.here + d.place AS place,"
            " row_number() OVER (ORDER BY room.here + d.place, d.due_at) AS rank"
            " FROM room CROSS JOIN LATERAL (SELECT id, due_at,"
            " row_number() OVER (ORDER BY due_at) AS place FROM (SELECT id, due_at FROM syncs w"
            " WHERE w.source_id = room.id AND w.state IN ('QUEUED', 'RUNNING') AND w.due_at <= now() ORDER BY w.due_at"
            " LIMIT least(greatest(room.free, 0), $3) FOR NO KEY UPDATE SKIP LOCKED) AS w) AS d) AS n"
            " WHERE n.place + n.rank <= $3 + 1)"
            " UPDATE syncs u SET state = 'RUNNING', taken_by = $1, due_at = now() + $2::interval,"
            " attempts = u.attempts + 1 FROM sync_sources s, tenants t, objects o, batches b"
            " WHERE u.id = ANY(ARRAY(SELECT id FROM turn)) AND s.id = u.source_id AND t.id = u.tenant_id"
            " AND o.id = u.object_pk AND b.id = u.batch_pk"
            " RETURNING u.id, u.tenant_id, t.slug AS tenant_slug, u.source_id, s.name AS source, s.origin,"
            " s.destination, b.batch_id, o.object_id, u.object_pk, u.file_name, u.file_type, u.attempts, u.queued_at,"
            " now() - u.queued_at AS age, u.problem, u.etag, u.sha256, u.path",
            *(token, LEASE, most, list(here), list(resting), directories),
        )


async def going_on(token: UUID, syncs: Sequence[int]) -> set[int]:
    """Have them (primary keys) for a while from now; those that are still whose who has the token.

    It waits for none: one that is locked is just being finished, and nobody takes it, or deleted.
    """
    rows = await database.fetch(
        "WITH kept AS (UPDATE syncs SET due_at = now() + $3::interval WHERE id = ANY(ARRAY("
        f"{_FREE}))) SELECT id FROM syncs WHERE id = ANY($1::bigint[]) AND taken_by = $2",
        *(list(syncs), token, LEASE),
    )
    return {row["id"] for row in rows}


@asynccontextmanager
async def finishing(token: UUID, sync: Row, copied: Copied) -> AsyncIterator[None]:
    """As ``finishing_all``, of one. Raises Lost before anything is done."""
    async with finishing_all(token, [(sync, copied)]) as ours:
        if not ours:
            raise Lost
        yield


@asynccontextmanager
async def finishing_all(token: UUID, ready: Sequence[tuple[Row, Copied]]) -> AsyncIterator[set[int]]:
    """The files of one source take their places inside, and are SYNCED after it, in one transaction, in which nobody
    deletes those paths: those (primary keys) that are in the set, of which whoever has it takes what has failed.

    The others are lost. Their objects' data say what was copied, unless the batch is sealed.
    """
    tenant_id, source_id = ready[0][0]["tenant_id"], ready[0][0]["source_id"]
    async with database.transaction():
        await _alone(source_id, [copied.path for _, copied in ready])
        # The batches and the objects first, as everything locks that changes objects.
        objects = await writes.locked_data(tenant_id, [sync["object_pk"] for sync, _ in ready])
        rows = await database.fetch(
            "SELECT id FROM syncs WHERE tenant_id = $1 AND id = ANY($2::bigint[]) AND taken_by = $3"
            " ORDER BY id FOR UPDATE",
            *(tenant_id, [sync["id"] for sync, _ in ready], token),
        )
        held = {row["id"] for row in rows}
        ours = {sync["id"] for sync, _ in ready if sync["object_pk"] in objects and sync["id"] in held}
        yield ours
        done = [one for one in ready if one[0]["id"] in ours]
        if not done:
            return
        changed: dict[int, list[writes.Pair]] = {}
        for sync, copied in done:
            before = changed.get(sync["object_pk"], objects[sync["object_pk"]])
            if before is not None:  # what is in a sealed batch stays as it is; the copy is one of what is in S3
                changed[sync["object_pk"]] = _telling(sync, copied, before)
        await writes.set_data(tenant_id, changed)
        columns = zip(*((sync["id"], *copied) for sync, copied in done), strict=True)
        await database.execute(
            "UPDATE syncs AS s SET state = 'SYNCED', taken_by = NULL, problem = NULL, error = NULL, path = n.path,"
            " size_bytes = n.size, sha256 = n.sha256, etag = n.etag,"
            " synced_at = date_trunc('milliseconds', clock_timestamp())"
            " FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::bytea[], $6::text[])"
            " AS n (id, path, size, sha256, etag) WHERE s.tenant_id = $1 AND s.id = n.id",
            *(tenant_id, *map(list, columns)),
        )


def _telling(sync: Row, copied: Copied, pairs: list[writes.Pair]) -> list[writes.Pair]:
    values = (sync["file_name"], sync["file_type"], str(copied.size_bytes), copied.sha256.hex())
    told = dict(zip(_NAMES, values, strict=True))
    others = [pair for pair in pairs if pair["key"] not in told]
    return [*others, *({"key": key, "value": value} for key, value in told.items())]


async def again(token: UUID, sync: int, after: timedelta, problem: str, error: str, *, counted: bool = True) -> None:
    """It is tried again after so long; this attempt counts, or not."""
    await database.execute(
        "UPDATE syncs SET state = 'QUEUED', taken_by = NULL, due_at = now() + $3::interval, problem = $4, error = $5,"
        " attempts = attempts - CASE WHEN $6 THEN 0 ELSE 1 END WHERE id = $1 AND taken_by = $2",
        *(sync, token, after, problem, error, counted),
    )


async def put_back(token: UUID, syncs: Sequence[int]) -> None:
    """They are tried again at once, by whoever can, and this attempt does not count."""
    await database.execute(
        "UPDATE syncs SET state = 'QUEUED', taken_by = NULL, due_at = now(), attempts = attempts - 1"
        f" WHERE id = ANY(ARRAY({_FREE}))",
        *(list(syncs), token),
    )


async def fail(token: UUID, sync: int, problem: str, error: str) -> None:
    """It is not tried again by itself."""
    await database.execute(
        "UPDATE syncs SET state = 'FAILED', taken_by = NULL, problem = $3, error = $4 WHERE id = $1 AND taken_by = $2",
        *(sync, token, problem, error),
    )


async def retry(tenant_id: int, syncs: Sequence[int]) -> set[int]:
    """Those (primary keys) that FAILED are queued as if they were new, and returned; the others stay as they are."""
    async with database.transaction():
        # The objects first, as everything locks that changes them.
        await database.fetch(
            "SELECT FROM objects WHERE tenant_id = $1 AND id = ANY(ARRAY("
            "SELECT object_pk FROM syncs WHERE tenant_id = $1 AND id = ANY($2::bigint[]))) ORDER BY id FOR KEY SHARE",
            *(tenant_id, list(syncs)),
        )
        rows = await database.fetch(
            "UPDATE syncs SET state = 'QUEUED', queued_at = date_trunc('milliseconds', now()), due_at = now(),"
            " attempts = 0, problem = NULL, error = NULL WHERE tenant_id = $1 AND id = ANY(ARRAY("
            "SELECT id FROM syncs WHERE tenant_id = $1 AND id = ANY($2::bigint[]) AND state = 'FAILED'"
            " ORDER BY id FOR UPDATE)) RETURNING id",
            *(tenant_id, list(syncs)),
        )
        await jobs.add(jobs.SYNC)
        return {row["id"] for row in rows}


async def oldest_age() -> timedelta | None:
    """Since when the file waits that has waited longest, whichever tenant's; None where none does."""
    [row] = await database.fetch(
        "SELECT now() - min(w.queued_at) AS age FROM sync_sources s CROSS JOIN LATERAL (SELECT queued_at FROM syncs q"
        " WHERE q.source_id = s.id AND q.state = 'QUEUED' ORDER BY q.queued_at LIMIT 1) AS w"
        " WHERE s.paused_at IS NULL"
    )
    age: timedelta | None = row["age"]
    return age


async def due_deletions(most: int, *, directories: bool = True) -> list[Row]:
    """``id``, ``source_id``, ``path``, ``tenant_slug`` and ``destination`` of copies that have to go; without
    ``directories`` of those in buckets alone.

    Nobody else is given them for a while.
    """
    return await database.fetch(
        "UPDATE copy_deletions d SET due_at = now() + $2::interval, attempts = d.attempts + 1"
        " FROM sync_sources s, tenants t WHERE d.id = ANY(ARRAY(SELECT c.id FROM copy_deletions c"
        " JOIN sync_sources o ON o.id = c.source_id WHERE c.due_at <= now() AND ($3 OR NOT o.destination ? 'directory')"
        " ORDER BY c.due_at LIMIT $1 FOR UPDATE OF c SKIP LOCKED)) AND s.id = d.source_id AND t.id = d.tenant_id"
        " RETURNING d.id, d.source_id, d.path, t.slug AS tenant_slug, s.destination",
        *(most, _DELETING, directories),
    )


@asynccontextmanager
async def deleting(deletion: Row) -> AsyncIterator[bool]:
    """The copy is deleted inside if it says true: not where the path is another's again. Then the deletion is done."""
    async with database.transaction():
        await _alone(deletion["source_id"], [deletion["path"]])
        rows = await database.fetch(
            "SELECT FROM syncs WHERE source_id = $1 AND path = $2 LIMIT 1", deletion["source_id"], deletion["path"]
        )
        yield not rows
        await database.execute("DELETE FROM copy_deletions WHERE id = $1", deletion["id"])


async def delete_later(deletion: int, error: str) -> None:
    """It failed, and is due again, each time later."""
    await database.execute(
        "UPDATE copy_deletions SET last_error = $2,"
        " due_at = now() + least($3::interval, interval '1 second' * power(2, least(attempts, 20)))"
        " WHERE id = $1",
        *(deletion, error, _LONGEST_BACKOFF),
    )


async def _alone(source_id: int, paths: Sequence[str]) -> None:
    """Until the end of the transaction nobody else puts a file there, or deletes it; in one order, whoever asks."""
    await database.fetch(
        "SELECT pg_advisory_xact_lock(p.lock) FROM (SELECT DISTINCT hashtextextended(path, $1) AS lock"
        " FROM unnest($2::text[]) AS n (path) ORDER BY lock) AS p",
        *(source_id, list(paths)),
    )
