"""Migrating is safe to repeat, to do from several processes at once, to kill, and to take back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
from tortoise.migrations.executor import MigrationExecutor, MigrationTarget
from tortoise.migrations.schema_editor.asyncpg import AsyncpgSchemaEditor

from models import Tenant, User, database, keys, writes
from models.files import NewFile
from tests.conftest import new_database
from tests.models.conftest import until

ALL = [
    "0001_initial",
    "0002_files",
    "0003_credentials",
    "0004_quotas",
    "0005_grants",
    "0006_audit",
    "0007_operators",
    "0008_idempotency",
    "0009_multipart",
    "0010_sealed",
    "0011_reaper",
    "0012_jobs",
    "0013_syncs",
    "0014_drift",
    "0016_zones",
    "0017_hashes",
    "0018_granted",
]
NOTES = {"tortoise_migrations", "tortoise_migrations_id_seq", "tortoise_migrations_pkey", "uid_tortoise_mi_app_3803a5"}


@pytest.fixture
async def empty_url() -> str:
    return await new_database("template0")


async def things(url: str) -> set[str]:
    """The names of all that is in the database, be it a table, an index, a function or a statistics object."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            """
            SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
            UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
            UNION SELECT stxname FROM pg_statistic_ext
            UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype NOT IN ('c', 'b')
            """
        )
        return {row["name"] for row in rows}
    finally:
        await connection.close()


async def keeps_objects(url: str) -> bool:
    """Whether a batch with an object can be created and found by its data."""
    async with database.connected(database.config(url)):
        tenant = await Tenant.create(slug="one")
        user = await User.create(tenant=tenant, name="ada")
        await writes.create_batch(tenant.id, user.id, "b", [writes.NewObject("o", '[{"key": "k", "value": "v"}]')])
        return len(await database.fetch("SELECT FROM object_pairs WHERE value = 'v'")) == 1


async def test_empty_database_gets_all_migrations_once(empty_url: str) -> None:
    assert await database.migrate(empty_url) == ALL
    before = await things(empty_url)
    assert await database.migrate(empty_url) == []
    assert await things(empty_url) == before
    assert await keeps_objects(empty_url)


async def test_keys_that_were_there_may_what_they_might_before(empty_url: str) -> None:
    async with database.connected(database.config(empty_url)), database.transaction() as client:
        executor = MigrationExecutor(client, database._APPS_OF_MIGRATIONS)
        await executor.recorder.ensure_schema(AsyncpgSchemaEditor(client, atomic=False))
        await executor.migrate([MigrationTarget("models", "0002_files")])
        await database.fetch(
            "INSERT INTO tenants (id, slug, member_access, created_at) VALUES (1, 'one', 'NONE', now())"
        )
        await database.fetch(
            "INSERT INTO users (id, tenant_id, name, role, created_at) VALUES (1, 1, 'ada', 'ADMIN', now())"
        )
        await database.fetch(
            "INSERT INTO api_keys (tenant_id, user_id, name, public_id, secret_sha256, created_at)"
            " VALUES (1, 1, '', 'public', sha256(''), now())"
        )
    assert await database.migrate(empty_url) == ALL[2:]
    async with database.connected(database.config(empty_url)):
        row = await keys.holder("public")
        assert row is not None
        assert (row["scope"], row["valid"]) == ("ADMIN", True)


async def test_uploads_that_were_there_are_of_their_batches() -> None:
    url = await new_database()
    async with database.connected(database.config(url)):
        tenant = await Tenant.create(slug="one")
        user = await User.create(tenant=tenant, name="ada")
        file = NewFile("a", "b/c", 1, None, "bucket", "key", timedelta(hours=1))
        made = await writes.create_batch(tenant.id, user.id, "b", [writes.NewObject("o", "[]", file)])
        async with database.transaction() as client:
            executor = MigrationExecutor(client, database._APPS_OF_MIGRATIONS)
            await executor.migrate([MigrationTarget("models", "0007_operators")], direction="backward")
        await database.migrate(url)
        [row] = await database.fetch("SELECT batch_pk FROM uploads")
        assert row["batch_pk"] == made.batch["id"]


async def test_of_five_that_migrate_at_once_one_does_it(empty_url: str) -> None:
    applied = await asyncio.gather(*(database.migrate(empty_url) for _ in range(5)))
    assert sorted(applied) == [[], [], [], [], ALL]
    assert await keeps_objects(empty_url)


async def test_processes_that_migrate_wait_for_the_one_that_does(empty_url: str) -> None:
    async with holding_the_lock(empty_url) as holder:
        waiting = [asyncio.create_task(database.migrate(empty_url)) for _ in range(2)]
        await until(lambda: are_waiting(holder, 2))
        assert await things(empty_url) == set()
    assert sorted(await asyncio.gather(*waiting)) == [[], ALL]


@contextlib.asynccontextmanager
async def holding_the_lock(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", database._MIGRATION_LOCK)
        yield connection
    finally:
        await connection.close()


async def are_waiting(holder: asyncpg.Connection, count: int) -> bool:
    waiting = await holder.fetchval(
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted"
    )
    return bool(waiting == count)


async def test_migration_killed_in_the_middle_leaves_nothing_and_can_be_repeated(empty_url: str) -> None:
    connection = await asyncpg.connect(empty_url)
    try:
        for command in ("CREATE TABLE", "CREATE INDEX", "ALTER TABLE", "CREATE FUNCTION", "CREATE TRIGGER"):
            # The server ends the migration's own connection right after this command.
            await connection.execute(
                f"""
                CREATE SCHEMA killer;
                CREATE FUNCTION killer.kill() RETURNS event_trigger LANGUAGE plpgsql AS
                    'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); END';
                CREATE EVENT TRIGGER killer ON ddl_command_end WHEN TAG IN ('{command}') EXECUTE FUNCTION killer.kill();
                """
            )
            with pytest.raises(asyncpg.PostgresError, match="terminating connection"):
                await database.migrate(empty_url)
            assert await things(empty_url) == set()
            await connection.execute("DROP SCHEMA killer CASCADE")
    finally:
        await connection.close()
    assert await database.migrate(empty_url) == ALL
    assert await keeps_objects(empty_url)


async def test_migration_cancelled_while_it_waits_can_be_repeated(empty_url: str) -> None:
    async with holding_the_lock(empty_url) as holder:
        waiting = asyncio.create_task(database.migrate(empty_url))
        await until(lambda: are_waiting(holder, 1))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await things(empty_url) == set()
    assert await database.migrate(empty_url) == ALL


async def test_downgrade_removes_everything_and_up_again_works() -> None:
    url = await new_database()
    before = await things(url)
    async with database.connected(database.config(url)), database.transaction() as client:
        executor = MigrationExecutor(client, database._APPS_OF_MIGRATIONS)
        await executor.migrate([MigrationTarget("models", "__first__")], direction="backward")
    assert await things(url) == NOTES
    assert await database.migrate(url) == ALL
    assert await things(url) == before
    assert await keeps_objects(url)
