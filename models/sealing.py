"""Sealing: a batch is what it is from then on, and its digest says what that is.

The digest is the SHA-256 of one line per object, in the order of the objects' ids by code point, which is that of their
bytes. A line is the object as JSON in the canonical form of RFC 8785, in UTF-8, and a line feed: README.md says it for
those who want to compute it themselves.
"""

import hashlib
from collections.abc import AsyncIterator

import orjson

from models import batches, database, files
from models.errors import BatchNotComplete, NotFound, short
from models.pages import Row

_MOST_NAMED = 100  # ids that one error names
_PORTION = 500  # objects that are read at once; others are served between two portions
_LARGE = 20_000  # bytes of data, beyond which an object is read by itself, for it may have megabytes


async def seal(tenant_id: int, user_id: int, batch_pk: int) -> tuple[int, bytes] | None:
    """How many objects are in it and their digest; None where it was sealed before, which stays as it was.

    Raises BatchNotComplete and NotFound. Whatever was to change the batch at the same time is in the digest or refused
    (``batches.keep_open``). An upload that was to take the place of a complete file is given up.
    """
    async with database.transaction():
        # For key share, which keeps the batch open, waits for this, and so do references of new objects.
        rows = await database.fetch(
            "SELECT sealed_at FROM batches WHERE tenant_id = $1 AND id = $2 FOR UPDATE", tenant_id, batch_pk
        )
        if not rows:
            raise NotFound
        if rows[0]["sealed_at"] is not None:
            return None
        # First: one that is completed meanwhile is waited for, and what is read afterwards has it.
        await files.give_up_replacing(tenant_id, batch_pk, "BATCH_SEALED")
        await _require_complete(tenant_id, batch_pk)
        await _require_copied(tenant_id, batch_pk)
        count, digest = 0, hashlib.sha256()
        async for portion in _objects(tenant_id, batch_pk):
            count += len(portion)
            for row in portion:
                digest.update(line(row, row["data"] or await _data(tenant_id, row["id"])))
        await database.execute(
            "UPDATE batches SET sealed_at = date_trunc('milliseconds', clock_timestamp()), sealed_by_id = $3,"
            " digest = $4 WHERE tenant_id = $1 AND id = $2",
            *(tenant_id, batch_pk, user_id, digest.digest()),
        )
        return count, digest.digest()


async def _require_complete(tenant_id: int, batch_pk: int) -> None:
    rows = await database.fetch(
        "SELECT o.object_id, count(*) OVER () AS count FROM uploads u JOIN objects o ON o.id = u.object_pk"
        f" WHERE u.tenant_id + 0 = $1 AND {batches.current('u', '$2')}"
        " AND u.state IN ('PENDING', 'VERIFYING', 'EXPIRED') ORDER BY o.object_id LIMIT $3",
        *(tenant_id, batch_pk, _MOST_NAMED),
    )
    if rows:
        raise _not_complete(rows, "not complete", "send what is missing, announce it anew, or delete those objects")


async def _require_copied(tenant_id: int, batch_pk: int) -> None:
    """What a local copy is says its object's data, which are to be in the digest."""
    rows = await database.fetch(
        "SELECT o.object_id, count(*) OVER () AS count FROM syncs s JOIN objects o ON o.id = s.object_pk"
        " WHERE s.tenant_id + 0 = $1 AND s.batch_pk = $2 AND s.state IN ('QUEUED', 'RUNNING')"
        " ORDER BY o.object_id LIMIT $3",
        *(tenant_id, batch_pk, _MOST_NAMED),
    )
    if rows:
        raise _not_complete(rows, "still to be copied", "wait for them, or delete those objects")


def _not_complete(rows: list[Row], what: str, advice: str) -> BatchNotComplete:
    count, object_ids = rows[0]["count"], [row["object_id"] for row in rows]
    shown = ", ".join(f'"{short(one)}"' for one in object_ids[:3]) + (f" and {count - 3:,} more" if count > 3 else "")
    return BatchNotComplete(
        f"{count:,} {'file is' if count == 1 else 'files are'} {what}, of {shown}: {advice}.",
        files=count,
        objectIds=object_ids,
    )


def line(row: Row, data: str) -> bytes:
    """Of an object with ``object_id`` and the ``file_...`` of its file, if it has one; ``data`` is its JSON."""
    digest = row["file_sha256"]
    file = {
        "name": row["file_name"],
        "contentType": row["file_type"],
        "size": row["file_size"],
        "sha256": digest and digest.hex(),
    }
    content = {
        "objectId": row["object_id"],
        "data": orjson.loads(data),
        "file": None if row["file_pk"] is None else file,
    }
    # Texts, whole numbers below 2^53 and keys of ASCII only: for these it is RFC 8785 to the byte.
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


async def _objects(tenant_id: int, batch_pk: int) -> AsyncIterator[list[Row]]:
    """In portions, in the order of the digest; ``data`` is null where it is large.

    The database sorts them, and keeps them on disk where they are many.
    """
    data = f"CASE WHEN octet_length(o.data::text) <= {_LARGE} THEN o.data END AS data"
    # Found first (OFFSET 0), then sorted: an index has this order, with the objects of all batches of the tenant.
    found = f"SELECT o.id, o.object_id, {data} FROM objects o WHERE o.tenant_id = $1 AND o.batch_pk = $2 OFFSET 0"
    by_id = f'SELECT * FROM ({found}) AS f ORDER BY object_id COLLATE "C" OFFSET 0'
    ordered = (
        f"SELECT s.id, s.object_id, s.data, {files.COLUMNS} FROM ({by_id}) AS s LEFT JOIN LATERAL ("
        "SELECT * FROM uploads WHERE object_pk = s.id AND is_current OFFSET 0) AS u ON true"
        ' ORDER BY s.object_id COLLATE "C"'
    )
    async for portion in database.portions(ordered, tenant_id, batch_pk, most=_PORTION):
        yield portion


async def _data(tenant_id: int, key: int) -> str:
    [row] = await database.fetch("SELECT data FROM objects WHERE tenant_id = $1 AND id = $2", tenant_id, key)
    return str(row["data"])
