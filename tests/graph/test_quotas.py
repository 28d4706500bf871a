"""Quotas at the front door: what is too much is refused with the figures, whoever else asks at the same time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from models import Role, Tenant, database
from storage.client import Storage
from tests.conftest import Caller, NewCaller, served
from tests.uploads import (
    CREATE_BATCH,
    CREATE_UPLOADS,
    again,
    announced,
    completed,
    content,
    due_now,
    over,
    put,
    stored,
    urls_over,
)
from worker import work
from worker.deletions import delete_due

USAGE = "{ viewer { tenant { usage { bytesUsed bytesReserved bytesLimit objectsUsed objectsLimit } } } }"


async def limit(caller: Caller, *, most_bytes: int | None = None, most_objects: int | None = None) -> None:
    await Tenant.filter(id=caller.tenant.id).update(quota_bytes=most_bytes, quota_objects=most_objects)


async def usage(caller: Caller) -> tuple[Any, ...]:
    return tuple((await caller.execute(USAGE))["viewer"]["tenant"]["usage"].values())


def file_of(size: int) -> dict[str, Any]:
    return {"name": "a", "contentType": "b/c", "size": size}


def objects(*sizes: int | None) -> list[dict[str, Any]]:
    return [
        {"objectId": f"o{number}", **({} if size is None else {"file": file_of(size)})}
        for number, size in enumerate(sizes)
    ]


async def test_usage_follows_a_file_from_announcement_to_deletion(admin: Caller, storage: Storage) -> None:
    await limit(admin, most_bytes=1 << 60)
    assert await usage(admin) == (0, 0, 1 << 60, 0, None)
    upload = await announced(admin, b"hello")
    assert await usage(admin) == (0, 5, 1 << 60, 1, None)
    assert await put(upload, b"hello") == 200
    assert await completed(admin, upload) == [("COMPLETE", None)]
    assert await usage(admin) == (5, 0, 1 << 60, 1, None)
    replacement = await again(admin, b"hello!!")
    assert await usage(admin) == (5, 7, 1 << 60, 1, None)
    assert await put(replacement, b"hello!!") == 200
    assert await completed(admin, replacement) == [("COMPLETE", None)]
    assert await usage(admin) == (7, 5, 1 << 60, 1, None)  # the URL of the old one still works
    await admin.execute('mutation { deleteBatch(input: {batchId: "batch of o", cascade: true}) { deletedBatchId } }')
    assert await usage(admin) == (0, 12, 1 << 60, 0, None)
    await over()
    await work.drain(storage)
    assert await usage(admin) == (0, 0, 1 << 60, 0, None)


async def test_url_of_an_upload_that_was_deleted_brings_no_bytes_beyond_the_quota(
    admin: Caller, storage: Storage
) -> None:
    await limit(admin, most_bytes=1_000)
    body = b"x" * 900
    delete = 'mutation { deleteBatch(input: {batchId: "batch of o", cascade: true}) { deletedBatchId } }'
    upload = await announced(admin, body)
    [row] = await database.fetch("SELECT bucket, key FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    await admin.execute(delete)
    for _ in range(2):  # however often its bytes are deleted
        assert await put(upload, body) == 200
        error = await admin.error(CREATE_BATCH, input={"batchId": "more", "objects": objects(900)})
        figures = {"quota": "bytes", "used": 0, "reserved": 900, "limit": 1_000, "requested": 900}
        assert error["extensions"] == {"code": "QUOTA_EXCEEDED", **figures}
        await due_now()
        await work.drain(storage)
        assert await storage.head(row["bucket"], row["key"]) is None
    assert await put(upload, body) == 200
    await over()
    assert await usage(admin) == (0, 900, 1_000, 0, None)
    await work.drain(storage)
    assert await storage.head(row["bucket"], row["key"]) is None
    assert await usage(admin) == (0, 0, 1_000, 0, None)
    assert len(await database.fetch("SELECT FROM deletions WHERE key = $1 AND due_at > now()", row["key"])) == 1
    await announced(admin, body)


async def test_bytes_that_s3_does_not_delete_stay_reserved_and_so_do_those_whose_deletion_began_before_the_url_was_over(
    admin: Caller, storage: Storage
) -> None:
    await stored(admin, b"hello")
    await admin.execute('mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }')
    original = Storage.delete_many

    async def refusing(_: Storage, __: str, keys: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(keys, "AccessDenied")

    async def slow(self: Storage, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        done = await original(self, bucket, keys)
        own = "tenant_id = $1 AND over_at > now()"
        await database.execute(f"UPDATE deletions SET over_at = now() WHERE {own}", admin.tenant.id)
        return done

    for delete_many in (slow, refusing):
        with patch.object(Storage, "delete_many", delete_many):
            await due_now()
            await delete_due(storage)
        assert await usage(admin) == (0, 5, None, 0, None)
    await due_now()
    await work.drain(storage)
    assert await usage(admin) == (0, 0, None, 0, None)


async def test_upload_that_nobody_finishes_gives_its_bytes_back(admin: Caller, storage: Storage) -> None:
    await limit(admin, most_bytes=5)
    await announced(admin, b"hello")
    assert await admin.refused(CREATE_UPLOADS, files=[{"objectId": "o", "file": file_of(1)}]) == "QUOTA_EXCEEDED"
    await urls_over(admin)
    await work.drain(storage)
    assert await usage(admin) == (0, 0, 5, 1, None)
    await again(admin, b"hello")


async def test_refusal_says_what_is_used_reserved_asked_for_and_the_limit(admin: Caller) -> None:
    await limit(admin, most_bytes=1_000_000)
    await stored(admin, b"hello")
    await admin.execute(CREATE_BATCH, input={"batchId": "reserved", "objects": objects(400_000)})
    response = await admin.post(CREATE_UPLOADS, files=[{"objectId": "o", "file": file_of(599_996)}])
    assert response.status_code == 200
    assert response.json()["data"] is None
    [error] = response.json()["errors"]
    assert error["path"] == ["createUploads"]
    assert error["extensions"] == {
        "code": "QUOTA_EXCEEDED",
        "quota": "bytes",
        "used": 5,
        "reserved": 400_000,
        "limit": 1_000_000,
        "requested": 599_996,
    }
    assert (
        "599,996 bytes more: 5 used, 400,000 reserved by uploads under way or deleted, of 1,000,000" in error["message"]
    )
    await again(admin, b"x" * 599_995)


async def test_objects_have_a_quota_of_their_own(admin: Caller) -> None:
    await limit(admin, most_objects=3)
    await admin.execute(CREATE_BATCH, input={"batchId": "b", "objects": objects(None, 7)})
    error = await admin.error(
        """mutation { createObjects(input: {batchId: "b", objects: [{objectId: "x"}, {objectId: "y"}]}) {
          objects { id } } }"""
    )
    figures = {"quota": "objects", "used": 2, "reserved": 0, "limit": 3, "requested": 2}
    assert error["extensions"] == {"code": "QUOTA_EXCEEDED", **figures}
    assert "2 objects more: 2 used, of 3." in error["message"]
    assert await usage(admin) == (0, 7, None, 2, 3)


async def test_of_several_mutations_only_the_one_beyond_the_quota_is_undone(admin: Caller) -> None:
    await limit(admin, most_objects=1)
    response = await admin.post(
        """mutation { a: createBatch(input: {batchId: "a", objects: [{objectId: "1"}]}) { batch { batchId } }
          b: createBatch(input: {batchId: "b", objects: [{objectId: "2"}]}) { batch { batchId } }
          c: createBatch(input: {batchId: "c"}) { batch { batchId } } }"""
    )
    [error] = response.json()["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["b"], "QUOTA_EXCEEDED")
    assert await admin.object_ids() == ["1"]
    data = await admin.execute("{ batches { nodes { batchId } } }")
    assert data["batches"]["nodes"] == [{"batchId": "a"}]


async def test_quota_below_what_is_used_refuses_new_things_and_lets_read_complete_and_delete(admin: Caller) -> None:
    await stored(admin, b"hello")
    under_way = await announced(admin, b"world", "other")
    await limit(admin, most_bytes=0, most_objects=0)
    assert await content(admin) == b"hello"
    assert await put(under_way, b"world") == 200
    assert await completed(admin, under_way) == [("COMPLETE", None)]
    assert await admin.refused(CREATE_UPLOADS, files=[{"objectId": "o", "file": file_of(1)}]) == "QUOTA_EXCEEDED"
    assert await admin.refused(CREATE_BATCH, input={"batchId": "b", "objects": objects(None)}) == "QUOTA_EXCEEDED"
    await admin.execute(CREATE_UPLOADS, files=[{"objectId": "o", "file": file_of(0)}])  # takes nothing
    await admin.execute(
        'mutation { updateObjectData(input: {objectId: "o", set: [{key: "k", value: "v"}]}) { object { id } } }'
    )
    await admin.execute('mutation { deleteObjects(input: {objectIds: ["o", "other"]}) { deletedObjectIds } }')
    assert await usage(admin) == (0, 10, 0, 0, 0)


async def test_tenants_do_not_use_each_others_quota(admin: Caller, new_caller: NewCaller) -> None:
    await limit(admin, most_bytes=5)
    other = await new_caller()
    await limit(other, most_bytes=5)
    await announced(admin, b"hello")
    await announced(other, b"hello")
    colleague = await new_caller(admin.tenant, role=Role.MEMBER)
    assert await usage(colleague) == (0, 5, 5, 1, None)


@pytest.fixture
async def processes(database_url: str, with_files: dict[str, str]) -> AsyncIterator[list[str]]:
    """Two, each with ten connections for one tenant."""
    with ExitStack() as stack:
        environment = {**with_files, "WAYBILL_DATABASE_CONNECTIONS": "20"}
        yield [stack.enter_context(served(database_url, **environment)) for _ in range(2)]


async def test_fifty_at_once_at_the_edge_of_a_quota_never_exceed_it(admin: Caller, processes: list[str]) -> None:
    await admin.create_batch("b", {f"o{number}": [] for number in range(50)})
    announcements = [
        (CREATE_UPLOADS, {"files": [{"objectId": f"o{number}", "file": file_of(10)}]}) for number in range(50)
    ]
    batches = [
        (CREATE_BATCH, {"input": {"batchId": f"b{number}", "objects": [{"objectId": f"new{number}"}]}})
        for number in range(50)
    ]
    await limit(admin, most_bytes=75, most_objects=57)  # room for seven

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=50)) as client:

        async def ask(number: int, query: str, variables: Any) -> str:
            url = f"{processes[number % 2]}/graphql"
            answer = await client.post(url, json={"query": query, "variables": variables}, headers=admin.headers)
            errors = answer.json().get("errors")
            return str(errors[0]["extensions"]["code"]) if errors else "made"

        for asked in (announcements, batches):
            outcomes = await asyncio.gather(*(ask(number, *one) for number, one in enumerate(asked)))
            assert sorted(outcomes) == ["QUOTA_EXCEEDED"] * 43 + ["made"] * 7
    assert await usage(admin) == (0, 70, 75, 57, 57)
    assert len(await admin.object_ids()) == 57
