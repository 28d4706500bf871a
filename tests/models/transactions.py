"""What tests of transactions do in them, and find afterwards."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from typing import TypeAlias

from models import Tenant, database

CONNECTIONS = 4
INSERT = "INSERT INTO tenants (slug, member_access, created_at) VALUES ($1, 'NONE', now())"

Work: TypeAlias = Callable[[], Coroutine[None, None, None]]


class Undone(Exception):
    """Ends a transaction that is to be rolled back."""


async def insert() -> None:
    async with database.transaction():
        await database.execute(INSERT, secrets.token_hex(6))


async def insert_nested() -> None:
    async with database.transaction():
        await database.execute(INSERT, secrets.token_hex(6))
        async with database.transaction():
            await database.execute(INSERT, secrets.token_hex(6))


async def nothing() -> None:
    pass


async def insert_many() -> None:
    for _ in range(5):
        await database.execute(INSERT, secrets.token_hex(6))


async def undo() -> None:
    raise Undone


async def read() -> None:
    await database.fetch("SELECT 'read'")


async def use_all_connections() -> set[int]:
    """The process ids of as many connections as the pool may have, all in use at once."""
    all_there = asyncio.Barrier(CONNECTIONS)

    async def one() -> int:
        async with database.transaction():
            [row] = await database.fetch("SELECT pg_backend_pid() AS pid")
            await all_there.wait()
            return int(row["pid"])

    async with asyncio.timeout(20):
        pids = set(await asyncio.gather(*(one() for _ in range(CONNECTIONS))))
    assert len(pids) == CONNECTIONS
    return pids


async def kept() -> int:
    return await Tenant.all().count()
