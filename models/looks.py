"""Uploads that nobody completed: when S3 is asked for their bytes.

A minute after an upload was announced, then as long again as it took so far, and at the latest once its URL is over,
which decides.
"""

from collections.abc import Sequence
from datetime import timedelta

from models import database, ids
from models.files import COLUMNS, GRACE
from models.pages import Row

_LOOKING = timedelta(minutes=5)  # for which an upload is somebody's to look at; beyond, two look at it
_SOONEST = timedelta(minutes=1)
_LATEST = timedelta(hours=1)

_AGE = f"(now() - timestamptz '{ids.EPOCH.isoformat()}' - (id >> {ids.TIME_SHIFT}) * interval '1 millisecond')"


async def due(most: int) -> list[Row]:
    """Uploads to look at now, with ``tenant_id`` and ``over``: whether their URL is. Nobody else is given them for a
    while.

    Every tenant that has some gets the same share, so that however many one has, the others' wait no longer for it.
    """
    return await database.fetch(
        # The tenants are found one after the other by the index, which is looked up once for each.
        "WITH RECURSIVE waiting AS ("
        " (SELECT tenant_id, look_at FROM uploads WHERE state = 'PENDING' ORDER BY tenant_id, look_at LIMIT 1)"
        " UNION ALL SELECT later.tenant_id, later.look_at FROM waiting w CROSS JOIN LATERAL ("
        "SELECT u.tenant_id, u.look_at FROM uploads u WHERE u.state = 'PENDING' AND u.tenant_id > w.tenant_id"
        " ORDER BY u.tenant_id, u.look_at LIMIT 1) AS later),"
        " turn AS MATERIALIZED (SELECT tenant_id FROM waiting WHERE look_at <= now() ORDER BY look_at LIMIT $1)"
        " UPDATE uploads u SET look_at = now() + $2 WHERE u.id = ANY(ARRAY("
        "SELECT mine.id FROM turn CROSS JOIN LATERAL ("
        "SELECT p.id FROM uploads p WHERE p.tenant_id = turn.tenant_id AND p.state = 'PENDING' AND p.look_at <= now()"
        " ORDER BY p.look_at LIMIT $1 / (SELECT count(*) FROM turn) FOR UPDATE SKIP LOCKED) AS mine))"
        f" RETURNING {COLUMNS}, u.tenant_id, u.expires_at < now() - {GRACE} AS over",
        *(most, _LOOKING),
    )


async def at(keys: Sequence[tuple[str, str]]) -> list[Row]:
    """The uploads of buckets and keys, in whatever state, as ``due`` gives them but for ``over``, which none is."""
    return await database.fetch(
        f"SELECT {COLUMNS}, u.tenant_id, false AS over FROM unnest($1::text[], $2::text[]) AS k (bucket, key)"
        " JOIN uploads u ON u.bucket = k.bucket AND u.key = k.key",
        *([bucket for bucket, _ in keys], [key for _, key in keys]),
    )


async def again(uploads: Sequence[int]) -> None:
    """Their bytes (primary keys) are not there yet."""
    await database.execute(
        f"UPDATE uploads SET look_at = least(now() + least($2, greatest($3, {_AGE})), expires_at + {GRACE})"
        " WHERE id = ANY($1::bigint[])",
        *(list(uploads), _LATEST, _SOONEST),
    )


async def later(uploads: Sequence[int]) -> None:
    """S3 did not say; not all at once, so that one it does not speak of keeps no others waiting for good."""
    await database.execute(
        "UPDATE uploads SET look_at = now() + $2::interval * (0.5 + random()) WHERE id = ANY($1::bigint[])",
        *(list(uploads), _SOONEST),
    )
