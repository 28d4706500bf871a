"""The pool: its settings, its addresses, what it counts, and that it survives what the server does to it."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from models import Tenant, User, database, trace, writes
from tests.conftest import free_port
from tests.models.conftest import is_gone, observing, until
from tests.models.relay import relaying

Work: TypeAlias = Callable[[], Coroutine[None, None, object]]
TENANT = "INSERT INTO tenants (id, slug, member_access, created_at) VALUES (1, $1, 'NONE', now())"


async def show(name: str) -> str:
    [row] = await database.fetch("SELECT current_setting($1) AS value", name)
    return str(row["value"])


async def pid() -> int:
    [row] = await database.fetch("SELECT pg_backend_pid() AS pid")
    return int(row["pid"])


async def others(observer: asyncpg.Connection) -> int:
    count = await observer.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return int(count)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("application_name", "waybill"),
        ("statement_timeout", "1500ms"),
        ("idle_in_transaction_session_timeout", "3s"),
        ("TimeZone", "UTC"),
        ("jit", "off"),
        ("plan_cache_mode", "auto"),
    ],
)
async def test_session_has_its_settings_whenever_it_is_used(own_url: str, name: str, value: str) -> None:
    async with database.connected(database.config(own_url, max_connections=1, statement_timeout_seconds=1.5)):
        assert await show(name) == value
        async with database.transaction():
            await database.fetch(f"SET LOCAL {name} = DEFAULT")
        assert await show(name) == value


async def test_nothing_connects_before_the_first_statement_nor_stays_after_the_end(own_url: str) -> None:
    async with observing(own_url) as observer:
        async with database.connected(database.config(own_url)):
            assert await others(observer) == 0
            await asyncio.gather(*(pid() for _ in range(3)))
            assert await others(observer) > 0
        await until(lambda: nobody_else(observer))


async def nobody_else(observer: asyncpg.Connection) -> bool:
    return await others(observer) == 0


async def test_address_may_be_a_socket_or_a_port_or_several_hosts_and_have_options(own_url: str) -> None:
    url = urlsplit(own_url)
    [directory] = parse_qs(url.query)["host"]
    async with relaying(own_url) as relay:
        for address in (
            own_url,
            f"postgresql://waybill@{directory.replace('/', '%2F')}:5432{url.path}",
            relay.url,
            f"postgresql://waybill@127.0.0.1:{free_port()},127.0.0.1:{relay.port}{url.path}",
            f"{relay.url}?sslmode=prefer&options=-c%20work_mem%3D5MB",
            f"{own_url}&options=-c%20work_mem%3D5MB",
        ):
            async with database.connected(database.config(address)):
                [row] = await database.fetch("SELECT current_database() AS name")
                assert row["name"] == url.path.removeprefix("/"), address
                assert await show("work_mem") == ("5MB" if "options" in address else "4MB"), address
                assert await show("application_name") == "waybill", address


async def test_connection_that_the_server_ended_is_replaced(own_url: str) -> None:
    settings = database.config(own_url, max_connections=1)
    async with observing(own_url) as observer, database.connected(settings):
        for _ in range(3):
            ended = await pid()
            await end(observer, ended)
            # Perhaps this one was given out before its end was noticed.
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InternalClientError):
                await pid()
            assert await pid() != ended


async def end(observer: asyncpg.Connection, process: int) -> None:
    await observer.execute("SELECT pg_terminate_backend($1)", process)
    await until(lambda: is_gone(observer, process))


async def test_connection_that_the_server_ended_during_a_transaction_is_replaced(own_url: str) -> None:
    settings = database.config(own_url, max_connections=1)
    async with observing(own_url) as observer, database.connected(settings):
        await database.fetch("TRUNCATE tenants CASCADE")
        for _ in range(3):
            with pytest.raises(asyncpg.PostgresError, match="terminating connection"):
                await insert_and(lambda: database.fetch("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert await Tenant.all().count() == 0
        assert await others(observer) == 1


async def insert_and(work: Work) -> None:
    async with database.transaction():
        await database.execute(TENANT, "one")
        await work()


async def test_statement_that_takes_too_long_is_stopped_and_its_connection_used_again(own_url: str) -> None:
    async with database.connected(database.config(own_url)):
        await database.fetch("TRUNCATE tenants CASCADE")
    settings = database.config(own_url, max_connections=1, statement_timeout_seconds=0.1)
    async with database.connected(settings):
        connection = await pid()
        with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
            await database.fetch("SELECT pg_sleep(600)")
        with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
            await insert_and(lambda: database.fetch("SELECT pg_sleep(600)"))
        assert await Tenant.all().count() == 0
        await insert_and(pid)
        assert await Tenant.all().count() == 1
        assert await pid() == connection


async def test_statement_on_a_server_that_went_silent_ends_too(own_url: str) -> None:
    async with relaying(own_url) as relay:
        settings = database.config(relay.url, max_connections=1)
        settings["connections"][database.CONNECTION]["credentials"]["command_timeout"] = 0.1
        async with database.connected(settings):
            with relay.holding("answer", b"silent"), pytest.raises(TimeoutError):
                await database.fetch("SELECT 'silent'")
            assert await pid() > 0


def test_client_waits_longer_for_a_statement_than_the_server_lets_it_run() -> None:
    credentials = database.config("", statement_timeout_seconds=30)["connections"][database.CONNECTION]["credentials"]
    assert credentials["command_timeout"] > 30


async def copy_tenants() -> None:
    rows = [(f"copied-{index}", "NONE", datetime.now(UTC)) for index in range(3)]
    await database.copy("tenants", ["slug", "member_access", "created_at"], rows)


async def two_in_a_transaction_with_a_savepoint() -> None:
    async with database.transaction():
        await pid()
        async with database.transaction():
            await pid()


async def three_in_tasks() -> None:
    await asyncio.gather(pid(), pid(), pid())


async def create_batch() -> None:
    user = await User.create(tenant=await Tenant.create(slug="two"), name="ada")
    await writes.create_batch(user.tenant_id, user.id, "b", [writes.NewObject(str(i), "[]") for i in range(100)])


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("work", "statements"),
    [
        (pid, 1),
        (lambda: database.execute(TENANT, "one"), 1),
        (copy_tenants, 1),
        (lambda: Tenant.create(slug="one"), 1),
        (lambda: Tenant.get_or_none(slug="one"), 1),
        (lambda: Tenant.filter(slug="one").update(slug="two"), 1),
        (lambda: Tenant.all().count(), 1),
        (lambda: Tenant.bulk_create([Tenant(slug=f"bulk-{index}") for index in range(3)]), 1),
        (two_in_a_transaction_with_a_savepoint, 2),
        (three_in_tasks, 3),
        (create_batch, 2 + 4),  # tenant, user; number of the call, batch, grant, COPY
    ],
)
async def test_statements_of_a_request_are_counted_without_transaction_control(work: Work, statements: int) -> None:
    await database.fetch("TRUNCATE tenants CASCADE")
    request = trace.RequestTrace("request")
    token = trace.current.set(request)
    try:
        await work()
    finally:
        trace.current.reset(token)
    await pid()
    assert request.statements == statements


@pytest.mark.usefixtures("connected")
async def test_execute_returns_how_many_rows_it_touched() -> None:
    await database.fetch("TRUNCATE tenants CASCADE")
    assert await database.execute(TENANT, "one") == 1
    assert await database.execute("UPDATE tenants SET slug = slug WHERE id < 0") == 0
    await copy_tenants()
    assert await database.execute("DELETE FROM tenants") == 4


async def test_statement_by_itself_starts_no_task(own_url: str) -> None:
    """asyncpg's pool starts one for each connection that it takes back, which takes as long as the statement."""
    started: list[object] = []

    def start(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
        started.append(work)
        return asyncio.Task(work, loop=loop, **options)

    loop = asyncio.get_running_loop()
    async with database.connected(database.config(own_url)):
        await pid()
        loop.set_task_factory(start)
        try:
            assert {await pid() for _ in range(5)} == {await pid()}
        finally:
            loop.set_task_factory(None)
    assert not started
