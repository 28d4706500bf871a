"""What the service's connections are sent, by the ORM too, with the functions that sent it; for the second wall.

Of the test process itself and of the service's own processes (tests/processes.py), whose statements come by a file.
"""

import json
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from models import asyncpg_client, database

FILE = "WAYBILL_TEST_STATEMENTS"  # the variable that names it

_SERVICE = ("models", "storage", "access", "graph", "sync", "worker", "waybill")
_BELOW = ("models.database", "models.asyncpg_client", "models.trace", "models.faults")
_NEAREST = 3  # functions: who wrote the statement, and who asked for it


class Sent(NamedTuple):
    sql: str
    by: tuple[str, ...]


_seen: set[Sent] = set()
_new: list[Sent] = []
_file: int | None = None  # of a process whose statements another one checks
_read_bytes = 0


class Recorded(asyncpg_client.Connection):
    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        _note(query)
        return await super().execute(query, *args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> None:
        _note(command)
        await super().executemany(command, args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        _note(query)
        return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        _note(query)
        return await super().fetchrow(query, *args, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        columns = ", ".join(options["columns"])
        _note(f"INSERT INTO {table_name} ({columns}) SELECT")  # which says the same
        return await super().copy_records_to_table(table_name, **options)


def _note(sql: str) -> None:
    if sql.startswith(asyncpg_client._TRANSACTION_CONTROL):
        return
    by: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and len(by) < _NEAREST:
        module = frame.f_globals["__name__"]
        if frame.f_code is database.migrate.__code__:
            return
        if module.partition(".")[0] in _SERVICE and module not in _BELOW:
            by.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    if by:
        _add(Sent(sql, tuple(by)))


def _add(sent: Sent) -> None:
    if sent in _seen:
        return
    _seen.add(sent)
    if _file is None:
        _new.append(sent)
    else:
        os.write(_file, json.dumps(sent).encode() + b"\n")  # at once: the process may be killed


def record() -> None:
    asyncpg_client.Client.connection_class = Recorded


def record_for_another(file: str) -> None:
    """In a process that was started for a test."""
    global _file  # noqa: PLW0603 - a process writes to one file
    _file = os.open(file, os.O_WRONLY | os.O_APPEND)
    record()


def taken() -> list[Sent]:
    """What was sent since this was last asked, here and in other processes; each statement once in a run."""
    global _read_bytes  # noqa: PLW0603
    with Path(os.environ[FILE]).open("rb") as file:
        file.seek(_read_bytes)
        for line in file.read().splitlines(keepends=True):
            if line.endswith(b"\n"):
                _read_bytes += len(line)
                sql, by = json.loads(line)
                _add(Sent(sql, tuple(by)))
    new = _new[:]
    _new.clear()
    return new
