"""Errors quote what the caller sent, but never much of it."""

from typing import Any

import pytest

from tests.conftest import Caller
from tests.graph.test_nodes import NODE, NODES, encoded

LONG = "x" * 1_000_000
CREATE_BATCH = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } } }"
CREATE_OBJECTS = "mutation($input: CreateObjectsInput!) { createObjects(input: $input) { batch { id } } }"
UPDATE = "mutation($input: UpdateObjectDataInput!) { updateObjectData(input: $input) { object { id } } }"
DELETE_OBJECTS = "mutation($input: DeleteObjectsInput!) { deleteObjects(input: $input) { deletedObjectIds } }"
DELETE_BATCH = "mutation($input: DeleteBatchInput!) { deleteBatch(input: $input) { deletedBatchId } }"


def pair(key: str, value: str = "") -> dict[str, str]:
    return {"key": key, "value": value}


@pytest.mark.parametrize(
    ("query", "given", "code"),
    [
        (CREATE_BATCH, {"batchId": LONG}, "BAD_INPUT"),
        (CREATE_BATCH, {"batchId": "new", "objects": [{"objectId": LONG}]}, "BAD_INPUT"),
        (CREATE_BATCH, {"batchId": "new", "objects": [{"objectId": "new", "data": [pair(LONG)]}]}, "BAD_INPUT"),
        (CREATE_BATCH, {"batchId": "new", "objects": [{"objectId": "x" * 256, "data": [pair("")]}]}, "BAD_INPUT"),
        (CREATE_BATCH, {"batchId": "new", "objects": [{"objectId": "x" * 256}] * 2}, "ALREADY_EXISTS"),
        (CREATE_OBJECTS, {"batchId": LONG, "objects": []}, "NOT_FOUND"),
        (UPDATE, {"objectId": LONG, "unset": ["k"]}, "NOT_FOUND"),
        (UPDATE, {"objectId": LONG, "set": [pair("")]}, "BAD_INPUT"),
        (UPDATE, {"objectId": "o", "set": [pair("x" * 256, LONG)]}, "BAD_INPUT"),
        (UPDATE, {"objectId": "o", "set": [pair("x" * 256)], "unset": ["x" * 256]}, "BAD_INPUT"),
        (DELETE_OBJECTS, {"objectIds": [LONG]}, "NOT_FOUND"),
        (DELETE_OBJECTS, {"objectIds": ["o", LONG]}, "NOT_FOUND"),
        (DELETE_BATCH, {"batchId": LONG}, "NOT_FOUND"),
    ],
)
async def test_mutations_quote_little(admin: Caller, query: str, given: dict[str, Any], code: str) -> None:
    await admin.create_batch("b", {"o": []})
    answer = await admin.post(query, input=given)
    [error] = answer.json()["errors"]
    assert error["extensions"]["code"] == code
    assert len(error["message"]) < 200
    assert len(answer.content) < 1_000
    assert await admin.object_ids() == ["o"]


@pytest.mark.parametrize("length", [257, 400_000])
async def test_id_that_nothing_can_have_is_not_found(admin: Caller, length: int) -> None:
    for field in ("batch(batchId: $id)", "object(objectId: $id)"):
        answer = await admin.post(f"query($id: String!) {{ {field} {{ id }} }}", id="x" * length)
        assert answer.json()["errors"][0]["extensions"]["code"] == "NOT_FOUND"
        assert len(answer.content) < 1_000


async def test_longest_id_is_given_back_whole(admin: Caller) -> None:
    longest = "x" * 256
    await admin.create_batch(longest, {longest: []})
    error = await admin.error(CREATE_BATCH, input={"batchId": longest})
    assert error["extensions"]["batchIds"] == [longest]
    assert len(error["message"]) < 200
    error = await admin.error(CREATE_BATCH, input={"batchId": "new", "objects": [{"objectId": longest}]})
    assert error["extensions"]["objectIds"] == [longest]
    error = await admin.error("query($id: String!) { object(objectId: $id) { id } }", id="y" * 256)
    assert error["extensions"]["objectId"] == "y" * 256


@pytest.mark.parametrize("text", [encoded("x" * 300_000 + ":1"), encoded("Object:" + "1" * 300_000), "x" * 400_000])
async def test_global_id_that_nothing_can_have_is_refused_unread(admin: Caller, text: str) -> None:
    for query, given in ((NODE, {"id": text}), (NODES, {"ids": [text]})):
        answer = await admin.post(query, **given)
        assert answer.json()["errors"][0]["extensions"]["code"] == "BAD_INPUT"
        assert len(answer.content) < 1_000


async def test_many_and_long_errors_of_variables_are_cut(admin: Caller) -> None:
    query = "query($where: ObjectWhere) { objects(where: $where) { nodes { id } } }"
    [*shown, last] = (await admin.post(query, where={f"no{n}": "x" for n in range(100)})).json()["errors"]
    assert (len(shown), last["message"]) == (49, "More than 49 errors: the rest are not shown; correct these first.")
    [long] = (await admin.post(query, where={"no" * 100_000: "x"})).json()["errors"]
    assert len(long["message"]) < 600
