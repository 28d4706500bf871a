"""Batches and objects through the front door."""

from tests.conftest import Caller


async def test_batch_with_objects_comes_back_as_it_was_sent(admin: Caller) -> None:
    made = await admin.create_batch("b1", {"o1": [("k", "v"), ("k", "w"), ("n", "1.5")], "o2": []})
    assert [one["objectId"] for one in made["objects"]] == ["o1", "o2"]
    data = await admin.execute(
        """{ batch(batchId: "b1") { batchId createdBy { name role } objects { totalCount nodes {
             objectId data { key value } batch { batchId } createdAt updatedAt } } } }"""
    )
    batch = data["batch"]
    assert batch["createdBy"] == {"name": admin.user.name, "role": "ADMIN"}
    assert batch["objects"]["totalCount"] == 2
    assert [node["objectId"] for node in batch["objects"]["nodes"]] == ["o2", "o1"]
    assert batch["objects"]["nodes"][1]["data"] == [
        {"key": "k", "value": "v"},
        {"key": "k", "value": "w"},
        {"key": "n", "value": "1.5"},
    ]
