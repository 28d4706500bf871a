"""Complete files whose bytes are not there: found by comparing uploads with what a scan has listed. Never changed."""

from collections.abc import Sequence

from models import database
from models.pages import Row
from models.scans import Held


async def last_of_range(held: Held, most: int) -> str | None:
    """The last key of the next so many uploads of the bucket; None where there are fewer."""
    rows = await database.fetch(
        "SELECT key FROM uploads WHERE bucket = $1 AND key > $2 ORDER BY key OFFSET $3 LIMIT 1",
        *(held.bucket, held.cursor, most - 1),
    )
    return rows[0]["key"] if rows else None


async def suspected(held: Held, last: str | None) -> list[Row]:
    """``id``, ``key``, ``size_bytes`` of uploads that were complete before the scan began and were not listed so.

    From where the scan is up to ``last``, or to the end.
    """
    return await database.fetch(
        "SELECT u.id, u.key, u.size_bytes FROM uploads u WHERE u.bucket = $2 AND u.key > $3"
        " AND ($4::text IS NULL OR u.key <= $4) AND u.state = 'COMPLETE' AND u.completed_at < $5"
        " AND NOT EXISTS (SELECT FROM reaper_keys k WHERE k.scan_id = $1 AND k.key = u.key AND k.multipart_id = ''"
        " AND k.size_bytes = u.size_bytes OFFSET 0) ORDER BY u.key",
        *(held.id, held.bucket, held.cursor, last, held.started_at),
    )


async def note(held: Held, lost: Sequence[tuple[int, int | None]]) -> None:
    """Uploads (primary keys) of which S3 said that nothing is there, or so many bytes, and that are complete still."""
    await database.execute(
        "INSERT INTO lost_files AS l (bucket, key, upload_pk, size_bytes, found_bytes, first_seen_at, scan_id)"
        " SELECT u.bucket, u.key, u.id, u.size_bytes, f.found, now(), $1"
        " FROM unnest($2::bigint[], $3::bigint[]) AS f (id, found) JOIN uploads u ON u.id = f.id"
        " WHERE u.state = 'COMPLETE' ON CONFLICT (bucket, key) DO UPDATE"
        " SET found_bytes = excluded.found_bytes, scan_id = excluded.scan_id",
        *(held.id, [upload for upload, _ in lost], [found for _, found in lost]),
    )


async def forget_found(held: Held) -> None:
    """Those that the scan has found again, or that are no longer anybody's."""
    await database.execute("DELETE FROM lost_files WHERE bucket = $1 AND scan_id <> $2", held.bucket, held.id)


async def figures() -> list[Row]:
    """By bucket and ``tenant``: ``count`` and ``bytes``."""
    return await database.fetch(
        "SELECT bucket, split_part(key, '/', 2) AS tenant, count(*) AS count, sum(size_bytes)::bigint AS bytes"
        " FROM lost_files GROUP BY 1, 2 ORDER BY 1, 2"
    )


async def listed(most: int) -> list[Row]:
    """Those first missed first, each with its object's ids where there still is one."""
    return await database.fetch(
        "SELECT l.*, split_part(l.key, '/', 2) AS tenant, b.batch_id, o.object_id FROM lost_files l"
        " LEFT JOIN uploads u ON u.id = l.upload_pk LEFT JOIN objects o ON o.id = u.object_pk"
        " LEFT JOIN batches b ON b.id = o.batch_pk ORDER BY l.id LIMIT $1",
        most,
    )
