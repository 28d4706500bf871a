"""A page with and without PostgreSQL's row-level security: what a second wall between tenants would cost.

    .venv/bin/python bench/row_security.py [ROUNDS]

The statement is the service's own; 100,000 objects of five pairs in two tenants, on the embedded PostgreSQL. The ways
take turns. With row-level security the tenant is set per transaction, in the fewest messages that it takes.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from models import database, reads
from models.filters import Condition, Equals, Everything, HasPair
from models.pages import Bounds, Row, Scope
from waybill import postgres

PAGES = (10, 100)
WHERE: dict[str, Condition] = {"newest": Everything(), "filtered": HasPair("key 1", Equals("value 3"))}
DATA = """
    INSERT INTO tenants (slug, member_access, created_at) VALUES ('one', 'NONE', now()), ('two', 'NONE', now());
    INSERT INTO users (tenant_id, name, role, created_at) SELECT id, 'user', 'ADMIN', now() FROM tenants;
    INSERT INTO batches (id, tenant_id, batch_id, created_by_id)
    SELECT tenant_id, tenant_id, 'batch', id FROM users;
    INSERT INTO objects (id, tenant_id, batch_pk, object_id, data, updated_at)
    SELECT n, b.tenant_id, b.id, 'object ' || n, (
        SELECT jsonb_agg(jsonb_build_object('key', 'key ' || k, 'value', 'value ' || n % (7 * k * k)))
        FROM generate_series(1, 5) AS k), now()
    FROM generate_series(1, 100000) AS n
    JOIN (SELECT *, row_number() OVER (ORDER BY id) AS place FROM batches) AS b ON b.place = n % 2 + 1;
"""
SECURED = """
    CREATE ROLE service;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO service;
    DO $$ DECLARE name regclass; BEGIN
        FOR name IN SELECT a.attrelid FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                    WHERE a.attname = 'tenant_id' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace LOOP
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', name);
            EXECUTE format(
                'CREATE POLICY own ON %s USING (tenant_id = current_setting(''waybill.tenant'')::bigint)', name);
        END LOOP;
    END $$;
"""

Way = Callable[[], Awaitable[list[Row]]]


async def page(tenant_id: int, size: int, where: Condition) -> tuple[str, tuple[object, ...]]:
    """The statement that the service reads a page with."""
    taken: list[tuple[str, tuple[object, ...]]] = []

    async def fetch(sql: str, *arguments: object) -> list[asyncpg.Record]:
        taken.append((sql, arguments))
        return []

    database.fetch = fetch
    await reads.objects(Scope(tenant_id), where, Bounds(size))
    [statement] = taken
    return statement


async def timed(way: Way, size: int) -> float:
    started = time.perf_counter()
    rows = await way()
    assert len(rows) == size + 1
    return (time.perf_counter() - started) * 1000


async def main(url: str, rounds: int) -> None:
    await database.migrate(url)
    settings: dict[str, Any] = database.config(url)["connections"]["default"]["credentials"]["server_settings"]
    plain, secured = [await asyncpg.connect(url, server_settings=settings) for _ in range(2)]
    await plain.execute(DATA)
    await plain.execute("VACUUM ANALYZE")
    await plain.execute(SECURED)
    await secured.execute("SET ROLE service")
    assert await secured.fetchval("SELECT row_security_active('objects')")
    for size in PAGES:
        for what, where in WHERE.items():
            await compare(plain, secured, f"{what} {size}", size, where, rounds)
    await plain.close()
    await secured.close()


async def compare(
    plain: asyncpg.Connection,
    secured: asyncpg.Connection,
    what: str,
    size: int,
    where: Condition,
    rounds: int,
) -> None:
    tenant_id = await plain.fetchval("SELECT max(id) FROM tenants")
    text, arguments = await page(tenant_id, size, where)

    async def now() -> list[Row]:
        return await plain.fetch(text, *arguments)

    async def with_security() -> list[Row]:
        await secured.execute(f"BEGIN; SELECT set_config('waybill.tenant', '{tenant_id}', true)")
        rows = await secured.fetch(text, *arguments)
        await secured.execute("COMMIT")
        return rows

    ways: dict[str, Way] = {"now": now, "secured": with_security}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(await timed(way, size))
    before, after = (statistics.median(of) for of in times.values())
    print(f"{what}: {before:.2f} ms, with row-level security {after:.2f} ms, {(after / before - 1) * 100:+.0f} %")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        Path(name).chmod(0o755)
        with postgres.running(Path(name) / "data") as url:
            uvloop.run(main(url, int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
