"""The limit: what Starlette and asyncpg can do when one hand-written statement returns the whole answer as JSON."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_PAGE = """
    SELECT json_build_object('data', json_build_object('objects', json_build_object(
        'edges', coalesce(json_agg(json_build_object('cursor', id::text, 'node', {node}) ORDER BY id DESC)
                          FILTER (WHERE place <= $2), '[]'::json),
        'pageInfo', json_build_object('hasNextPage', count(*) > $2, 'hasPreviousPage', false,
            'startCursor', max(id)::text, 'endCursor', (min(id) FILTER (WHERE place <= $2))::text))))::text
    FROM (SELECT {columns}, row_number() OVER (ORDER BY o.id DESC) AS place FROM objects o {joins}
          WHERE o.tenant_id = $1{after} ORDER BY o.id DESC LIMIT $2 + 1) AS s
"""
_NODE = "'id', id::text, 'objectId', object_id, 'createdAt', updated_at, 'data', data"
PAGE = _PAGE.format(node=f"json_build_object({_NODE})", columns="o.*", joins="", after="")
PAGES = _PAGE.format(node=f"json_build_object({_NODE})", columns="o.*", joins="", after=" AND o.id < $3::text::bigint")
PAGE_WITH_BATCH = _PAGE.format(
    node=f"json_build_object({_NODE}, 'batch', json_build_object('batchId', batch_id), 'file', null)",
    columns="o.*, b.batch_id",
    joins="JOIN batches b ON b.id = o.batch_pk",
    after="",
)
ONE = f"""
    SELECT json_build_object('data', json_build_object('object', json_build_object({_NODE})))::text
    FROM objects WHERE tenant_id = $1 AND object_id = $2
"""

_TESTS = {
    "eq": "{pair}.value = {value}::text",
    "gte": "{pair}.number >= {value}::float8",
    "startsWith": "starts_with({pair}.value, {value}::text)",
}


def filtered(pairs: list[tuple[str, str | float, str]], leads: bool) -> tuple[str, list[str | float]]:
    """The first pair's list in key order, or all objects, with the others looked up one by one."""

    def test(pair: str, number: int) -> str:
        given = f"${2 * number + 4}"
        return f"{pair}.key = ${2 * number + 3}::text AND " + _TESTS[pairs[number][2]].format(pair=pair, value=given)

    key, source = ("p.object_pk", "object_pairs p") if leads else ("p.id", "objects p")
    listed = [test("p", 0)] if leads else []
    looked_up = [
        f"EXISTS (SELECT FROM object_pairs q WHERE q.object_pk = {key} AND {test('q', number)} OFFSET 0)"
        for number in range(len(listed), len(pairs))
    ]
    where = " AND ".join(["p.tenant_id = $1", *listed, *looked_up])
    page = f"(SELECT {key} AS pk FROM {source} WHERE {where} ORDER BY {key} DESC LIMIT $2 + 1)"
    joins = f"JOIN {page} AS f ON f.pk = o.id"
    return _PAGE.format(node=f"json_build_object({_NODE})", columns="o.*", joins=joins, after=""), [
        one for pair in pairs for one in pair[:2]
    ]


async def answer(request: Request) -> Response:
    asked = orjson.loads(await request.body())
    state = request.app.state
    connection: asyncpg.Connection
    async with state.pool.acquire() as connection:
        arguments: list[str | float] = [asked.get("after", NEWEST)] if asked["what"] == "pages" else []
        if (statement := STATEMENTS.get(asked["what"])) is None:
            statement, arguments = filtered(*asked["wanted"])
        text = await connection.fetchval(statement, state.tenant_id, asked["value"], *arguments)
    return Response(text, media_type="application/json")


NEWEST = str((1 << 63) - 1)
STATEMENTS = {"page": PAGE, "pages": PAGES, "batch": PAGE_WITH_BATCH, "one": ONE}


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], server_settings={"jit": "off"}) as pool:
        app.state.pool = pool
        app.state.tenant_id = await pool.fetchval("SELECT id FROM tenants WHERE slug = 'bench'")
        yield


app = Starlette(routes=[Route("/graphql", answer, methods=["POST"])], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), access_log=False, log_level="warning")
