"""Relay's global ids: what a client keeps is enough to read a thing again."""

import base64
from typing import Any

import pytest

from tests.conftest import Caller

NODE = """query($id: ID!) { node(id: $id) { id __typename
  ... on Batch { batchId } ... on Object { objectId data { key value } } ... on User { name } } }"""
NODES = """query($ids: [ID!]!) { nodes(ids: $ids) { id
  ... on Batch { batchId } ... on Object { objectId } ... on User { name } } }"""


async def ids(caller: Caller) -> dict[str, str]:
    await caller.create_batch("b", {"o": [("k", "v")], "p": []})
    data: dict[str, Any] = await caller.execute(
        """{ batch(batchId: "b") { id } o: object(objectId: "o") { id } p: object(objectId: "p") { id }
             viewer { user { id } } }"""
    )
    data["user"] = data["viewer"]["user"]
    return {name: data[name]["id"] for name in ("batch", "o", "p", "user")}


async def test_node_is_what_had_the_id(admin: Caller) -> None:
    known = await ids(admin)
    cases: dict[str, dict[str, Any]] = {
        "batch": {"__typename": "Batch", "batchId": "b"},
        "o": {"__typename": "Object", "objectId": "o", "data": [{"key": "k", "value": "v"}]},
        "user": {"__typename": "User", "name": admin.user.name},
    }
    for name, expected in cases.items():
        assert (await admin.execute(NODE, id=known[name]))["node"] == {"id": known[name], **expected}


async def test_nodes_come_in_the_order_asked_with_null_for_what_is_not_there(admin: Caller) -> None:
    known = await ids(admin)
    gone = base64.b64encode(b"Object:1").decode()
    wanted = [known["p"], gone, known["user"], known["batch"], known["p"]]
    answer = (await admin.post(NODES, ids=wanted)).json()
    assert [node and node["id"] for node in answer["data"]["nodes"]] == [wanted[0], None, *wanted[2:]]
    [error] = answer["errors"]
    assert error["path"] == ["nodes", 1]
    assert error["extensions"] == {"code": "NOT_FOUND", "id": gone}


async def test_a_deleted_thing_and_a_thing_made_anew_have_different_ids(admin: Caller) -> None:
    known = await ids(admin)
    await admin.execute('mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }')
    assert await admin.refused(NODE, id=known["o"]) == "NOT_FOUND"
    made = await admin.create_batch("c", {"o": []})
    assert made["objects"][0]["id"] != known["o"]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "text",
    ["", "x", "é", "Object:1", encoded("Object"), encoded("Object:"), encoded("Object:x"), encoded("Object:-1"),
     encoded("Object:0"), encoded("Object:01"), encoded("Object: 1"), encoded(f"Object:{1 << 63}"),
     encoded("Object:1_0"), encoded("Object:1").rstrip("="), encoded("Object:" + "9" * 5000)],
)  # fmt: skip
async def test_what_is_no_global_id_is_bad_input(admin: Caller, text: str) -> None:
    assert await admin.refused(NODE, id=text) == "BAD_INPUT"
    assert await admin.refused(NODES, ids=[text]) == "BAD_INPUT"


@pytest.mark.parametrize("type_name", ["Tenant", "ApiKey", "Viewer", "Query", "", "Object\n"])
async def test_what_is_no_node_is_not_found(admin: Caller, type_name: str) -> None:
    assert await admin.refused(NODE, id=encoded(f"{type_name}:1")) == "NOT_FOUND"


async def test_at_most_a_hundred_nodes_at_once(admin: Caller) -> None:
    error = await admin.error(NODES, ids=[encoded("Object:1")] * 101)
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert "at most 100" in error["message"]


async def test_a_field_that_fails_beside_one_user_asked_for_twice_is_an_error_of_its_own(admin: Caller) -> None:
    await admin.create_batch("p")
    query = """{ b: batch(batchId: "p") { createdBy { name } }
                 a: batch(batchId: "p") { createdBy { name } x: objects(after: "bad") { totalCount } } }"""
    for _ in range(20):
        response = await admin.post(query)
        assert response.status_code == 200
        assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["BAD_CURSOR"]
        assert response.json()["data"]["b"] == {"createdBy": {"name": admin.user.name}}
