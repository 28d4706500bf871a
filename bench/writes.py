"""Mutations that make many rows, over HTTP, beside the same rows put into the same tables by hand.

    make bench

By hand is what a careful engineer would write for these rows alone: one transaction, COPY or one INSERT for each table,
the rows ready in memory; the tables' triggers and indexes are the same for both. Both take turns in one run, beside as
many other objects as the data directory has. The processor's time is that of the service, or of who does it by hand,
and of PostgreSQL for them: it says more where other work goes on.
"""

import argparse
import asyncio
import os
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg
import orjson
import uvloop

from bench import data
from bench.serving import Member, Serving, children, member, processor_seconds, serving
from models import database
from storage.keys import new_key
from waybill import postgres

OBJECTS, PAIRS, FILES = 10_000, 5, 1_000
SLUG = "bench-writes"
CREATE_BATCH = "mutation ($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } } }"
CREATE_UPLOADS = """mutation ($input: CreateUploadsInput!) {
    createUploads(input: $input) { uploads { id url headers { name value } expiresAt } } }"""
_COLUMNS = ("id", "tenant_id", "batch_pk", "object_id", "data", "updated_at")
_UPLOADS = """
    INSERT INTO uploads (id, tenant_id, object_pk, batch_pk, bucket, key, name, content_type, size_bytes, state,
        is_current, expires_at)
    SELECT n.id, $1, n.object_pk, $2, 'bench', n.key, n.name, 'image/jpeg', 4711, 'PENDING', true, $3
    FROM unnest($4::bigint[], $5::bigint[], $6::text[], $7::text[]) AS n (id, object_pk, key, name)
"""
_AUDIT = """
    INSERT INTO audit_log (id, at, tenant_id, user_id, action, batch_id, object_id, upload_pk, until_at)
    SELECT n.id, now(), $1, $2, 'WRITE_URL', $3, n.object_id, n.id, $4
    FROM unnest($5::bigint[], $6::text[]) AS n (id, object_id)
"""
_TABLES = ("uploads", "objects", "deletions", "grants", "batches")  # the audit log is only ever added to


class Took(NamedTuple):
    wall: float  # seconds
    processor: float


Results = dict[str, tuple[list[Took], list[Took]]]  # over HTTP, by hand


@dataclass
class Bench:
    """What one tenant writes."""

    whose: Member
    by_hand: asyncpg.Connection
    service: Serving
    postmaster: int
    next_key: int = field(default_factory=lambda: time.time_ns() // 1000)  # others than in another run
    results: Results = field(default_factory=dict)

    def keys(self, count: int) -> list[int]:
        """Far below those of the service."""
        first, self.next_key = self.next_key, self.next_key + count
        return list(range(first, first + count))

    async def compare(self, what: str, body: bytes, by_hand: Callable[[], Awaitable[None]]) -> None:
        """Each begins in every other round."""

        async def over_http() -> None:
            await asyncio.to_thread(self.service.post, body)

        over, hand = self.results.setdefault(what, ([], []))
        ways = [(over, over_http, self.service.process), (hand, by_hand, os.getpid())]
        for took, way, process in ways if len(over) % 2 == 0 else reversed(ways):
            before, started = self._processor(process), time.perf_counter()
            await way()
            took.append(Took(time.perf_counter() - started, self._processor(process) - before))
        print(f"{what}: {over[-1].wall:.3f} s, by hand {hand[-1].wall:.3f} s", flush=True)

    def _processor(self, process: int) -> float:
        return sum(map(processor_seconds, (process, *children(self.postmaster))))

    async def create_batch(self) -> None:
        name, at = secrets.token_hex(4), datetime.now(UTC)
        made = [(f"{name} {number}", _pairs(number)) for number in range(OBJECTS)]
        body = {"batchId": name, "objects": [{"objectId": one, "data": pairs} for one, pairs in made]}
        [batch_pk], keys = self.keys(1), self.keys(OBJECTS)
        texts = sorted((f"hand {one}", orjson.dumps(pairs).decode()) for one, pairs in made)
        rows = [(key, self.whose.tenant_id, batch_pk, *text, at) for key, text in zip(keys, texts, strict=True)]

        async def by_hand() -> None:
            async with self.by_hand.transaction():
                await self._batch(batch_pk, f"hand {name}")
                await self.by_hand.copy_records_to_table("objects", columns=_COLUMNS, records=rows)

        what = f"`createBatch`, {OBJECTS:,} objects of {PAIRS} pairs"
        await self.compare(what, _body(CREATE_BATCH, body), by_hand)

    async def create_uploads(self) -> None:
        name, at = secrets.token_hex(4), datetime.now(UTC)
        [batch_pk], keys = self.keys(1), self.keys(2 * FILES)
        ids = [f"{name} {key}" for key in keys]
        await self._batch(batch_pk, name)
        rows = [(key, self.whose.tenant_id, batch_pk, one, "[]", at) for key, one in zip(keys, ids, strict=True)]
        await self.by_hand.copy_records_to_table("objects", columns=_COLUMNS, records=rows)
        names = [f"{one}.jpg" for one in ids]
        file = {"contentType": "image/jpeg", "size": 4711}
        files = [{"objectId": one, "file": {"name": its, **file}} for one, its in zip(ids[:FILES], names, strict=False)]
        uploads, until = self.keys(FILES), at + timedelta(hours=1)
        columns = (uploads, keys[FILES:], [new_key(SLUG, uuid4()) for _ in uploads], names[FILES:])

        async def by_hand() -> None:
            tenant_id, user_id, _ = self.whose
            async with self.by_hand.transaction():
                await self.by_hand.execute(_UPLOADS, tenant_id, batch_pk, until, *columns)
                await self.by_hand.execute(_AUDIT, tenant_id, user_id, name, until, uploads, ids[FILES:])

        await self.compare(f"`createUploads`, {FILES:,} files", _body(CREATE_UPLOADS, {"files": files}), by_hand)

    async def _batch(self, key: int, batch_id: str) -> None:
        await self.by_hand.execute(
            "INSERT INTO batches (id, tenant_id, batch_id, created_by_id) VALUES ($1, $2, $3, $4)",
            *(key, self.whose.tenant_id, batch_id, self.whose.user_id),
        )


def _pairs(number: int) -> list[dict[str, str]]:
    values = ("done", f"colour {number % 10}", f"kind {number // 10 % 10}", f"shelf {number % 1000}", str(number))
    keys = ("state", "colour", "kind", "shelf", "number")
    return [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)]


def _body(query: str, given: object) -> bytes:
    return orjson.dumps({"query": query, "variables": {"input": given}})


async def _clear(connection: asyncpg.Connection, tenant_id: int) -> None:
    for table in _TABLES:
        await connection.execute(f"DELETE FROM {table} WHERE tenant_id = $1", tenant_id)


async def measure(url: str, directory: Path, objects: int, rounds: int) -> Results:
    await data.prepare(url, objects)
    whose = await member(url, SLUG)
    settings: dict[str, Any] = database.config(url)["connections"]["default"]["credentials"]["server_settings"]
    by_hand = await asyncpg.connect(url, server_settings=settings | {"statement_timeout": "0"})
    try:
        await _clear(by_hand, whose.tenant_id)  # what a run left that was broken off
        postmaster = int((directory / "postgres" / "postmaster.pid").read_text().split()[0])
        with serving(url, whose.key, orjson.dumps({"query": "{ viewer { tenant { slug } } }"})) as service:
            bench = Bench(whose, by_hand, service, postmaster)
            for number in range(1 + rounds):
                await bench.create_batch()
                await bench.create_uploads()
                if number == 0:  # which has warmed up
                    bench.results.clear()
                    await by_hand.execute("ANALYZE")  # as autovacuum does within a minute
        await _clear(by_hand, whose.tenant_id)
    finally:
        await by_hand.close()
    return bench.results


def table(results: Results) -> str:
    lines = [
        "| work | over HTTP, ms | by hand, ms | ratio | from to | processor, ms | by hand, ms | ratio |",
        f"|{' --- |' * 8}",
    ]
    for what, (over, hand) in results.items():
        cells = [what]
        for each in ("wall", "processor"):
            times = [[getattr(one, each) * 1000 for one in took] for took in (over, hand)]
            a, b = map(statistics.median, times)
            cells += [f"{a:,.0f}", f"{b:,.0f}", f"{a / b:.2f}"]
            if each == "wall":
                ratios = [one / other for one, other in zip(*times, strict=True)]
                cells.append(f"{min(ratios):.2f} to {max(ratios):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    with postgres.running(chosen.data_dir) as found:
        print(table(uvloop.run(measure(found, chosen.data_dir, chosen.objects, chosen.rounds))))
