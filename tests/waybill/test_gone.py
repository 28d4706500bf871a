"""Clients that go away while the database works for them: it stops, and what they had is there for others."""

import asyncio
from contextlib import ExitStack

import asyncpg
import pytest

from tests.conftest import Caller, NewCaller
from tests.models.conftest import until
from tests.waybill.test_keep_alive import Connection, posted

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
OWN = "{ one: objects { nodes { id } } two: objects { nodes { id } } }"


SHARED = "{ objects { nodes { id } } }"  # with those who ask at once


@pytest.mark.parametrize(("clients", "query"), [(1, OWN), (20, OWN), (20, SHARED)])
async def test_client_that_goes_away_ends_its_statement_and_leaves_its_connection_to_others(
    service_url: str, database_url: str, new_caller: NewCaller, clients: int, query: str
) -> None:
    callers: list[Caller] = [await new_caller() for _ in range(min(clients, 4))]
    observer = await asyncpg.connect(database_url)
    locker = await asyncpg.connect(database_url)

    async def are_waiting(how_many: int) -> bool:
        found = await observer.fetchval(WAITING)
        return bool(found >= how_many if how_many else found == 0)

    try:
        async with locker.transaction():
            await locker.execute("LOCK TABLE objects")
            with ExitStack() as stack:
                for number in range(clients):
                    connection = stack.enter_context(Connection(service_url))
                    connection.send(posted(callers[number % len(callers)], query))
                await until(lambda: are_waiting(2))
            await until(lambda: are_waiting(0), 10)  # sooner than a statement is stopped for taking too long
    finally:
        await locker.close()
        await observer.close()

    def ask() -> list[int]:
        with ExitStack() as stack:
            connections = [stack.enter_context(Connection(service_url)) for _ in range(clients)]
            for number, connection in enumerate(connections):
                connection.send(posted(callers[number % len(callers)], query))
            return [connection.answer().status for connection in connections]

    assert await asyncio.to_thread(ask) == [200] * clients
