"""What a read touches, by the plans that PostgreSQL takes or may take for it."""

import re
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import orjson

from models import database


async def blocks_read(url: str, read: Any) -> int:
    """How many blocks of 8 kB a read touches, with what it asks before, whichever plans PostgreSQL takes."""
    plans = await plans_of(url, read)
    for node in (node for both in plans for plan in both for node in nodes(plan)):
        assert (node["Node Type"], node.get("Relation Name")) != ("Seq Scan", "object_pairs")
    return sum(max(int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]) for plan in both) for both in plans)


async def plans_of(url: str, read: Any) -> list[list[dict[str, Any]]]:
    """Of each statement the plan that is made for its arguments, and the one that may be kept for all."""
    plans: list[list[dict[str, Any]]] = []
    original = database.fetch

    async def explain(sql: str, *arguments: object) -> list[Any]:
        rows = await original(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *arguments)
        if may_be_kept(sql):
            rows += await explained_for_any(sql, *arguments)
        plans.append([one["Plan"] for [row] in rows for one in orjson.loads(row)])
        return await original(sql, *arguments)

    async with database.connected(database.config(url)):
        with patch.object(database, "fetch", explain):
            await read
    return plans


def may_be_kept(sql: str) -> bool:
    """Whether a plan for any arguments is another, and is not too dear in PostgreSQL's eyes."""
    return "AS planned WHERE" not in sql and "$" in re.sub(r"\(SELECT \$\d+::[^()]+\)", "", sql)


async def explained_for_any(sql: str, *arguments: object) -> list[Any]:
    async with database.transaction() as client, client.acquire_connection() as connection:
        types = (await connection.prepare(sql)).get_parameters()
        literals = []
        for type_, argument in zip(types, arguments, strict=True):
            name = await connection.fetchval("SELECT format_type($1, NULL)", type_.oid)
            literals.append(await connection.fetchval(f"SELECT quote_nullable($1::{name}::text)", argument))
        await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE for_any AS {sql}")
        given = f"({', '.join(literals)})" if literals else ""
        rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE for_any{given}")
        await connection.execute("DEALLOCATE for_any")
        return list(rows)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
