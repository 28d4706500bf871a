"""A process that has answered many requests holds no more than one that has answered a few."""

import gc
import secrets
import sys
from collections import Counter
from functools import partial
from typing import Any

import httpx
import prometheus_client
import pytest
from tortoise import Tortoise

from access import rates, remembered, uses
from access.buckets import Memory
from graph import by_variables, documents
from graph.executor import Executor
from models import database, depths
from storage import given
from tests.access.conftest import Door, door
from tests.conftest import Caller, NewCaller
from tests.held import entries
from tests.uploads import announced
from waybill import app

__all__ = ["door"]  # a fixture

ROUNDS = 20
# What libraries keep: statements, each with a timer that knows the request which was the first to send it.
BOUNDED_ELSEWHERE = ("asyncio.", "asyncpg.", "models.turns.Tenants._gates")
_OURS = ("models", "storage", "access", "graph", "sync", "waybill")

PAGE = "query($where: ObjectWhere) { objects(where: $where) { nodes { objectId data { key value } } } }"
FILE = "query($id: String!) { object(objectId: $id) { batch { batchId } file { access { url } } } }"
NESTED = "query($n: Int) { batches(first: $n) { nodes { objects(first: $n) { totalCount nodes { objectId } } } } }"
CREATE = "mutation($id: String!) { createBatch(input: {batchId: $id}) { batch { id } } }"


@pytest.fixture
def _small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which are reached within the rounds."""
    monkeypatch.setattr(documents, "_MOST_REMEMBERED", 2_000)
    monkeypatch.setattr(by_variables, "_MOST", 4)
    monkeypatch.setattr(by_variables, "_MOST_BYTES", 2_000)
    monkeypatch.setattr(depths, "MOST", 10)
    monkeypatch.setattr(given, "MOST", 10)
    monkeypatch.setattr(remembered, "SECONDS", 3600.0)
    monkeypatch.setattr(remembered, "_MOST", 10)
    monkeypatch.setattr(uses, "_MOST", 10)
    monkeypatch.setattr(rates, "_MOST_KNOWN", 10)
    monkeypatch.setattr(app, "Memory", partial(Memory, 10))


async def one_round(new_caller: NewCaller, http: httpx.AsyncClient) -> None:
    """Of a new tenant and user with a new key; documents, variables, ids and mistakes that were never sent before."""
    caller = await new_caller()
    caller.http = http
    new = f"a{secrets.token_hex(6)}"
    await announced(caller, b"hello", new)
    await database.execute(
        "UPDATE uploads SET state = 'COMPLETE', completed_at = now() WHERE tenant_id = $1", caller.tenant.id
    )
    await caller.execute(f"query {new} {{ {new}: objects {{ nodes {{ objectId }} }} }}")
    for number in range(3):
        await caller.execute(PAGE, where={"data": [{"key": new, "value": {"gt": number}}]})
    await caller.execute(FILE, id=new)
    await caller.execute(NESTED, n=1 + secrets.randbelow(50))
    headers = caller.headers | {"Idempotency-Key": new}
    sent: dict[str, Any] = {"query": CREATE, "variables": {"id": new}}
    await http.post("/graphql", json=sent, headers=headers)
    await http.post("/graphql", json=sent | {"variables": {"id": new * 10_000}}, headers=caller.headers)
    await http.post("/graphql", content=new, headers=caller.headers)
    for query in (f"{{ {new} }}", f"{{ objects(first: {new}", f"query($id: {new}) {{ viewer {{ access }} }}"):
        await http.post("/graphql", json={"query": query, "operationName": new}, headers=caller.headers)
    await http.post("/graphql", json={"query": PAGE}, headers={"Authorization": f"Bearer {new}"})
    await http.get(f"/copies/{new}?{new}={new}")
    await http.post(f"/sync/{new}.{new}/", content="{}", headers={"Authorization": new, "Content-Type": new})
    await http.get(f"/{new}", headers={new: new})


def held(http: httpx.AsyncClient) -> Counter[str]:
    """By the application, our modules, the connections to the database and the metrics."""
    gc.collect()
    modules = [vars(module) for name, module in list(sys.modules.items()) if name.partition(".")[0] in _OURS]
    connections = Tortoise.get_connection(database.CONNECTION)
    return entries([http._transport, *modules, connections, prometheus_client.REGISTRY])


@pytest.mark.usefixtures("_small_bounds")
async def test_nothing_grows_with_what_was_never_sent_before(new_caller: NewCaller, door: Door) -> None:
    async with door() as http:
        for _ in range(ROUNDS):
            await one_round(new_caller, http)
        before = held(http)
        for _ in range(ROUNDS):
            await one_round(new_caller, http)
        after = held(http)
    assert after["graph.documents.Documents._remembered"] > 0  # it was looked for at the right places
    assert after["access.remembered.Remembered._known"] > 0
    grown = {name: (before[name], count) for name, count in after.items() if count >= before[name] + ROUNDS // 2}
    assert [name for name in grown if not name.startswith(BOUNDED_ELSEWHERE)] == [], grown


@pytest.mark.parametrize(
    "query",
    [
        '{ objects { nodes { objectId } } wrong: object(objectId: "absent") { id } }',
        "{ objects { nodes { objectId } } wrong: objects(first: 0) { totalCount } }",
        "{ batches { nodes { objects(first: 0) { totalCount } } } objects { nodes { objectId } } }",
        'mutation { createBatch(input: {batchId: "b"}) { batch { id } } }',
        'mutation { updateObjectData(input: {objectId: "o", unset: ["k"]}) { object { id } } }',
        "{ objects { nodes { objectId } totalCount } }",
    ],
)
async def test_answers_and_errors_leave_nothing_of_the_request_to_the_collector(admin: Caller, query: str) -> None:
    await admin.create_batch("b", {"o": [("k", "v")]})
    await admin.post(query)

    def executors() -> int:
        return sum(isinstance(one, Executor) for one in gc.get_objects())

    gc.collect()
    before = executors()
    gc.disable()
    try:
        for _ in range(3):
            await admin.post(query)
        assert executors() == before
    finally:
        gc.enable()
