"""What the second wall (tests/wall.py) lets through and what it does not."""

import asyncio
import os
from pathlib import Path

import httpx
import pytest

from models import database
from tests import wall
from tests.conftest import Caller, served
from tests.tenant_predicates import unbound

TABLES = frozenset({"objects", "object_pairs", "uploads", "grants", "users"})
OWN = "SELECT o.id FROM objects o WHERE o.tenant_id = $1"
FOUND = {
    "SELECT id FROM objects": ["objects"],
    "SELECT id FROM objects WHERE id = $1": ["objects"],
    "SELECT id FROM objects WHERE tenant_id = $1 OR id = $2": ["objects"],
    "SELECT id FROM objects WHERE NOT tenant_id = $1": ["objects"],
    "SELECT id FROM objects WHERE tenant_id <> $1": ["objects"],
    "SELECT id FROM objects WHERE tenant_id = tenant_id": ["objects"],
    "SELECT o.id FROM objects o, objects p WHERE o.tenant_id = $1": ["objects p"],
    "SELECT o.id FROM objects o LEFT JOIN uploads u ON o.tenant_id = $1": ["objects o", "uploads u"],
    f"{OWN} AND EXISTS (SELECT FROM object_pairs p WHERE p.key = $2)": ["object_pairs p"],
    f"{OWN} AND o.object_id IN (SELECT key FROM object_pairs)": ["object_pairs"],
    f"({OWN}) UNION ALL (SELECT id FROM objects)": ["objects"],
    f"WITH c AS (SELECT id FROM objects) {OWN}": ["objects"],
    "SELECT s.id FROM (SELECT id FROM objects) AS s JOIN uploads u ON u.object_pk = s.id": ["objects"],
    # Each by the other is by none.
    "SELECT FROM objects o, LATERAL (SELECT p.object_pk FROM object_pairs p WHERE p.object_pk = o.id) AS l"
    " WHERE o.id = l.object_pk": ["object_pairs p"],
    "SELECT FROM unnest($1::bigint[]) AS k (id) JOIN objects o ON o.id = k.id": ["objects o"],
    "SELECT FROM users u JOIN tenants t ON t.id = u.tenant_id WHERE u.name = $1": ["users u", "tenants t"],
    "UPDATE uploads SET state = $2 WHERE id = $1": ["uploads"],
    "DELETE FROM uploads WHERE id = ANY(ARRAY(SELECT id FROM uploads LIMIT 1))": ["uploads"],
    "INSERT INTO users (name) VALUES ($1)": ["users"],
    "INSERT INTO users (tenant_id) VALUES ($1) RETURNING (SELECT max(id) FROM objects)": ["objects (not understood)"],
    "DECLARE portions NO SCROLL CURSOR FOR SELECT id FROM objects": ["objects"],
    "TRUNCATE objects": ["objects (not understood)"],
    "INSERT INTO users (tenant_id, name) SELECT tenant_id, object_id FROM objects": ["objects"],
}  # fmt: skip
BOUND = [
    OWN,
    "SELECT id FROM objects WHERE (tenant_id + 0) = $1::bigint AND (id = $2 OR id = $3)",
    f"{OWN} AND EXISTS (SELECT FROM object_pairs p WHERE p.object_pk = o.id OFFSET 0) IS NOT TRUE",
    f"SELECT s.id FROM ({OWN}) AS s JOIN objects p ON p.id = s.id LEFT JOIN uploads u ON u.object_pk = p.id",
    f"WITH c AS ({OWN}) SELECT FROM c JOIN objects p ON p.id = c.id",
    "SELECT FROM tenants t LEFT JOIN users u ON u.tenant_id = t.id WHERE t.slug = $1",
    f"DELETE FROM objects WHERE id = ANY(ARRAY({OWN} FOR UPDATE))",
    "INSERT INTO users (tenant_id, name) VALUES ($1,$2)",
]


@pytest.mark.parametrize("sql", FOUND)
def test_a_mention_without_its_tenant_is_found(sql: str) -> None:
    assert unbound(sql, TABLES) == FOUND[sql]


@pytest.mark.parametrize("sql", BOUND)
def test_what_is_bound_to_a_tenant_passes(sql: str) -> None:
    assert unbound(sql, TABLES) == []


async def test_tables_are_found_by_their_column() -> None:
    tables = await wall.tables_of_tenants(os.environ["WAYBILL_TEST_DATABASE"])
    assert tables >= TABLES | {"batches", "api_keys", "audit_log", "usage_changes"}
    assert "tenants" not in tables


async def test_a_statement_of_the_service_without_its_tenant_fails_the_test(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the front door: the statement that reads a page has lost its tenant."""
    original = database.fetch

    async def careless(sql: str, *arguments: object) -> object:
        return await original(sql.replace("o.tenant_id = (SELECT $1::bigint)", "true"), *arguments)

    monkeypatch.setattr(database, "fetch", careless)
    await admin.execute("{ objects { nodes { objectId } } }")
    caught = wall.unbounded()
    assert any("models.reads.objects" in one and " objects o " in one for one in caught)


def careless() -> None:
    """In a service process: all statements lose their tenants."""
    original = database.fetch

    async def fetch(sql: str, *arguments: object) -> object:
        return await original(sql.replace("o.tenant_id = (SELECT $1::bigint)", "true"), *arguments)

    database.fetch = fetch  # type: ignore[assignment]


async def test_so_does_one_of_another_process(admin: Caller, database_url: str) -> None:
    service = served(database_url, prepare=f"{__name__}:careless")
    url = await asyncio.to_thread(service.__enter__)
    async with httpx.AsyncClient(base_url=url, headers=admin.headers) as client:
        answer = await client.post("/graphql", json={"query": "{ objects(first: 3) { nodes { objectId } } }"})
    await asyncio.to_thread(service.__exit__, None, None, None)
    assert answer.status_code == 200
    caught = wall.unbounded()
    assert any("models.reads.objects" in one and " objects o " in one for one in caught)


NOT_RECORDED = {
    "tests/processes.py": "starts as a user does where the start itself is the claim",
    "tests/waybill/commands.py": "commands for clients, which know no database",
}


def test_processes_of_the_service_are_started_where_they_are_recorded() -> None:
    here = Path(__file__)
    files = [file for file in here.parent.rglob("*.py") if file != here and '"-m", "waybill"' in file.read_text()]
    assert {file.relative_to(here.parents[1]).as_posix() for file in files} == NOT_RECORDED.keys()


async def test_exemptions_are_of_functions_that_send_statements() -> None:
    for name in wall.EXEMPT:
        module, _, function = name.partition(".<locals>")[0].rpartition(".")
        assert callable(getattr(__import__(module, fromlist=[function]), function))
