"""Background work survives what S3 and other workers do."""

import asyncio
import secrets
import signal
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest

from models import database
from models.errors import StorageUnavailable
from storage.client import Storage, Stored
from tests import processes
from tests.conftest import BUCKETS, Caller
from tests.models.conftest import until
from tests.uploads import announced, completed, due_now, final, forget, put, stored
from worker import verification, work
from worker.deletions import delete_due
from worker.verification import verify_waiting

pytestmark = pytest.mark.usefixtures("nothing_due")


@pytest.fixture
async def nothing_due(http: object) -> None:  # noqa: ARG001 - which has the database
    """What other tests have left is none of these tests' business."""
    await database.execute("DELETE FROM deletions")
    await database.execute("UPDATE uploads SET look_at = now() + interval '1 day' WHERE state = 'PENDING'")


async def deleted(caller: Caller, count: int) -> list[str]:
    """Keys whose bytes are there and have to go now."""
    for number in range(count):
        await stored(caller, b"x", f"o{number}")
    rows = await database.fetch("SELECT key FROM uploads WHERE tenant_id = $1 ORDER BY id", caller.tenant.id)
    ids = ", ".join(f'"o{number}"' for number in range(count))
    await caller.execute(f"mutation {{ deleteObjects(input: {{objectIds: [{ids}]}}) {{ deletedObjectIds }} }}")
    await final()
    return [row["key"] for row in rows]


async def doom(bucket: str, key: str) -> None:
    """A key that has to go, of no upload."""
    await database.execute(
        "INSERT INTO deletions (tenant_id, bucket, key, reserved_bytes, due_at, over_at, until_at, attempts)"
        " VALUES (0, $1, $2, 0, now(), now(), now(), 0)",
        *(bucket, key),
    )


async def waiting() -> dict[str, Any]:
    rows = await database.fetch("SELECT key, attempts, last_error, due_at - now() AS wait FROM deletions")
    return {row["key"]: row for row in rows}


async def test_what_s3_refuses_to_delete_is_tried_again_later_and_the_rest_is_gone(
    admin: Caller, storage: Storage
) -> None:
    _, second, _ = await deleted(admin, 3)
    original = Storage.delete_many

    async def refusing(self: Storage, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        done = await original(self, bucket, [key for key in keys if key != second])
        return done | dict.fromkeys(set(keys) & {second}, "AccessDenied")

    with patch.object(Storage, "delete_many", refusing):
        await work.drain(storage)
        left = await waiting()
        assert list(left) == [second]
        assert (left[second]["attempts"], left[second]["last_error"]) == (1, "AccessDenied")
        for attempt in range(2, 5):
            await due_now()
            await work.drain(storage)
            again = (await waiting())[second]
            assert again["attempts"] == attempt
            assert again["wait"].total_seconds() > 5 * 2**attempt / 2 - 1
    await due_now()
    await work.drain(storage)
    assert await waiting() == {}


async def test_outage_of_s3_loses_no_key(admin: Caller, storage: Storage) -> None:
    keys = await deleted(admin, 2)

    async def down(*_: object) -> None:
        raise StorageUnavailable

    with patch.object(Storage, "delete_many", down), pytest.raises(StorageUnavailable):
        await work.drain(storage)
    assert set(await waiting()) == set(keys)
    await due_now()
    await work.drain(storage)
    assert await waiting() == {}


async def test_several_workers_share_the_keys(admin: Caller, storage: Storage) -> None:
    keys = await deleted(admin, 6)
    asked: list[str] = []
    original = Storage.delete_many

    async def noting(self: Storage, bucket: str, some: Sequence[str]) -> dict[str, str]:
        asked.extend(some)
        return await original(self, bucket, some)

    with patch.object(Storage, "delete_many", noting), patch("worker.deletions.KEYS_PER_DELETE", 2):
        await asyncio.gather(*(delete_due(storage) for _ in range(4)))
    assert sorted(asked) == sorted(keys)


async def test_bucket_that_refuses_or_is_away_keeps_no_other_waiting(admin: Caller, storage: Storage) -> None:
    [key] = await deleted(admin, 1)
    await doom("a-missing-one", "x")
    await work.drain(storage)  # buckets come in the order of their names
    left = await waiting()
    assert list(left) == ["x"]
    assert left["x"]["last_error"] == "NoSuchBucket"
    assert key not in left

    await doom(BUCKETS[0], "y")
    await due_now()
    away: list[str] = []
    original = Storage.delete_many

    async def first_is_away(self: Storage, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        if bucket == "a-missing-one":
            away.append(bucket)
            raise StorageUnavailable
        return await original(self, bucket, keys)

    with patch.object(Storage, "delete_many", first_is_away), pytest.raises(StorageUnavailable):
        await work.drain(storage)
    assert away
    left = await waiting()
    assert list(left) == ["x"]
    assert (left["x"]["attempts"], left["x"]["last_error"]) == (2, "STORAGE_UNAVAILABLE")


async def test_upload_that_cannot_be_read_keeps_nothing_waiting(admin: Caller, storage: Storage) -> None:
    bad, good = await announced(admin, b"bad", "bad"), await announced(admin, b"good", "good")
    for upload, body in ((bad, b"bad"), (good, b"good")):
        assert await put(upload, body) == 200
    await doom(BUCKETS[0], "y")
    await database.execute(
        "UPDATE uploads SET state = 'VERIFYING', read_at = now() WHERE tenant_id = $1", admin.tenant.id
    )
    of_bad = "tenant_id = $1 AND size_bytes = 3"
    await database.execute(f"UPDATE uploads SET bucket = 'a-missing-one' WHERE {of_bad}", admin.tenant.id)
    original = Storage.head

    async def refusing(self: Storage, bucket: str, key: str) -> Stored | None:
        if bucket == "a-missing-one":
            raise StorageUnavailable
        return await original(self, bucket, key)

    with patch.object(Storage, "head", refusing), pytest.raises(StorageUnavailable):
        await work.drain(storage)
    assert await completed(admin, bad, good) == [("VERIFYING", None), ("COMPLETE", None)]
    assert await waiting() == {}
    await work.drain(storage)  # it waits for a minute
    assert await completed(admin, bad) == [("VERIFYING", None)]
    await forget(admin)


async def test_each_upload_is_read_by_one_worker(admin: Caller, storage: Storage) -> None:
    for number in range(3):
        assert await put(await announced(admin, b"hello", f"o{number}"), b"hello") == 200
    await database.execute(
        "UPDATE uploads SET state = 'VERIFYING', read_at = now() WHERE tenant_id = $1", admin.tenant.id
    )
    asked: list[str] = []
    original = Storage.head

    async def noting(self: Storage, bucket: str, key: str) -> Stored | None:
        asked.append(key)
        return await original(self, bucket, key)

    with patch.object(Storage, "head", noting):
        await asyncio.gather(*(verify_waiting(storage) for _ in range(3)))
    assert len(asked) == len(set(asked)) == 3
    assert len(await admin.object_ids({"fileState": "COMPLETE"})) == 3


async def test_upload_that_takes_long_to_read_is_given_to_nobody_else(admin: Caller, storage: Storage) -> None:
    upload = await announced(admin, b"hello")
    assert await put(upload, b"hello") == 200
    await database.execute(
        "UPDATE uploads SET state = 'VERIFYING', read_at = now() WHERE tenant_id = $1", admin.tenant.id
    )
    original = Storage.sha256

    async def read_at() -> Any:
        return await database.fetch("SELECT read_at FROM uploads WHERE tenant_id = $1", admin.tenant.id)

    async def long(self: Storage, bucket: str, key: str) -> str:
        begun = await read_at()

        async def kept() -> bool:
            return bool(await read_at() != begun)

        await until(kept)
        return await original(self, bucket, key)

    async def head(*_: object) -> Stored:
        return Stored(5, "text/plain", "", None)

    with (
        patch.object(verification, "_AGAIN_SECONDS", 0.05),
        patch.object(Storage, "sha256", long),
        patch.object(Storage, "head", head),
    ):
        await verify_waiting(storage)
    assert await admin.object_ids({"fileState": "COMPLETE"}) == ["o"]


async def test_command_drains_and_ends(
    admin: Caller, storage: Storage, database_url: str, with_files: dict[str, str]
) -> None:
    [key] = await deleted(admin, 1)
    [row] = await database.fetch("SELECT bucket FROM deletions WHERE key = $1", key)
    given = {"WAYBILL_DATABASE_URL": database_url, **with_files}
    done = await asyncio.to_thread(processes.finished, "worker", "--drain", prepare=processes.ANEW, **given)
    assert done.exit_code == 0
    assert await waiting() == {}
    assert await storage.head(row["bucket"], key) is None


async def test_command_works_until_it_is_asked_to_end(
    admin: Caller, database_url: str, with_files: dict[str, str]
) -> None:
    upload = await announced(admin, b"hello", f"o{secrets.token_hex(4)}")
    assert await put(upload, b"hello") == 200
    await database.execute(
        "UPDATE uploads SET state = 'VERIFYING', read_at = now() WHERE tenant_id = $1", admin.tenant.id
    )

    async def is_complete() -> bool:
        return await completed(admin, upload) == [("COMPLETE", None)]

    given = {"WAYBILL_DATABASE_URL": database_url, **with_files}
    with processes.running("worker", **given) as process:
        await until(is_complete, 60)
        processes.send(process, signal.SIGTERM)
        await asyncio.to_thread(process.join, 10)
        assert process.exitcode == 0
