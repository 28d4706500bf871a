"""A database that goes away in the middle of a mutation."""

import asyncio

import httpx
import pytest

from tests.conftest import Caller, served
from tests.graph.test_mutations import CREATE_BATCH, UPDATE, contents, pairs
from tests.models.relay import relaying

CHANGES = {
    "createBatch": (CREATE_BATCH, {"batchId": "new", "objects": [{"objectId": "x", "data": pairs("k=v")}]}),
    "updateObjectData": (UPDATE, {"objectId": "o", "set": pairs("k=changed")}),
}


@pytest.mark.parametrize("text", [b"BEGIN", b"COMMIT"])
async def test_mutation_while_the_database_is_down_stores_nothing(
    admin: Caller, database_url: str, text: bytes
) -> None:
    await admin.create_batch("b", {"o": [("k", "v")]})
    before = await contents(admin)
    async with relaying(database_url) as relay:
        service = served(relay.url + "?sslmode=disable")
        url = await asyncio.to_thread(service.__enter__)
        try:
            async with httpx.AsyncClient(base_url=url, headers=admin.headers) as client:
                for query, given in CHANGES.values():
                    with relay.holding("request", text) as held:
                        body = {"query": query, "variables": {"input": given}}
                        asked = asyncio.create_task(client.post("/graphql", json=body))
                        await held.arrived(1)
                        relay.cut()
                        answer = await asked
                    assert answer.status_code == 503
                    [error] = answer.json()["errors"]
                    assert error["extensions"] == {"code": "UNAVAILABLE"}
                    assert "before you repeat" in error["message"]
                    assert await contents(admin) == before
        finally:
            await asyncio.to_thread(service.__exit__, None, None, None)
