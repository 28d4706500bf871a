"""Sources of local copies: read, made, changed, their secrets replaced. ``access.sources`` decides and encrypts."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import asyncpg
import orjson

from models import database
from models.errors import AlreadyExists
from models.pages import Bounds, Page, Row
from models.sql import Sql

# ``tenant_slug`` and ``suspended`` are of the tenant.
_COLUMNS = (
    "s.id, s.tenant_id, s.name, s.created_by_id, s.created_at, s.origin, s.destination, s.concurrency, s.paused_at,"
    " s.rotated_at, CASE WHEN s.former_until > now() THEN s.former_until END AS former_until,"
    " t.slug AS tenant_slug, t.revoked_at IS NOT NULL AS suspended"
)
_SECRETS = "s.secret, CASE WHEN s.former_until > now() THEN s.former_secret END AS former_secret"
_FROM = "FROM sync_sources s JOIN tenants t ON t.id = s.tenant_id"


class NewSource(NamedTuple):
    """``origin`` and ``destination`` as they are stored; the secret is encrypted."""

    name: str
    origin: dict[str, Any]
    destination: dict[str, Any]
    concurrency: int
    secret: bytes


async def addressed(tenant_slug: str, name: str) -> Row | None:
    """The source of an address, with its secrets that are good now."""
    rows = await database.fetch(
        f"SELECT {_COLUMNS}, {_SECRETS} {_FROM} WHERE t.slug = $1 AND s.name = $2", tenant_slug, name
    )
    return rows[0] if rows else None


async def named(tenant_id: int, name: str) -> Row | None:
    rows = await database.fetch(
        f"SELECT {_COLUMNS}, {_SECRETS} {_FROM} WHERE s.tenant_id = $1 AND s.name = $2", tenant_id, name
    )
    return rows[0] if rows else None


async def some(tenant_id: int, keys: Sequence[int]) -> list[Row]:
    return await database.fetch(
        f"SELECT {_COLUMNS} {_FROM} WHERE s.tenant_id = $1 AND s.id = ANY($2::bigint[])", tenant_id, list(keys)
    )


async def page(tenant_id: int, bounds: Bounds) -> Page:
    """Newest first."""
    sql = Sql(tenant_id)
    where = f"s.tenant_id = {sql.tenant} AND {bounds.narrow(sql)('s.id')}"
    text = f"SELECT {_COLUMNS} {_FROM} WHERE {where} {bounds.order('s.id')}"
    return bounds.page(await database.fetch(sql.statement(text), *sql.arguments))


async def count(tenant_id: int) -> int:
    [row] = await database.fetch("SELECT count(*) FROM sync_sources WHERE tenant_id = $1", tenant_id)
    return int(row["count"])


async def create(tenant_id: int, user_id: int, new: NewSource) -> Row:
    """Raises AlreadyExists where the tenant has one of the name, or with the directory."""
    try:
        async with database.transaction():
            await database.execute(
                "INSERT INTO sync_sources (tenant_id, name, created_by_id, created_at, origin, destination,"
                " concurrency, secret) VALUES ($1, $2, $3, date_trunc('milliseconds', now()), $4, $5, $6, $7)",
                *(tenant_id, new.name, user_id, orjson.dumps(new.origin).decode()),
                *(orjson.dumps(new.destination).decode(), new.concurrency, new.secret),
            )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "sync_sources_directory":
            raise AlreadyExists("Another source of the tenant has this directory already.") from None
        if error.constraint_name != "sync_sources_name_unique":
            raise
        raise AlreadyExists(f'There is a source "{new.name}" already.', source=new.name) from None
    row = await named(tenant_id, new.name)
    assert row is not None  # noqa: S101 - for the type checker: sources are never deleted
    return row


async def rotate(tenant_id: int, key: int, secret: bytes, former_for: timedelta) -> None:
    """The secret gives way to a new one, and is good for so much longer; the one before it is good no more."""
    await database.execute(
        "UPDATE sync_sources SET former_secret = secret, former_until = now() + $4::interval, secret = $3,"
        " rotated_at = now() WHERE tenant_id = $1 AND id = $2",
        *(tenant_id, key, secret, former_for),
    )


async def change(tenant_id: int, key: int, *, paused: bool | None, concurrency: int | None) -> None:
    """What is None stays. Pausing twice keeps the first time."""
    await database.execute(
        "UPDATE sync_sources SET paused_at = CASE WHEN $3 THEN coalesce(paused_at, now())"
        " WHEN NOT $3 THEN NULL ELSE paused_at END, concurrency = coalesce($4, concurrency)"
        " WHERE tenant_id = $1 AND id = $2",
        *(tenant_id, key, paused, concurrency),
    )


async def standings(tenant_id: int, keys: Sequence[int] | None = None) -> dict[int, Row]:
    """``queued``, ``running``, ``synced``, ``failed`` and ``oldest_queued_at`` of each of these sources, or of all."""
    rows = await database.fetch(
        "SELECT c.id, n.*, (SELECT min(s.queued_at) FROM syncs s WHERE s.tenant_id + 0 = $1 AND s.source_id = c.id"
        " AND s.state = 'QUEUED') AS oldest_queued_at FROM sync_sources c CROSS JOIN LATERAL (SELECT"
        " coalesce(sum(queued), 0)::bigint AS queued, coalesce(sum(running), 0)::bigint AS running,"
        " coalesce(sum(synced), 0)::bigint AS synced, coalesce(sum(failed), 0)::bigint AS failed"
        " FROM sync_counts WHERE source_id = c.id) AS n"
        " WHERE c.tenant_id = $1 AND ($2::bigint[] IS NULL OR c.id = ANY($2::bigint[]))",
        *(tenant_id, None if keys is None else list(keys)),
    )
    return {row["id"]: row for row in rows}


class Stats(NamedTuple):
    queued: int
    running: int
    synced: int
    failed: int


async def stats(tenant_id: int, source_id: int | None = None) -> Stats:
    """Of one source, or of all: sixteen rows of each."""
    [row] = await database.fetch(
        "SELECT coalesce(sum(queued), 0)::bigint AS queued, coalesce(sum(running), 0)::bigint AS running,"
        " coalesce(sum(synced), 0)::bigint AS synced, coalesce(sum(failed), 0)::bigint AS failed FROM sync_counts"
        " WHERE source_id = ANY(ARRAY(SELECT id FROM sync_sources WHERE tenant_id = $1 AND id = coalesce($2, id)))",
        *(tenant_id, source_id),
    )
    return Stats(*row)
