"""What a client is told when PostgreSQL fails, each failure made by the real one (``test_faults.py`` has the table)."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from models import Tenant, database, faults
from models.errors import Conflict, TimedOut, Unavailable, WaybillError
from tests.conftest import free_port, new_database, url_of
from tests.models.conftest import is_gone, observing, until
from tests.models.relay import relaying

TENANTS = (
    "INSERT INTO tenants (id, slug, member_access, created_at)"
    " VALUES (8000001, 'a', 'NONE', now()), (8000002, 'b', 'NONE', now())"
)


async def told(work: Awaitable[object]) -> type[WaybillError] | None:
    """What the failure of this work is to a client; None: a fault of ours, masked."""
    with pytest.raises(Exception) as failure:  # noqa: PT011 - which one is the question
        await work
    known = faults.translate(failure.value)
    return None if known is None else type(known)


@contextlib.asynccontextmanager
async def connected_to(url: str, **options: Any) -> AsyncIterator[None]:
    async with database.connected(database.config(url, max_connections=2, **options)):
        yield


@contextlib.asynccontextmanager
async def role(url: str, options: str) -> AsyncIterator[str]:
    """The URL for a new role that is no superuser."""
    name = f"role_{secrets.token_hex(4)}"
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f"CREATE ROLE {name} LOGIN {options}")
        yield url.replace("//waybill@", f"//{name}@")
        await connection.execute(f"DROP ROLE {name}")
    finally:
        await connection.close()


async def in_transaction(*statements: str) -> None:
    async with database.transaction():
        for statement in statements:
            await database.fetch(statement)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(600)", TimedOut),
        ("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(600)", Unavailable),
        ("DO $$ BEGIN RAISE deadlock_detected; END $$", Conflict),
        ("DO $$ BEGIN RAISE disk_full; END $$", Unavailable),
        ("DO $$ BEGIN RAISE cannot_connect_now; END $$", Unavailable),
        ("SELECT nothing", None),
        ("SELECT 1 / 0", None),
        ("SELECT 'closed'::int", None),
    ],
)
async def test_failed_statement_alone_and_in_a_transaction(
    own_url: str, statement: str, expected: type[WaybillError] | None
) -> None:
    async with connected_to(own_url):
        assert await told(database.fetch(statement)) is expected
        assert await told(in_transaction("SELECT 1", statement)) is expected
        assert await told(in_nested_transaction(statement)) is expected


async def in_nested_transaction(statement: str) -> None:
    async with database.transaction():
        await in_transaction("SELECT 1", statement)


async def test_statement_time_out_is_timed_out(own_url: str) -> None:
    async with connected_to(own_url, statement_timeout_seconds=0.1):
        assert await told(database.fetch("SELECT pg_sleep(600)")) is TimedOut
        assert await told(in_transaction("SELECT pg_sleep(600)")) is TimedOut


async def test_transaction_whose_connection_ended_between_statements_is_unavailable(own_url: str) -> None:
    async with observing(own_url) as observer, connected_to(own_url, statement_timeout_seconds=0.1):
        assert await told(idle(observer)) is Unavailable


async def idle(observer: asyncpg.Connection) -> None:
    async with database.transaction():
        [row] = await database.fetch("SELECT pg_backend_pid() AS pid")
        await until(lambda: is_gone(observer, row["pid"]))
        await database.fetch("SELECT 1")


async def test_database_that_cannot_be_reached_is_unavailable(own_url: str) -> None:
    for url in (
        f"postgresql://waybill@127.0.0.1:{free_port()}/waybill",
        "postgresql://waybill@/waybill?host=/nowhere&port=5432",
        url_of("there_is_no_such_database"),
        own_url.replace("//waybill@", "//nobody@"),
    ):
        async with connected_to(url):
            assert await told(database.fetch("SELECT 1")) is Unavailable, url
            assert await told(in_transaction("SELECT 1")) is Unavailable, url
            assert await told(Tenant.all().count()) is Unavailable, url


async def test_database_that_was_dropped_is_unavailable(own_url: str) -> None:
    url = await new_database("template0")
    async with connected_to(url), observing(own_url) as observer:
        await database.fetch("SELECT 1")
        await observer.execute(f"DROP DATABASE {urlsplit(url).path.removeprefix('/')} WITH (FORCE)")
        for _ in range(3):  # the connection is lost first, then there is no other
            assert await told(database.fetch("SELECT 1")) is Unavailable
            assert await told(in_transaction("SELECT 1")) is Unavailable


async def test_server_that_accepts_connections_and_says_nothing_is_unavailable(own_url: str) -> None:
    async with relaying(own_url) as relay, connected_to(relay.url, connect_timeout_seconds=0.1):
        with relay.holding("request", b"waybill"):
            assert await told(database.fetch("SELECT 1")) is Unavailable
            assert await told(in_transaction("SELECT 1")) is Unavailable
        await database.fetch("SELECT 1")


async def test_server_with_too_many_connections_is_unavailable(own_url: str) -> None:
    async with role(own_url, "CONNECTION LIMIT 0") as url, connected_to(url):
        assert await told(database.fetch("SELECT 1")) is Unavailable
        assert await told(in_transaction("SELECT 1")) is Unavailable


async def test_refused_permission_is_a_fault_of_ours(own_url: str) -> None:
    async with role(own_url, "") as url, connected_to(url):
        assert await told(Tenant.all().count()) is None


async def test_standby_that_cannot_write_is_unavailable(own_url: str) -> None:
    async with connected_to(own_url):
        assert await told(in_transaction("SET TRANSACTION READ ONLY", "DELETE FROM tenants")) is Unavailable


async def test_connection_cut_in_the_middle_is_unavailable(own_url: str) -> None:
    async with relaying(own_url) as relay, connected_to(relay.url):
        for work in (lambda: database.fetch("SELECT 'cut'"), lambda: in_transaction("SELECT 'cut'")):
            with relay.holding("answer", b"cut") as held:
                task = asyncio.create_task(told(work()))
                await held.arrived(1)
                relay.cut()
                assert await task is Unavailable
        await database.fetch("SELECT 1")


@pytest.mark.parametrize("text", [b"BEGIN", b"held", b"COMMIT"])
async def test_what_cut_a_transaction_is_not_hidden_by_what_follows(own_url: str, text: bytes) -> None:
    async with relaying(own_url) as relay, connected_to(relay.url):
        await database.fetch("SELECT 1")
        with relay.holding("request", text) as held:
            task = asyncio.create_task(in_transaction("SELECT 'held'"))
            await held.arrived(1)
            relay.cut()
            with pytest.raises(asyncpg.ConnectionDoesNotExistError, match="in the middle of operation"):
                await task
        await in_transaction("SELECT 1")


@pytest.mark.parametrize("work", [lambda: database.fetch("SELECT 1"), lambda: in_transaction("SELECT 1")])
async def test_connection_that_the_server_is_about_to_end_is_unavailable(
    own_url: str, work: Callable[[], Awaitable[object]]
) -> None:
    async with observing(own_url) as observer, relaying(own_url) as relay, connected_to(relay.url):
        [row] = await database.fetch("SELECT pg_backend_pid() AS pid")
        with relay.holding("answer", b"") as held:
            await observer.execute("SELECT pg_terminate_backend($1)", row["pid"])
            await held.arrived(1)
            await asyncio.sleep(0.05)  # the server's last words are on their way
            assert await told(work()) is Unavailable
        await database.fetch("SELECT 1")


async def test_closed_pool_is_unavailable(own_url: str) -> None:
    async with connected_to(own_url):
        await database.fetch("SELECT 1")
        pool = database.client()._pool
        await pool.close()
        assert await told(database.fetch("SELECT 1")) is Unavailable
        assert await told(in_transaction("SELECT 1")) is Unavailable


async def test_transaction_chosen_to_end_a_deadlock_is_a_conflict(own_url: str) -> None:
    both_have_one = asyncio.Barrier(2)

    async def update(first: int, second: int) -> None:
        async with database.transaction():
            await database.fetch("SET LOCAL deadlock_timeout = '10ms'")
            await Tenant.filter(id=first).update(slug=f"{first}")
            await both_have_one.wait()
            await Tenant.filter(id=second).update(slug=f"{second}")

    assert await failures_of_two(own_url, lambda: update(8000001, 8000002), lambda: update(8000002, 8000001)) == [
        Conflict
    ]


async def test_transaction_that_cannot_be_serialized_is_a_conflict(own_url: str) -> None:
    both_have_read = asyncio.Barrier(2)

    async def update() -> None:
        async with database.transaction():
            await database.fetch("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await Tenant.all().count()
            await both_have_read.wait()
            await Tenant.filter(id=8000001).update(slug="c")

    assert await failures_of_two(own_url, update, update) == [Conflict]


async def failures_of_two(url: str, *work: Callable[[], Awaitable[None]]) -> list[type[WaybillError | None]]:
    async with connected_to(url):
        await database.fetch("TRUNCATE tenants CASCADE")
        await database.execute(TENANTS)
        ended = await asyncio.gather(*(one() for one in work), return_exceptions=True)
        return [type(faults.translate(error)) for error in ended if isinstance(error, BaseException)]


async def test_faults_of_ours_are_not_blamed_on_the_database(own_url: str) -> None:
    async with connected_to(own_url):
        await database.fetch("TRUNCATE tenants CASCADE")
        await Tenant.create(slug="taken")
        assert await told(Tenant.create(slug="taken")) is None
        assert await told(Tenant.filter(slug="NUL \0").count()) is None
        assert await told(database.fetch("SELECT $1::text", "NUL \0")) is None
        assert await told(database.fetch("SELECT $1::text", "\ud800")) is None
        assert await told(database.fetch("SELECT $1::bigint", 1 << 63)) is None
        assert await told(database.fetch("SELECT $1::bigint", "1")) is None
        assert await told(database.fetch("SELECT $1::bigint")) is None
