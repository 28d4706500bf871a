"""Mutations are kept or undone whole, answers are bounded, and one request leaves room for the others."""

import asyncio
import contextvars
from typing import Any
from unittest.mock import patch

import pytest

from graph import executor
from graph.deadline import Deadline
from graph.limits import AnswerLimits
from models import Object, database
from models.errors import BadInput
from models.turns import Tenants
from tests.conftest import Caller, NewCaller
from tests.graph.tiny import Tiny, code
from tests.uploads import file_of

CREATE = """mutation($id: String!, $objects: [ObjectInput!]) {
  createBatch(input: {batchId: $id, objects: $objects}) { %s } }"""


async def exists(caller: Caller, batch_id: str) -> bool:
    data = (await caller.post("query($id: String!) { batch(batchId: $id) { id } }", id=batch_id)).json()["data"]
    return data["batch"] is not None


@pytest.mark.parametrize(
    ("selection", "code"),
    [
        ("batch { objects(first: 1000) { nodes { id } } }", "BAD_INPUT"),
        ('batch { objects(after: "x") { nodes { id } } }', "BAD_CURSOR"),
        ("batch { objects(where: {data: [{key: null}]}) { nodes { id } } }", "BAD_INPUT"),
        ("batch { a: objects(first: 100) { totalCount } objects(first: 0) { totalCount } }", "BAD_INPUT"),
    ],
)
async def test_error_below_a_mutation_undoes_it(admin: Caller, selection: str, code: str) -> None:
    answer = (await admin.post(CREATE % selection, id="b", objects=[{"objectId": "o"}])).json()
    assert answer["data"] is None
    assert {error["extensions"]["code"] for error in answer["errors"]} == {code}
    assert not await exists(admin, "b")
    assert await admin.object_ids() == []


async def test_mutations_before_the_one_that_fails_stay_and_those_after_it_are_not_begun(admin: Caller) -> None:
    made = 'createBatch(input: {batchId: "%s"}) { batch { objects(first: %s) { totalCount } } }'
    answer = (await admin.post(f"mutation {{ a: {made % ('a', 1)} b: {made % ('b', 0)} c: {made % ('c', 1)} }}")).json()
    assert [error["path"][0] for error in answer["errors"]] == ["b"]
    assert [await exists(admin, one) for one in "abc"] == [True, False, False]


async def test_error_that_leaves_the_payload_standing_undoes_the_mutation_too(admin: Caller) -> None:
    async def failing(*_: object) -> None:
        raise BadInput("no users today")

    with patch("models.people.some_users", failing):
        answer = (await admin.post(CREATE % "batch { createdBy { name } }", id="b")).json()
    assert answer["data"] is None
    assert not await exists(admin, "b")


async def test_payload_reads_what_the_mutation_wrote_before_anybody_else_can(admin: Caller) -> None:
    seen: list[bool] = []
    original = database.fetch

    async def looking(sql: str, *arguments: object) -> object:
        if "unnest" in sql:  # the payload's page
            seen.append(await asyncio.create_task(outside(), context=nobody) is not None)
        return await original(sql, *arguments)

    async def outside() -> object:
        return await Object.get_or_none(object_id="o", tenant_id=admin.tenant.id)

    nobody = contextvars.copy_context()
    with patch.object(database, "fetch", looking):
        selection = "batch { objects { nodes { objectId } } }"
        data = await admin.execute(CREATE % selection, id="b", objects=[{"objectId": "o"}])
    assert data["createBatch"]["batch"]["objects"]["nodes"] == [{"objectId": "o"}]
    assert seen == [False]
    assert await outside() is not None


async def test_mutation_that_is_late_with_its_payload_is_undone(admin: Caller) -> None:
    async def slow(*_: object) -> None:
        await asyncio.sleep(60)

    with patch("models.people.some_users", slow), patch("graph.endpoint.Deadline", lambda _: Deadline(0.3)):
        answer = await admin.post(CREATE % "batch { createdBy { name } }", id="b")
    assert (answer.status_code, code(answer)) == (504, "TIMEOUT")
    assert not await exists(admin, "b")


@pytest.mark.parametrize(
    ("limits", "limit"), [(AnswerLimits(values=10), "values"), (AnswerLimits(characters=40), "characters")]
)
async def test_answer_over_a_limit_is_refused_whatever_multiplied_it(limits: AnswerLimits, limit: str) -> None:
    small = Tiny(answer_limits=limits)
    assert "errors" not in (await small.query("{ nodes(count: 10) { name } }")).json()
    for query in ("{ nodes(count: 11) { name } }", "{ nodes(count: 4) { name a: name b: name } }"):
        answer = await small.query(query)
        assert code(answer) == "TOO_COMPLEX"
        assert answer.json()["data"] is None
        assert answer.json()["errors"][0]["extensions"]["limit"] == limit


async def test_payload_over_a_limit_undoes_the_mutation(admin: Caller) -> None:
    objects = [
        {"objectId": f"o{n}", "data": [{"key": str(key), "value": ""} for key in range(100)]} for n in range(900)
    ]
    selection = "objects { data { key value again: key } }"
    assert (await admin.error(CREATE % selection, id="b", objects=objects))["extensions"]["limit"] == "values"
    assert not await exists(admin, "b")


@pytest.mark.parametrize("selection", ["objects { id objectId }", "uploads { id object { objectId } }"])
async def test_large_answer_lets_others_be_served_meanwhile(
    admin: Caller, selection: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a list of 1,000 only ten items are made in one turn of the event loop, if that takes too long."""
    monkeypatch.setattr(executor, "_LONGEST_SECONDS", 0)
    made, most = 0, 0
    original = executor.Executor.complete_leaf_value

    def counted(self: executor.Executor, *arguments: Any) -> Any:
        nonlocal made
        made += 1
        return original(self, *arguments)

    async def watch() -> None:
        nonlocal made, most
        while True:
            made = 0
            await asyncio.sleep(0)
            most = max(most, made)

    monkeypatch.setattr(executor.Executor, "complete_leaf_value", counted)
    watching = asyncio.create_task(watch())
    objects = [{"objectId": f"o{n}", "file": file_of(b"")} for n in range(1_000)]
    await admin.execute(CREATE % selection, id="b", objects=objects)
    watching.cancel()
    assert 10 <= most <= 20


async def test_one_request_and_one_tenant_leave_connections_to_others(new_caller: NewCaller) -> None:
    """The pool has 5: a tenant has 2 of them."""
    busy, other = await new_caller(), await new_caller()
    running, most = 0, 0
    release = asyncio.Event()
    original = database.fetch

    async def waiting(sql: str, *arguments: object) -> object:
        nonlocal running, most
        if "FROM objects" not in sql or busy.tenant.id not in arguments:
            return await original(sql, *arguments)
        async with database.client().acquire_connection():
            running += 1
            most = max(most, running)
            await release.wait()
            running -= 1
        return []

    with patch.object(database, "fetch", waiting):
        query = "{ a: objects { nodes { id } } b: objects { nodes { id } } c: objects { nodes { id } } }"
        asked = [asyncio.create_task(busy.post(query)) for _ in range(4)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            assert await other.object_ids() == []
        release.set()
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert most == 2


async def test_turns_of_a_tenant_are_forgotten_with_its_last_request() -> None:
    tenants = Tenants(connections=10)
    turns = tenants.turns(1)
    await turns.take()
    turns.give_back()
    del turns
    assert not tenants._gates
