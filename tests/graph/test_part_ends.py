"""How uploads in parts end, with a real S3 server: given up, late, replaced, or put together by several at once."""

import asyncio
from unittest.mock import patch

import pytest

from models import database
from models.errors import StorageUnavailable
from storage.client import Part, Storage
from tests.conftest import Caller
from tests.graph.test_parts import (
    ABORT,
    BODY,
    COMPLETE,
    _small_parts,
    complete,
    parts_of,
    place_of,
    send,
    stored,
)
from tests.graph.test_quotas import limit, usage
from tests.uploads import (
    again,
    announced,
    completed,
    content,
    final,
    put,
    urls_over,
)
from worker import work

__all__ = ["_small_parts"]


async def test_aborted_upload_takes_its_parts_with_it_and_gives_back_what_it_had_reserved(
    admin: Caller, storage: Storage
) -> None:
    await limit(admin, most_bytes=1 << 60)
    upload = await announced(admin, BODY)
    await send(admin, upload, 2)
    place = await place_of(admin)
    [late] = [part for part in await parts_of(admin, upload) if part["number"] == 2]
    for _ in range(2):
        data = await admin.execute(ABORT, ids=[upload["id"]])
        assert data["abortUploads"]["results"] == [{"state": "EXPIRED", "problem": "ABORTED"}]
    assert (await usage(admin))[1] == len(BODY)  # the parts are still there
    await work.drain(storage)
    assert await storage.list_parts(*place) is None
    assert (await usage(admin))[1] == 0
    assert await put(late, b"the rest") == 404
    assert await complete(admin, upload) == ("EXPIRED", "ABORTED", [])
    assert await complete(admin, upload, {1: "x", 2: "y"}) == ("EXPIRED", "ABORTED", [])
    new = await again(admin, BODY)
    await send(admin, new)
    assert await complete(admin, new) == ("COMPLETE", None, [])


async def test_upload_of_one_request_is_aborted_too_and_a_complete_one_stays(admin: Caller, storage: Storage) -> None:
    done, other = await announced(admin, b"hello", "done"), await announced(admin, b"hello", "other")
    for upload in (done, other):
        assert await put(upload, b"hello") == 200
    assert await completed(admin, done) == [("COMPLETE", None)]
    data = await admin.execute(ABORT, ids=[done["id"], other["id"]])
    assert data["abortUploads"]["results"] == [
        {"state": "COMPLETE", "problem": None},
        {"state": "EXPIRED", "problem": "ABORTED"},
    ]
    await work.drain(storage)
    assert await content(admin, "done") == b"hello"
    assert await completed(admin, other) == [("EXPIRED", "ABORTED")]


async def test_part_that_comes_late_goes_with_the_last_deletion(admin: Caller, storage: Storage) -> None:
    upload = await announced(admin, BODY)
    await send(admin, upload, 2)
    place = await place_of(admin)
    await admin.execute(ABORT, ids=[upload["id"]])
    with patch.object(Storage, "abort_multipart", return_value=False):
        await work.drain(storage)
    assert await storage.list_parts(*place)
    [row] = await database.fetch("SELECT last_error FROM deletions WHERE key = $1", place[1])
    assert row["last_error"] == "PartsLeft"
    await final()
    await work.drain(storage)
    assert await storage.list_parts(*place) is None
    assert await database.fetch("SELECT FROM deletions WHERE key = $1", place[1]) == []


@pytest.mark.parametrize("end", ["expires", "is deleted", "is replaced"])
async def test_upload_in_parts_that_ends_leaves_nothing_in_s3(admin: Caller, storage: Storage, end: str) -> None:
    upload = await announced(admin, BODY)
    await send(admin, upload, 2)
    place = await place_of(admin)
    if end == "expires":
        await urls_over(admin)
    elif end == "is deleted":
        await admin.execute('mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }')
    else:
        await send(admin, upload)
        new = await again(admin, b"new")
        assert await put(new, b"new") == 200
        assert await completed(admin, upload, new) == [("EXPIRED", "REPLACED"), ("COMPLETE", None)]
    await work.drain(storage)
    assert await storage.list_parts(*place) is None
    assert await storage.head(*place[:2]) is None
    assert (await usage(admin))[1] == 0


async def test_deletion_of_a_complete_file_that_came_in_parts_goes_through(admin: Caller, storage: Storage) -> None:
    await stored(admin)
    place = await place_of(admin)
    await admin.execute('mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }')
    await work.drain(storage)
    assert await storage.head(*place[:2]) is None
    assert (await usage(admin))[:2] == (0, 0)
    await final()
    await work.drain(storage)
    assert await database.fetch("SELECT FROM deletions WHERE key = $1", place[1]) == []


async def test_completion_that_was_lost_between_s3_and_the_database_is_found(admin: Caller) -> None:
    upload = await announced(admin, BODY)
    etags = await send(admin, upload)

    with patch.object(Storage, "head", side_effect=[None, StorageUnavailable]):
        assert await admin.refused(COMPLETE, ids=[upload["id"]]) == "STORAGE_UNAVAILABLE"
    assert await complete(admin, upload, etags) == ("COMPLETE", None, [])


async def test_upload_whose_parts_are_gone_is_said_to_be_over(admin: Caller, storage: Storage) -> None:
    upload = await announced(admin, BODY)
    await storage.abort_multipart(*await place_of(admin))
    assert await complete(admin, upload) == ("PENDING", "ABORTED", [])


async def test_completions_at_once_are_one(admin: Caller) -> None:
    upload = await announced(admin, BODY)
    await send(admin, upload)
    assert await asyncio.gather(*(complete(admin, upload) for _ in range(5))) == [("COMPLETE", None, [])] * 5


async def test_completion_that_sees_the_parts_go_because_another_one_put_them_together_finds_the_file(
    admin: Caller,
) -> None:
    upload = await announced(admin, BODY)
    await send(admin, upload)
    parts = Storage.list_parts

    async def late(self: Storage, bucket: str, key: str, multipart_id: str, *, last: int) -> list[Part]:
        there = await parts(self, bucket, key, multipart_id, last=last)
        assert there is not None
        assert await self.complete_multipart(bucket, key, multipart_id, there) == ""
        return []  # SeaweedFS lists it while it is emptied

    with patch.object(Storage, "list_parts", late):
        assert await complete(admin, upload) == ("COMPLETE", None, [])


async def test_part_sent_again_while_they_are_put_together_leaves_the_upload_as_it_was(admin: Caller) -> None:
    upload = await announced(admin, BODY)
    await send(admin, upload)
    with patch.object(Storage, "complete_multipart", return_value="InvalidPart"):
        assert await complete(admin, upload) == ("PENDING", "PART_MISMATCH", [])
    assert await complete(admin, upload) == ("COMPLETE", None, [])
