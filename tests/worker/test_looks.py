"""The worker finishes what clients have forgotten, once it is time to look."""

import asyncio
from typing import Any
from unittest.mock import patch

import pytest

from models import database
from models.errors import StorageUnavailable
from storage.client import Storage, Stored
from tests.conftest import Caller, NewCaller
from tests.uploads import announced, completed, content, look_now, put, urls_over
from worker import looks, work


async def sent(caller: Caller, body: bytes = b"hello", object_id: str = "o") -> Any:
    """An upload whose client has forgotten to say that the bytes are there."""
    upload = await announced(caller, body, object_id)
    assert await put(upload, body) == 200
    return upload


async def states(caller: Caller) -> list[tuple[str, str | None]]:
    """Not asked through the API, which would ask S3."""
    rows = await database.fetch("SELECT state, problem FROM uploads WHERE tenant_id = $1 ORDER BY id", caller.tenant.id)
    return [(row["state"], row["problem"]) for row in rows]


async def seconds_to_look(caller: Caller) -> float:
    [row] = await database.fetch(
        "SELECT extract(epoch FROM look_at - now())::float AS wait FROM uploads WHERE tenant_id = $1", caller.tenant.id
    )
    return float(row["wait"])


async def test_upload_whose_client_forgot_is_its_objects_file_after_a_minute(admin: Caller, storage: Storage) -> None:
    await sent(admin)
    await work.drain(storage)
    assert await states(admin) == [("PENDING", None)]
    assert 0 < await seconds_to_look(admin) <= 60
    await look_now(admin)
    await work.drain(storage)
    assert await content(admin) == b"hello"


async def test_bytes_that_came_in_time_are_kept_when_the_url_is_over(admin: Caller, storage: Storage) -> None:
    await sent(admin)
    await urls_over(admin)
    await work.drain(storage)
    assert await content(admin) == b"hello"


async def test_looks_at_what_is_missing_are_ever_further_apart_and_one_is_when_the_url_is_over(
    admin: Caller, storage: Storage
) -> None:
    await announced(admin, b"hello")
    for minutes_old, minutes_to_wait in ((0, 1), (10, 10), (30, 40), (100, 60)):
        await database.execute(
            "UPDATE uploads SET id = id - (($2 * 60000)::bigint << 22), expires_at = now() + interval '1 day'"
            " WHERE tenant_id = $1",
            *(admin.tenant.id, minutes_old),
        )
        await look_now(admin)
        await work.drain(storage)
        assert minutes_to_wait * 60 - 10 < await seconds_to_look(admin) < minutes_to_wait * 60 + 60
    await database.execute("UPDATE uploads SET expires_at = now() WHERE tenant_id = $1", admin.tenant.id)
    await look_now(admin)
    await work.drain(storage)
    assert await states(admin) == [("PENDING", None)]  # some clocks differ
    assert 4 * 60 < await seconds_to_look(admin) <= 5 * 60
    await urls_over(admin)
    await work.drain(storage)
    assert await states(admin) == [("EXPIRED", None)]


@pytest.mark.parametrize(
    ("change", "problem"), [("size_bytes = 6", "SIZE_MISMATCH"), ("sha256 = sha256('')", "CHECKSUM_MISMATCH")]
)
async def test_bytes_that_are_others_than_announced_are_given_up_at_once(
    admin: Caller, storage: Storage, change: str, problem: str
) -> None:
    await sent(admin)
    await database.execute(f"UPDATE uploads SET {change} WHERE tenant_id = $1", admin.tenant.id)
    await look_now(admin)
    await work.drain(storage)
    assert await states(admin) == [("EXPIRED", problem)]
    kept = await database.fetch(
        "SELECT FROM uploads u JOIN deletions d USING (key) WHERE u.tenant_id = $1", admin.tenant.id
    )
    assert len(kept) == 1


async def test_digest_that_s3_does_not_keep_is_read_afterwards(admin: Caller, storage: Storage) -> None:
    upload = await sent(admin)
    await look_now(admin)
    with patch.object(Storage, "head", lambda *_: _value(Stored(5, "", "", None))):
        assert await looks.look(storage) == 1
        assert await states(admin) == [("VERIFYING", None)]
        await work.drain(storage)
    assert await completed(admin, upload) == [("COMPLETE", None)]


async def _value(value: Stored) -> Stored:
    return value


async def test_uploads_wait_as_long_as_s3_does_not_answer_and_those_of_other_buckets_do_not(
    admin: Caller, storage: Storage
) -> None:
    for object_id in ("o", "p"):
        await sent(admin, object_id=object_id)
    await urls_over(admin)
    [first, _] = await database.fetch(
        "SELECT id, bucket, key FROM uploads WHERE tenant_id = $1 ORDER BY id", admin.tenant.id
    )
    await database.execute("UPDATE uploads SET bucket = 'away' WHERE id = $1", first["id"])
    original = Storage.head

    async def away(self: Storage, bucket: str, key: str) -> Stored | None:
        if bucket == "away":
            raise StorageUnavailable
        return await original(self, bucket, key)

    with patch.object(Storage, "head", away), pytest.raises(StorageUnavailable):
        await work.drain(storage)
    assert await states(admin) == [("PENDING", None), ("COMPLETE", None)]
    await work.drain(storage)  # not before some time has passed
    assert await states(admin) == [("PENDING", None), ("COMPLETE", None)]
    await database.execute("UPDATE uploads SET bucket = $2 WHERE id = $1", first["id"], first["bucket"])
    await look_now(admin)
    await work.drain(storage)
    assert await states(admin) == [("COMPLETE", None)] * 2


async def test_upload_of_which_s3_does_not_speak_keeps_no_other_of_its_bucket_waiting(
    admin: Caller, storage: Storage
) -> None:
    for object_id in ("o", "p"):
        await sent(admin, object_id=object_id)
    [first, second] = await database.fetch(
        "SELECT bucket, key FROM uploads WHERE tenant_id = $1 ORDER BY id", admin.tenant.id
    )
    await database.execute("UPDATE uploads SET bucket = $2 WHERE key = $1", second["key"], first["bucket"])
    await storage.client.put_object(Bucket=first["bucket"], Key=second["key"], Body=b"hello")
    await look_now(admin)
    original = Storage.head

    async def silent(self: Storage, bucket: str, key: str) -> Stored | None:
        if key == first["key"]:
            raise StorageUnavailable
        return await original(self, bucket, key)

    with patch.object(Storage, "head", silent), pytest.raises(StorageUnavailable):
        await looks.look(storage)
    assert await states(admin) == [("PENDING", None), ("VERIFYING", None)]
    assert await looks.look(storage) == 0  # not before some time has passed
    await look_now(admin)
    await work.drain(storage)
    assert await states(admin) == [("COMPLETE", None)] * 2


async def test_tenant_with_many_uploads_keeps_another_ones_waiting_no_longer(
    admin: Caller, new_caller: NewCaller, storage: Storage
) -> None:
    other = await new_caller()
    for number in range(5):
        await announced(admin, b"hello", f"o{number}")
    await sent(other)
    await look_now(admin)
    await look_now(other)
    await database.execute(
        "UPDATE uploads SET look_at = look_at - interval '1 day' WHERE tenant_id = $1", admin.tenant.id
    )
    with patch.object(looks, "LOOKED_AT_ONCE", 2):
        await looks.look(storage)
    assert await states(other) == [("COMPLETE", None)]


async def test_each_upload_is_looked_at_by_one_worker(admin: Caller, storage: Storage) -> None:
    for number in range(6):
        await sent(admin, object_id=f"o{number}")
    await look_now(admin)
    asked: list[str] = []
    original = Storage.head

    async def noting(self: Storage, bucket: str, key: str) -> Stored | None:
        asked.append(key)
        return await original(self, bucket, key)

    with patch.object(Storage, "head", noting), patch.object(looks, "LOOKED_AT_ONCE", 2):
        await asyncio.gather(*(looks.look(storage) for _ in range(4)))
    assert len(asked) == len(set(asked))
    await work.drain(storage)
    assert await states(admin) == [("COMPLETE", None)] * 6
