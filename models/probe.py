"""Whether PostgreSQL answers, asked so that a full pool is not mistaken for a dead database."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import asyncpg
from tortoise.connection import get_connection

from models import database
from models.asyncpg_client import Client


async def answers(seconds: float) -> bool:
    """True if PostgreSQL answers within the time; takes no longer, even if its server hangs.

    A connection of the pool is asked, because that is cheap; if none is free for a third of the time, a new one.
    """
    tasks = {_start(database.fetch("SELECT 1"))}
    try:
        done, _ = await asyncio.wait(tasks, timeout=seconds / 3)
        if not done:
            tasks.add(_start(_ask_anew()))
            done, _ = await asyncio.wait(tasks, timeout=seconds * 2 / 3, return_when=asyncio.FIRST_COMPLETED)
        return any(task.exception() is None for task in done)
    finally:
        # Not awaited: on a server that hangs, giving the connection back hangs too.
        for task in tasks:
            task.cancel()


def _start(question: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
    task = asyncio.create_task(question)
    task.add_done_callback(
        lambda ended: ended.cancelled() or ended.exception()
    )  # or asyncio complains that nobody asked
    return task


async def _ask_anew() -> None:
    connection = await asyncpg.connect(cast("Client", get_connection(database.CONNECTION)).dsn)
    try:
        await connection.execute("SELECT 1")
    finally:
        connection.terminate()
