"""The same key and the same request: done once, answered always, by header and by argument."""

from typing import Any

import httpx

from tests.conftest import Caller, without_cost

CREATE = """mutation($id: String!, $key: String) {
  createBatch(input: {batchId: $id}, idempotencyKey: $key) { batch { id batchId createdAt } } }"""


async def send(caller: Caller, key: str | None, query: str, **variables: object) -> httpx.Response:
    """With the key in the header."""
    headers = caller.headers | ({} if key is None else {"Idempotency-Key": key})
    return await caller.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)


async def test_same_request_gets_the_same_answer(admin: Caller) -> None:
    first = await send(admin, "k", CREATE, id="b")
    print(first.json())
    again = await send(admin, "k", CREATE, id="b")
    assert first.status_code == again.status_code
    assert without_cost(first) == without_cost(again)
    print(first.json(), again.json())
    assert 0
