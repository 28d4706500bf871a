"""The rows that measurements read: objects of five pairs, with the selectivities that the README of bench names.

Made by SQL, as nothing is measured of how they come to be; the triggers make the rest, and the indexes of the pairs are
made afterwards, which is four times as quick. Kept in a data directory, so that a second run finds them there.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import asyncpg

from access.credentials import create_key
from models import Role, Tenant, User, database

Fill: TypeAlias = Callable[[asyncpg.Connection, int, int, int], Awaitable[None]]  # tenant, user, objects

PER_BATCH = 1_000
_AT_ONCE = 100_000

# 99 % and 1 %; ten of 10 % each, twice; a thousand of 0.1 %; a different one each. ``colour`` and ``kind`` are
# independent; two colours never meet.
_OBJECTS = """
    INSERT INTO objects (id, tenant_id, batch_pk, object_id, data, updated_at)
    SELECT key(n), $1, key(n / $4 * $4), 'object ' || n, jsonb_build_array(
        jsonb_build_object('key', 'state', 'value', CASE WHEN h % 100 = 0 THEN 'failed' ELSE 'done' END),
        jsonb_build_object('key', 'colour', 'value', 'colour ' || h / 100 % 10),
        jsonb_build_object('key', 'kind', 'value', 'kind ' || h / 1000 % 10),
        jsonb_build_object('key', 'shelf', 'value', 'shelf ' || h / 10000 % 1000),
        jsonb_build_object('key', 'number', 'value', n::text)), now()
    FROM (SELECT n, hashint8extended(n, 7) & 9223372036854775807 AS h
          FROM generate_series($2::bigint, $3 - 1) AS n) AS r
"""
# The newest have files, as a page of them is asked for with URLs.
_FILES = """
    INSERT INTO uploads (id, tenant_id, object_pk, batch_pk, bucket, key, name, content_type, size_bytes, sha256, state,
        is_current, expires_at, completed_at)
    SELECT id, tenant_id, id, batch_pk, 'bench', 'waybill/bench/' || id, 'photo ' || id || '.jpg', 'image/jpeg', 4711,
        sha256(object_id::bytea), 'COMPLETE', true, now(), now()
    FROM (SELECT * FROM objects WHERE tenant_id = $1 ORDER BY id DESC LIMIT 1000) AS o
    WHERE NOT EXISTS (SELECT FROM uploads WHERE object_pk = o.id)
"""
_KEY = """
    CREATE OR REPLACE FUNCTION key(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
    $$ SELECT ((1000000000 + n / 100) << 22) | (n % 100 + 1) $$
"""

_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS made, c.conname IS NOT NULL AS is_key
    FROM pg_index i LEFT JOIN pg_constraint c ON c.conindid = i.indexrelid WHERE i.indrelid = 'object_pairs'::regclass
"""


def key(number: int) -> int:
    """As SQL's ``key``, which is made by ``prepare``."""
    return ((1_000_000_000 + number // 100) << 22) | (number % 100 + 1)


async def prepare(url: str, objects: int, fill: Fill | None = None) -> tuple[str, int]:
    """A key of an admin of the tenant ``bench``, which has so many objects, and the tenant."""
    await database.migrate(url)
    connection = await asyncpg.connect(url)
    try:
        tenant_id, user_id = await _tenant(url)
        await connection.execute(_KEY)
        there = await connection.fetchval("SELECT count(*) FROM objects WHERE tenant_id = $1", tenant_id)
        if there not in (0, objects):
            raise SystemExit(f"the data directory holds {there:,} objects: choose another for {objects:,}")
        if not there:
            await (fill or _fill)(connection, tenant_id, user_id, objects)
        await connection.execute(_FILES, tenant_id)
        return await _key(url, user_id), tenant_id
    finally:
        await connection.close()


async def _tenant(url: str) -> tuple[int, int]:
    async with database.connected(database.config(url)):
        defaults = {"quota_bytes": None, "quota_objects": None}
        tenant, _ = await Tenant.get_or_create(slug="bench", defaults=defaults)
        user, _ = await User.get_or_create(tenant=tenant, name="bench", defaults={"role": Role.ADMIN})
        return tenant.id, user.id


async def _key(url: str, user_id: int) -> str:
    async with database.connected(database.config(url)):
        return await create_key(await User.get(id=user_id), "bench")


async def _fill(connection: asyncpg.Connection, tenant_id: int, user_id: int, objects: int) -> None:
    started = time.perf_counter()
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(
        "INSERT INTO batches (id, tenant_id, batch_id, created_by_id)"
        " SELECT key(n), $1, 'batch ' || n / $4, $2 FROM generate_series(0, $3::bigint - 1, $4) AS n",
        *(tenant_id, user_id, objects, PER_BATCH),
    )
    indexes = await connection.fetch(_INDEXES)
    for index in indexes:
        drop = "ALTER TABLE object_pairs DROP CONSTRAINT" if index["is_key"] else "DROP INDEX"
        await connection.execute(f"{drop} {index['name']}")
    for first in range(0, objects, _AT_ONCE):
        await connection.execute(_OBJECTS, tenant_id, first, min(first + _AT_ONCE, objects), PER_BATCH)
        print(f"{min(first + _AT_ONCE, objects):,} objects after {time.perf_counter() - started:.0f} s", flush=True)
    await connection.execute("SET maintenance_work_mem = '1GB'")
    for index in indexes:
        await connection.execute(index["made"])
        if index["is_key"]:
            key = f"ADD CONSTRAINT {index['name']} PRIMARY KEY USING INDEX {index['name']}"
            await connection.execute(f"ALTER TABLE object_pairs {key}")
        print(f"{index['name']} after {time.perf_counter() - started:.0f} s", flush=True)
    for table in ("objects", "object_pairs", "batches"):
        await connection.execute(f"VACUUM (ANALYZE) {table}")
    await connection.execute("CHECKPOINT")


if __name__ == "__main__":
    import sys
    from pathlib import Path

    from waybill import postgres

    with postgres.running(Path(sys.argv[1])) as found:
        print(asyncio.run(prepare(found, int(sys.argv[2]))))
