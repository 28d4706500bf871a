"""Files of objects: announced, proved, replaced, given up; and the bytes that have to go.

Whatever changes the uploads of an object locks the object first, in the order of the keys: two at once are one after
the other. What announces some keeps the batches open before that. What completes or ends some need not: nothing is
under way in a sealed batch.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import timedelta
from operator import itemgetter
from typing import Any

from prometheus_client import Counter

from models import batches, database, jobs
from models.calls import Call
from models.errors import NotFound
from models.file_state import FileState
from models.pages import Row, Scope
from models.sql import Sql

# What pages say of an object's file, and everybody of an upload.
_NAMES = {
    "file_pk": "id",
    "file_state": "state",
    "file_name": "name",
    "file_type": "content_type",
    "file_size": "size_bytes",
    "file_sha256": "sha256",
    "file_completed_at": "completed_at",
    "file_expires_at": "expires_at",
    "file_problem": "problem",
    "file_bucket": "bucket",
    "file_key": "key",
    "file_multipart_id": "multipart_id",
    "file_part_bytes": "part_bytes",
}


def some_columns(names: Set[str]) -> str:
    """Of an upload ``u``: all of them where none are named."""
    return ", ".join(f"u.{column} AS {name}" for name, column in _NAMES.items() if name in names or not names)


COLUMNS = some_columns(frozenset())
NO_COLUMNS = ", ".join(f"NULL AS {name}" for name in _NAMES)
NO_FILE = dict.fromkeys(_NAMES)

GRACE = "interval '5 minutes'"  # after a URL is over, for clocks that differ
_REMEMBERED = timedelta(days=7)
_DELETING = timedelta(minutes=2)  # for which a key is somebody's to delete
_READING = timedelta(minutes=10)  # for which an upload is somebody's to read, who says meanwhile that it goes on
_LARGE = 1024**3  # bytes, from which reading them takes so long that others do not wait for it
_READ_AGAIN = timedelta(minutes=1)  # where that failed
_LONGEST_BACKOFF = timedelta(hours=1)
_completed = Counter("waybill_uploads_completed_total", "uploads whose bytes were proved")
_ended = Counter("waybill_uploads_ended_total", "uploads that will have no bytes any more, and why", ["problem"])
_COPIED = ("id", "tenant_id", "object_pk", "batch_pk", "bucket", "key", "name", "content_type", "size_bytes", "sha256",
           "state", "is_current", "expires_at", "multipart_id", "part_bytes")  # fmt: skip
_copied = itemgetter(*({column: name for name, column in _NAMES.items()}.get(one, one) for one in _COPIED))


@dataclass(frozen=True, slots=True)
class NewFile:
    """What is announced, and where its bytes are to be."""

    name: str
    content_type: str
    size_bytes: int
    sha256: bytes | None
    bucket: str
    key: str
    lifetime: timedelta  # of the URL, or of all URLs of parts
    multipart_id: str | None = None
    part_bytes: int | None = None


async def announce(tenant_id: int, files: Sequence[tuple[int, NewFile]]) -> list[Row]:
    """One upload for each object (by primary key), in the order given.

    A complete file of an object stays what it is until the new one is complete; any other gives way now. Raises
    NotFound where an object has just been deleted, and BatchSealed.
    """
    objects = {object_pk for object_pk, _ in files}
    async with database.transaction():
        await batches.keep_open(tenant_id, objects=list(objects))
        call = await Call.begin()
        of_batch, complete = await _give_way(tenant_id, objects)
        return await copy(call, tenant_id, files, of_batch, complete)


async def copy(
    call: Call,
    tenant_id: int,
    files: Sequence[tuple[int, NewFile]],
    of_batch: Mapping[int, int],
    complete: Set[int] = frozenset(),
) -> list[Row]:
    """The same for objects of which ``complete`` have a complete file, the others none; for the call that made them.

    ``of_batch`` says which batch each object is in.
    """
    rows: list[Row] = []
    for key, (object_pk, file) in zip(call.keys(len(files)), files, strict=True):
        row = NO_FILE | {
            "file_pk": key,
            "file_state": FileState.PENDING.value,
            "file_name": file.name,
            "file_type": file.content_type,
            "file_size": file.size_bytes,
            "file_sha256": file.sha256,
            "file_expires_at": call.now + file.lifetime,
            "file_bucket": file.bucket,
            "file_key": file.key,
            "file_multipart_id": file.multipart_id,
            "file_part_bytes": file.part_bytes,
        }
        of = {"tenant_id": tenant_id, "object_pk": object_pk, "batch_pk": of_batch[object_pk]}
        rows.append({**row, **of, "is_current": object_pk not in complete})
    await database.meanwhile(database.copy("uploads", _COPIED, map(_copied, rows)))
    return rows


async def _give_way(tenant_id: int, objects: set[int]) -> tuple[dict[int, int], set[int]]:
    """Locks the objects and returns which batch each is in, and those that have a complete file."""
    locked = await lock(tenant_id, list(objects))
    if len(locked) < len(objects):
        raise NotFound("An object has just been deleted.")
    of_them = "tenant_id = $1 AND object_pk = ANY($2::bigint[]) AND is_current"
    rows = await database.fetch(
        f"WITH former AS (UPDATE uploads SET is_current = false WHERE {of_them} AND state <> 'COMPLETE')"
        f" SELECT object_pk FROM uploads WHERE {of_them} AND state = 'COMPLETE'",
        *(tenant_id, list(objects)),
    )
    return {row["id"]: row["batch_pk"] for row in locked}, {row["object_pk"] for row in rows}


async def lock(tenant_id: int, objects: Sequence[int]) -> list[Row]:
    """Those of the objects (primary keys) that are still there, in the order of the keys, with ``batch_pk``."""
    return await database.fetch(
        # Each by itself: else a planner that knows nothing of the tenant reads all of its objects.
        "SELECT o.id, o.batch_pk FROM (SELECT id FROM unnest($2::bigint[]) AS k (id) ORDER BY id) AS k"
        " CROSS JOIN LATERAL (SELECT id, batch_pk FROM objects WHERE tenant_id = $1 AND id = k.id LIMIT 1"
        " FOR NO KEY UPDATE) AS o",
        *(tenant_id, list(objects)),
    )


async def find(scope: Scope, uploads: Iterable[int]) -> list[Row]:
    """Of the uploads (primary keys) those whose objects exist for the scope, with ``object_id``, ``batch_id`` and their
    keys, ``object_pk`` and ``batch_pk``."""
    sql = Sql(scope.tenant_id)
    wanted = sql.bind(tuple(uploads), "bigint[]")
    visible = sql.test(scope.within, "o.id", "o.batch_pk")
    text = (
        f"SELECT {COLUMNS}, u.object_pk, o.object_id, o.batch_pk, b.batch_id FROM uploads u"
        " JOIN objects o ON o.id = u.object_pk JOIN batches b ON b.id = o.batch_pk"
        f" WHERE u.tenant_id = {sql.tenant} AND u.id = ANY({wanted}) AND {visible}"
    )
    return await database.fetch(sql.statement(text), *sql.arguments)


async def pending(tenant_id: int, objects: Sequence[int]) -> dict[int, Row]:
    """Of each object (by primary key) that has one the newest upload that waits for its bytes, with ``object_pk``."""
    rows = await database.fetch(
        f"SELECT DISTINCT ON (u.object_pk) {COLUMNS}, u.object_pk FROM uploads u WHERE u.tenant_id = $1"
        " AND u.object_pk = ANY($2::bigint[]) AND u.state = 'PENDING' AND u.expires_at > now()"
        " ORDER BY u.object_pk, u.id DESC",
        *(tenant_id, list(objects)),
    )
    return {row["object_pk"]: row for row in rows}


async def settle(tenant_id: int, right: Sequence[int], unread: Sequence[int] = ()) -> dict[int, dict[str, Any]]:
    """Make the uploads of ``right`` (primary keys) their objects' files, and have the worker read those of ``unread``.

    For whoever has asked S3. Of several complete ones of an object the newest is its file, whichever came first; the
    others go, with their bytes. Returns ``file_state``, ``file_completed_at`` and ``file_problem`` of each as it is
    now; uploads that are gone meanwhile are left out, and those that ended or were completed by somebody else stay so.
    """
    async with database.transaction():
        mine = "tenant_id = $1 AND id = ANY($2::bigint[])"
        keys = [*right, *unread]
        found = await database.fetch(f"SELECT DISTINCT object_pk FROM uploads WHERE {mine}", tenant_id, keys)
        objects = [row["object_pk"] for row in found]
        await lock(tenant_id, objects)
        able = await database.fetch(
            # Locked, so that none of them is given up, and its bytes with it, before it is complete.
            "SELECT id, object_pk, state FROM uploads WHERE tenant_id = $1 AND object_pk = ANY($2::bigint[])"
            " AND (is_current AND state = 'COMPLETE' OR id = ANY($3::bigint[]) AND state IN ('PENDING', 'VERIFYING'))"
            " ORDER BY id FOR UPDATE",
            *(tenant_id, objects, list(right)),
        )
        newest = {row["object_pk"]: row["id"] for row in able}  # in the order of the keys
        new = [row["id"] for row in able if newest[row["object_pk"]] == row["id"] and row["state"] != "COMPLETE"]
        await database.execute(
            "UPDATE uploads SET is_current = false WHERE tenant_id = $1 AND is_current"
            f" AND object_pk = ANY(ARRAY(SELECT object_pk FROM uploads WHERE {mine}))",
            *(tenant_id, new),
        )
        await database.execute(
            "UPDATE uploads SET state = 'COMPLETE', is_current = true,"
            f" completed_at = date_trunc('milliseconds', now()) WHERE {mine}",
            *(tenant_id, new),
        )
        _completed.inc(len(new))
        await _end([row["id"] for row in able if newest[row["object_pk"]] != row["id"]], "REPLACED")
        await database.execute(
            f"UPDATE uploads SET state = 'VERIFYING', read_at = now() WHERE {mine} AND state = 'PENDING'",
            *(tenant_id, list(unread)),
        )
        if unread:
            await jobs.add(jobs.VERIFY)
        rows = await database.fetch(
            "SELECT id, state AS file_state, completed_at AS file_completed_at, problem AS file_problem"
            f" FROM uploads WHERE {mine}",
            *(tenant_id, keys),
        )
        return {row["id"]: dict(row) for row in rows}


async def abort(tenant_id: int, uploads: Sequence[int]) -> dict[int, dict[str, Any]]:
    """End uploads (primary keys) that are not complete because nobody wants them any more.

    Returns ``file_state`` and ``file_problem`` of each as it is now; what is complete or had ended stays so.
    """
    async with database.transaction():
        mine = "tenant_id = $1 AND id = ANY($2::bigint[])"
        waiting = await database.fetch(
            f"SELECT id FROM uploads WHERE {mine} AND state IN ('PENDING', 'VERIFYING') ORDER BY id FOR UPDATE",
            *(tenant_id, list(uploads)),
        )
        await _end([row["id"] for row in waiting], "ABORTED")
        rows = await database.fetch(
            f"SELECT id, state AS file_state, problem AS file_problem FROM uploads WHERE {mine}",
            *(tenant_id, list(uploads)),
        )
        return {row["id"]: dict(row) for row in rows}


async def forget(most: int) -> int:
    """Past uploads that ended long ago, the longest ago first; returns how many."""
    return await database.execute(
        "DELETE FROM uploads WHERE id = ANY(ARRAY(SELECT id FROM uploads WHERE state = 'EXPIRED' AND NOT is_current"
        " AND ended_at < now() - $2::interval ORDER BY ended_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
        *(most, _REMEMBERED),
    )


async def give_up(uploads: Sequence[int], problem: str | None) -> None:
    """End uploads (primary keys) that are not complete, because of what S3 said of them; None: the bytes never came."""
    async with database.transaction():
        waiting = await database.fetch(
            "SELECT id FROM uploads WHERE id = ANY($1::bigint[]) AND state IN ('PENDING', 'VERIFYING')"
            " ORDER BY id FOR UPDATE",
            list(uploads),
        )
        await _end([row["id"] for row in waiting], problem)


async def give_up_replacing(tenant_id: int, batch_pk: int, problem: str) -> None:
    """End the uploads of a batch that are under way in the place of a file; whoever may announce some is kept out."""
    waiting = await database.fetch(
        "SELECT id FROM uploads WHERE tenant_id + 0 = $1 AND batch_pk = $2 AND NOT is_current"
        " AND state IN ('PENDING', 'VERIFYING') ORDER BY id FOR UPDATE",
        *(tenant_id, batch_pk),
    )
    await _end([row["id"] for row in waiting], problem)


async def _end(uploads: Sequence[int], problem: str | None) -> None:
    """Of uploads that are locked; they stay for a while, so that whoever asks for one is told what became of it."""
    await database.execute(
        "WITH ended AS (UPDATE uploads SET state = 'EXPIRED', ended_at = now(), completed_at = NULL, problem = $2"
        " WHERE id = ANY($1::bigint[]) RETURNING tenant_id, bucket, key, size_bytes, expires_at, multipart_id)"
        " INSERT INTO deletions"
        " (tenant_id, bucket, key, multipart_id, reserved_bytes, due_at, over_at, until_at, attempts)"
        " SELECT tenant_id, bucket, key, multipart_id, deletion_reserved(expires_at, size_bytes), now(),"
        " deletion_over(expires_at, multipart_id), deletion_until(expires_at), 0 FROM ended",
        *(list(uploads), problem),
    )
    _ended.labels(problem or "UPLOAD_EXPIRED").inc(len(uploads))


async def unread(most: int, *, large: bool = False) -> list[Row]:
    """Uploads whose bytes are to be read now, with ``tenant_id``; those that take minutes only if they are asked for.

    Nobody else is given them for a while.
    """
    return await database.fetch(
        "UPDATE uploads u SET read_at = now() + $2 WHERE id = ANY(ARRAY("
        "SELECT id FROM uploads WHERE state = 'VERIFYING' AND read_at <= now() AND (size_bytes >= $3) = $4"
        " ORDER BY read_at LIMIT $1"
        f" FOR UPDATE SKIP LOCKED)) RETURNING {COLUMNS}, u.tenant_id",
        *(most, _READING, _LARGE, large),
    )


async def still_reading(tenant_id: int, upload: int) -> None:
    """Reading it takes long: nobody else is given it for a while from now."""
    await database.execute(
        "UPDATE uploads SET read_at = now() + $3 WHERE tenant_id = $1 AND id = $2", tenant_id, upload, _READING
    )


async def read_later(upload: int) -> None:
    """It could not be read; so that it does not keep others waiting, it is tried again in a minute."""
    await database.execute("UPDATE uploads SET read_at = now() + $2 WHERE id = $1", upload, _READ_AGAIN)


async def due(most: int) -> list[Row]:
    """``id``, ``bucket``, ``key``, ``multipart_id``: keys whose bytes have to go now.

    Nobody else is given them for a while.
    """
    return await database.fetch(
        "UPDATE deletions SET due_at = now() + $2, attempts = attempts + 1 WHERE id = ANY(ARRAY("
        "SELECT id FROM deletions WHERE due_at <= now() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED))"
        " RETURNING id, bucket, key, multipart_id",
        *(most, _DELETING),
    )


async def deleted(done: Sequence[int], failed: Sequence[tuple[int, str]]) -> None:
    """What became of keys that were due: the bytes are gone, or why not; those are due again, each time later.

    Where bytes could still come they are deleted once more when the URL is over, which gives back what they had
    reserved, and when each request is that began in time. What counts is when a deletion began.
    """
    began = "due_at - $2::interval"
    async with database.transaction():
        await database.execute(
            f"DELETE FROM deletions WHERE id = ANY($1::bigint[]) AND until_at <= {began}", list(done), _DELETING
        )
        await database.execute(
            f"UPDATE deletions SET due_at = CASE WHEN {began} < over_at THEN over_at ELSE until_at END,"
            f" reserved_bytes = CASE WHEN {began} < over_at THEN reserved_bytes ELSE 0 END,"
            " attempts = 0, last_error = NULL WHERE id = ANY($1::bigint[])",
            *(list(done), _DELETING),
        )
        await database.execute(
            "UPDATE deletions d SET last_error = f.error,"
            " due_at = now() + least($3, interval '5 seconds' * 2 ^ least(d.attempts, 20)) * (0.5 + random() / 2)"
            " FROM unnest($1::bigint[], $2::text[]) AS f (id, error) WHERE d.id = f.id",
            *([key for key, _ in failed], [error for _, error in failed], _LONGEST_BACKOFF),
        )
