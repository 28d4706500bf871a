"""Scans of buckets: whose they are, how far they are, and what they have listed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex

from models import database
from models.pages import Row
from models.reaper import ScanStep

_HELD = timedelta(minutes=2)  # for which a scan is somebody's; each page begins them anew
_REMEMBERED = timedelta(days=90)
_LISTED = ("scan_id", "key", "multipart_id", "size_bytes", "etag", "modified_at")
FIGURES = ("keys", "bytes", "multiparts", "foreign_keys", "foreign_bytes", "foreign_multiparts", "quarantine_keys",
           "quarantine_bytes")  # fmt: skip

# A first row of each scan, which no key sorts before. PostgreSQL empties the table when it crashes: where this row is,
# all others are, too.
_MARK = "EXISTS (SELECT FROM reaper_keys k WHERE k.scan_id = s.id AND k.key = '')"


class ScanLost(Exception):
    """Somebody else has taken the scan, or PostgreSQL has forgotten what it listed."""


@dataclass(slots=True)
class Held:
    """A scan that is ours for a while, and where it goes on."""

    id: int
    bucket: str
    started_at: datetime
    held_by: str
    step: ScanStep
    cursor: str
    cursor_id: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One object, or unfinished upload in parts, of a key of our form."""

    key: str
    multipart_id: str
    size_bytes: int
    etag: str
    modified_at: datetime


async def buckets(configured: Sequence[str]) -> list[str]:
    """Those configured, and those that uploads remember."""
    rows = await database.fetch(
        # From one bucket to the next in the index: there are many uploads and few buckets.
        "WITH RECURSIVE known (bucket) AS (SELECT min(bucket) FROM uploads UNION ALL"
        " SELECT (SELECT min(u.bucket) FROM uploads u WHERE u.bucket > k.bucket) FROM known k"
        " WHERE k.bucket IS NOT NULL) SELECT bucket FROM known WHERE bucket IS NOT NULL"
    )
    return sorted({*configured, *(row["bucket"] for row in rows)})


async def take(bucket: str, every: timedelta | None = None) -> Held | None:
    """The bucket's scan that nobody holds, or a new one; None where somebody holds it.

    With ``every`` there is no new one before so long after the beginning of the last.
    """
    held_by = token_hex(8)
    async with database.transaction():
        await database.execute(
            "UPDATE reaper_scans s SET step = 'BROKEN', finished_at = now()"
            f" WHERE bucket = $1 AND finished_at IS NULL AND NOT {_MARK}",
            bucket,
        )
        rows = await database.fetch(
            "UPDATE reaper_scans s SET held_by = $2, held_until = now() + $3"
            " WHERE bucket = $1 AND finished_at IS NULL AND held_until <= now() RETURNING *",
            *(bucket, held_by, _HELD),
        )
        if not rows:
            rows = await database.fetch(
                "INSERT INTO reaper_scans"
                f" (bucket, started_at, held_by, held_until, step, cursor, cursor_id, {', '.join(FIGURES)})"
                f" SELECT $1, now(), $2, now() + $3, 'KEYS', '', '', {', '.join('0' for _ in FIGURES)}"
                " WHERE NOT EXISTS (SELECT FROM reaper_scans"
                " WHERE bucket = $1 AND step <> 'BROKEN' AND started_at > now() - $4::interval)"
                " ON CONFLICT (bucket) WHERE finished_at IS NULL DO NOTHING RETURNING *",
                *(bucket, held_by, _HELD, every),
            )
            if rows:
                mark = (rows[0]["id"], "", "", 0, "", rows[0]["started_at"])
                await database.copy("reaper_keys", _LISTED, [mark])
    if not rows:
        return None
    row = rows[0]
    return Held(row["id"], bucket, row["started_at"], held_by, ScanStep(row["step"]), row["cursor"], row["cursor_id"])


async def keep(held: Held, listed: Sequence[Listing], step: ScanStep, cursor: str, figures: Mapping[str, int]) -> None:
    """A page of what the bucket has, and where the scan goes on: both or neither. Raises ScanLost."""
    async with database.transaction():
        await database.copy(
            "reaper_keys",
            _LISTED,
            [(held.id, one.key, one.multipart_id, one.size_bytes, one.etag, one.modified_at) for one in listed],
        )
        await go_on(held, step, cursor, figures=figures)


async def go_on(
    held: Held, step: ScanStep, cursor: str = "", cursor_id: str = "", *, figures: Mapping[str, int] | None = None
) -> None:
    """Where the scan goes on from now on, with what is to be added to its figures. Raises ScanLost."""
    added = [(figures or {}).get(name, 0) for name in FIGURES]
    sums = ", ".join(f"{name} = {name} + ${number}" for number, name in enumerate(FIGURES, 7))
    done = await database.execute(
        "UPDATE reaper_scans s SET step = $3::text, cursor = $4, cursor_id = $5, held_until = now() + $6,"
        f" finished_at = CASE WHEN $3::text = 'DONE' THEN now() END, {sums}"
        f" WHERE id = $1 AND held_by = $2 AND finished_at IS NULL AND {_MARK}",
        *(held.id, held.held_by, step.value, cursor, cursor_id, _HELD, *added),
    )
    if not done:
        raise ScanLost
    held.step, held.cursor, held.cursor_id = step, cursor, cursor_id


async def let_go(held: Held) -> None:
    """Somebody else may go on at once."""
    await database.execute(
        "UPDATE reaper_scans SET held_until = now() WHERE id = $1 AND held_by = $2", held.id, held.held_by
    )


async def forget_listings(most: int) -> int:
    """What scans listed that are over; returns of how many rows."""
    return await database.execute(
        "DELETE FROM reaper_keys WHERE ctid = ANY(ARRAY(SELECT k.ctid FROM reaper_scans s"
        " JOIN LATERAL (SELECT ctid FROM reaper_keys WHERE scan_id = s.id LIMIT $1) k ON true"
        " WHERE s.finished_at IS NOT NULL LIMIT $1))",
        most,
    )


async def forget_old() -> None:
    """Scans of months ago, but for the last one of each bucket."""
    await database.execute(
        "DELETE FROM reaper_scans s WHERE finished_at < now() - $1::interval AND EXISTS"
        " (SELECT FROM reaper_scans n WHERE n.bucket = s.bucket AND n.id > s.id AND n.step = 'DONE')"
        " AND NOT EXISTS (SELECT FROM reaper_keys k WHERE k.scan_id = s.id)",
        _REMEMBERED,
    )


async def newest() -> list[Row]:
    """Of each bucket the last scan that is done, and ``running_since`` where another is under way."""
    return await database.fetch(
        f"SELECT b.bucket, s.started_at, s.finished_at, {', '.join(f's.{name}' for name in FIGURES)},"
        " r.started_at AS running_since"
        " FROM (SELECT DISTINCT bucket FROM reaper_scans) b"
        " LEFT JOIN LATERAL (SELECT * FROM reaper_scans WHERE bucket = b.bucket AND step = 'DONE'"
        " ORDER BY id DESC LIMIT 1) s ON true"
        " LEFT JOIN reaper_scans r ON r.bucket = b.bucket AND r.finished_at IS NULL ORDER BY b.bucket"
    )
