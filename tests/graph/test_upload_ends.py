"""How uploads end, and what becomes of their bytes: replaced, given up, deleted."""

import asyncio
import contextvars
from typing import Any
from unittest.mock import patch

import pytest

from graph.context import Context
from models import database, files
from storage.client import Storage
from tests.conftest import Caller
from tests.models.conftest import observing, until
from tests.uploads import (
    FILE,
    again,
    announced,
    completed,
    content,
    final,
    put,
    stored,
    urls_over,
)
from worker import work


async def test_upload_that_is_just_being_given_up_does_not_become_a_file_without_bytes(
    admin: Caller, database_url: str
) -> None:
    upload = await announced(admin, b"hello")
    assert await put(upload, b"hello") == 200
    [row] = await database.fetch("SELECT id FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    outside = contextvars.copy_context()
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with observing(database_url) as observer, database.transaction():
        await files.give_up([row["id"]], "SIZE_MISMATCH")
        completing = asyncio.create_task(completed(admin, upload), context=outside)
        await until(lambda: observer.fetch(waiting))
    assert await completing == [("EXPIRED", "SIZE_MISMATCH")]
    kept = await database.fetch("SELECT FROM deletions d JOIN uploads u USING (key) WHERE u.id = $1", row["id"])
    assert len(kept) == 1


async def test_bytes_that_never_came_are_missing_until_the_url_is_over_and_late_from_then_on(admin: Caller) -> None:
    upload = await announced(admin, b"hello")
    assert await completed(admin, upload) == [("PENDING", "FILE_MISSING")]
    await database.execute("UPDATE uploads SET expires_at = now() WHERE tenant_id = $1", admin.tenant.id)
    assert await completed(admin, upload) == [("PENDING", "UPLOAD_EXPIRED")]


async def test_old_file_stays_readable_until_the_new_one_is_complete_and_then_goes(
    admin: Caller, storage: Storage
) -> None:
    await stored(admin, b"old")
    [row] = await database.fetch("SELECT bucket, key FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    new = await again(admin, b"new")
    assert await content(admin) == b"old"
    assert await put(new, b"new") == 200
    assert await content(admin) == b"old"
    assert await completed(admin, new) == [("COMPLETE", None)]
    assert await content(admin) == b"new"
    await work.drain(storage)
    assert await storage.head(row["bucket"], row["key"]) is None
    assert await content(admin) == b"new"


async def test_newest_complete_upload_is_the_file_whichever_came_first(admin: Caller, storage: Storage) -> None:
    old, new = await announced(admin, b"old"), await again(admin, b"new")
    for upload, body in ((old, b"old"), (new, b"new")):
        assert await put(upload, body) == 200
    assert await completed(admin, new) == [("COMPLETE", None)]
    for _ in range(2):  # asking again gets the same answer
        assert await completed(admin, old, new) == [("EXPIRED", "REPLACED"), ("COMPLETE", None)]
        assert await content(admin) == b"new"
        await work.drain(storage)
    newest = await again(admin, b"newest")
    assert await put(newest, b"newest") == 200
    assert await completed(admin, newest, new) == [("COMPLETE", None), ("EXPIRED", "REPLACED")]
    await final()
    await work.drain(storage)
    assert await content(admin) == b"newest"
    rows = await database.fetch("SELECT bucket, key, state FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    there = {row["state"] for row in rows if await storage.head(row["bucket"], row["key"])}
    assert (len(rows), there) == (3, {"COMPLETE"})


async def test_upload_that_ended_is_forgotten_after_a_week(admin: Caller, storage: Storage) -> None:
    old, new = await announced(admin, b"old"), await again(admin, b"new")
    for upload, body in ((old, b"old"), (new, b"new")):
        assert await put(upload, body) == 200
    assert await completed(admin, old, new) == [("EXPIRED", "REPLACED"), ("COMPLETE", None)]
    await work.drain(storage)
    await database.execute("UPDATE uploads SET ended_at = ended_at - interval '7 days' WHERE ended_at IS NOT NULL")
    await work.drain(storage)
    assert await completed(admin, old, new) == [(None, "NOT_FOUND"), ("COMPLETE", None)]


async def test_upload_deleted_while_s3_is_asked_is_not_found_and_the_others_are_complete(admin: Caller) -> None:
    uploads = [await announced(admin, b"hello", f"o{number}") for number in range(3)]
    for upload in uploads:
        assert await put(upload, b"hello") == 200
    original = Context.prove

    async def deleting(self: Context, *arguments: Any) -> Any:
        verdicts = await original(self, *arguments)
        await admin.execute('mutation { deleteObjects(input: {objectIds: ["o1"]}) { deletedObjectIds } }')
        return verdicts

    with patch.object(Context, "prove", deleting):
        assert await completed(admin, *uploads) == [("COMPLETE", None), (None, "NOT_FOUND"), ("COMPLETE", None)]


async def test_new_announcement_takes_the_place_of_one_that_is_not_complete(admin: Caller) -> None:
    first = await announced(admin, b"first")
    second = await again(admin, b"second", name="b.txt")
    file = (await admin.post(FILE, id="o")).json()["data"]["object"]["file"]
    assert (file["name"], file["state"]) == ("b.txt", "PENDING")
    assert await put(first, b"first") == 200
    assert await completed(admin, first) == [("COMPLETE", None)]
    assert await content(admin) == b"first"
    assert await put(second, b"second") == 200
    assert await completed(admin, second) == [("COMPLETE", None)]
    assert await content(admin) == b"second"


@pytest.mark.parametrize(
    "delete",
    [
        'deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds }',
        'deleteBatch(input: {batchId: "batch of o", cascade: true}) { deletedBatchId }',
    ],
)
async def test_bytes_of_what_is_deleted_go(admin: Caller, storage: Storage, delete: str) -> None:
    upload = await stored(admin, b"hello")
    [row] = await database.fetch("SELECT bucket, key FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    await admin.execute(f"mutation {{ {delete} }}")
    await work.drain(storage)
    assert await storage.head(row["bucket"], row["key"]) is None
    assert await put(upload, b"hello") == 200  # its URL goes on working
    await final()
    await work.drain(storage)
    assert await storage.head(row["bucket"], row["key"]) is None
    assert await database.fetch("SELECT FROM deletions WHERE key = $1", row["key"]) == []


async def test_upload_that_nobody_finishes_expires_with_bytes_that_come_later(admin: Caller, storage: Storage) -> None:
    upload = await announced(admin, b"hello")
    [row] = await database.fetch("SELECT bucket, key FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    await urls_over(admin)
    await work.drain(storage)
    assert await put(upload, b"hello") == 200
    await final()
    await work.drain(storage)
    assert await storage.head(row["bucket"], row["key"]) is None
    assert await completed(admin, upload) == [("EXPIRED", "UPLOAD_EXPIRED")]
    assert await admin.object_ids({"fileState": "EXPIRED"}) == ["o"]
    new = await again(admin, b"new")
    assert await admin.object_ids({"fileState": "PENDING"}) == ["o"]
    assert await put(new, b"new") == 200
