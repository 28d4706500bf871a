"""What no row knows goes to quarantine, back, or away for good; nothing that anybody could still want is touched."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest

from models import database, orphans
from models.errors import Conflict, NotFound, StorageUnavailable
from storage import inventory
from storage.client import Storage
from tests.models.conftest import until
from tests.worker.conftest import Bucket, a_day_passes, rows, states
from worker import quarantine, reaper
from worker.quarantine import act, restore
from worker.scanning import scan

WINDOW = timedelta(days=30)


async def seen_twice(bucket: Bucket) -> None:
    """A day apart, and another day ago."""
    for _ in range(2):
        await scan(bucket.storage, bucket.name)
        await a_day_passes()


async def quarantined(bucket: Bucket, body: bytes = b"hello") -> str:
    key = await bucket.put(body)
    await seen_twice(bucket)
    assert await act(bucket.storage, WINDOW) == 1
    assert await states() == {key: "QUARANTINED"}
    return key


async def a_window_passes() -> None:
    await database.execute("UPDATE orphans SET state_at = state_at - interval '31 days', due_at = now()")


@pytest.mark.usefixtures("old")
async def test_bytes_without_a_row_go_to_quarantine_come_back_and_stay(bucket: Bucket) -> None:
    key = await quarantined(bucket)
    assert await bucket.keys() == {f"quarantine/{key}"}
    assert await bucket.body(f"quarantine/{key}") == b"hello"
    await a_day_passes()
    assert await act(bucket.storage, WINDOW) == 0  # not yet
    assert await restore(bucket.storage, key) == 1
    assert await bucket.keys() == {key}
    head = await bucket.storage.client.head_object(Bucket=bucket.name, Key=key)
    assert (head["ContentType"], head["Metadata"]) == ("image/png", {"of": "nobody"})
    assert await bucket.body(key) == b"hello"
    await seen_twice(bucket)
    assert await act(bucket.storage, WINDOW) == 0
    assert await states() == {key: "RESTORED"}
    with pytest.raises(NotFound):
        await restore(bucket.storage, key)


@pytest.mark.usefixtures("old")
async def test_what_was_in_quarantine_for_its_time_is_deleted_for_good(bucket: Bucket) -> None:
    key = await quarantined(bucket)
    await a_window_passes()
    assert await act(bucket.storage, WINDOW) == 1
    assert await bucket.keys() == set()
    assert await states() == {key: "DELETED"}
    with pytest.raises(NotFound):
        await restore(bucket.storage, key)


@pytest.mark.usefixtures("old")
async def test_unfinished_uploads_in_parts_are_aborted_and_those_of_a_row_are_not(bucket: Bucket) -> None:
    unknown, of_a_row = await bucket.begin_parts(), await bucket.parts_of_a_file("o")
    await scan(bucket.storage, bucket.name)
    await a_day_passes()
    assert await act(bucket.storage, WINDOW) == 0  # seen once
    await seen_twice(bucket)
    assert await act(bucket.storage, WINDOW) == 1
    assert await bucket.parts() == {of_a_row}
    assert await states() == {unknown[0]: "DELETED"}


async def test_what_is_young_by_its_own_time_is_left_alone_however_often_it_was_seen(bucket: Bucket) -> None:
    keys = {await bucket.put(), (await bucket.begin_parts())[0]}
    await seen_twice(bucket)
    await seen_twice(bucket)
    assert await act(bucket.storage, WINDOW) == 0
    assert await states() == dict.fromkeys(keys, "SEEN")


@pytest.mark.usefixtures("old")
async def test_what_was_seen_once_or_twice_in_a_moment_is_left_alone(bucket: Bucket) -> None:
    key = await bucket.put()
    await scan(bucket.storage, bucket.name)
    await a_day_passes()
    assert await act(bucket.storage, WINDOW) == 0
    await database.execute("UPDATE orphans SET first_seen_at = now()")
    await scan(bucket.storage, bucket.name)
    assert await act(bucket.storage, WINDOW) == 0
    assert await bucket.keys() == {key}


@pytest.mark.usefixtures("old")
async def test_keys_of_others_are_never_touched(bucket: Bucket) -> None:
    keys = {
        await bucket.put(key="00112233aabbccdd/no-tenant-of-ours/0198c0de-0000-7000-8000-000000000001"),
        await bucket.put(key="photo.png"),
        await bucket.put(key="quarantine/photo.png"),
    }
    await bucket.begin_parts("photo.png")
    await seen_twice(bucket)
    assert await act(bucket.storage, WINDOW) == 0
    assert await bucket.keys() == keys
    assert len(await bucket.parts()) == 1


@pytest.mark.usefixtures("old")
async def test_what_has_changed_since_it_was_seen_stays(bucket: Bucket) -> None:
    key, gone = await bucket.put(), await bucket.put()
    await seen_twice(bucket)
    await bucket.put(b"other", key)
    await bucket.storage.delete_many(bucket.name, [gone])
    await act(bucket.storage, WINDOW)
    assert await bucket.keys() == {key}
    assert await states() == {}


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("moment", ["found", "copy"])
async def test_what_changes_or_gets_a_row_in_the_last_moment_stays(bucket: Bucket, moment: str) -> None:
    changed, known = await bucket.put(), await bucket.put()
    await seen_twice(bucket)
    original: Callable[..., Awaitable[Any]] = getattr(inventory, moment)
    done: set[str] = set()

    async def meanwhile(storage: Storage, name: str, what: Any, *more: Any) -> Any:
        result = await original(storage, name, what, *more)
        if (key := what if isinstance(what, str) else what.key) not in done:
            done.add(key)
            if key == changed:
                await bucket.put(b"other", changed)
            if key == known:
                await database.execute(
                    "INSERT INTO deletions"
                    " (tenant_id, bucket, key, reserved_bytes, due_at, over_at, until_at, attempts)"
                    " VALUES ($1, $2, $3, 0, now() + interval '1 day', now(), now(), 0)",
                    *(bucket.caller.tenant.id, name, known),
                )
        return result

    with patch.object(inventory, moment, meanwhile):
        await act(bucket.storage, WINDOW)
    assert await bucket.keys() == {changed, known}
    assert await bucket.body(changed) == b"other"
    assert await states() == {}


@pytest.mark.usefixtures("old")
async def test_what_has_a_row_again_comes_back_from_quarantine(bucket: Bucket) -> None:
    """A database was set back to an older state, and then the newer one was found."""
    key = await quarantined(bucket)
    other = await bucket.file("o")
    await bucket.storage.delete_many(bucket.name, [other])
    await database.execute("UPDATE uploads SET key = $2 WHERE key = $1", other, key)
    await a_window_passes()
    assert await act(bucket.storage, WINDOW) == 1
    assert await bucket.keys() == {key}


@pytest.mark.usefixtures("old")
async def test_restoring_overwrites_nothing(bucket: Bucket) -> None:
    key = await quarantined(bucket)
    for other in (b"longer than that", b"HELLO"):
        await bucket.put(other, key)
        with pytest.raises(Conflict, match="something else"):
            await restore(bucket.storage, key)
        assert await bucket.body(key) == other
    assert await bucket.body(f"quarantine/{key}") == b"hello"


class Killed(BaseException):
    """Nothing behind this happens, as if the process had been killed."""


async def killed_after(calls: int, work: Callable[[], Awaitable[Any]]) -> bool:
    """Whether the work was ended by a kill, right after its so many-th request to S3 or statement."""
    left = calls

    def counting(original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return await original(*arguments, **named)

        return call

    places = [
        *((inventory, name) for name in ("found", "copy", "delete", "abort")),
        *((orphans, name) for name in ("claim", "is_still_unknown", "became", "forget")),
        (quarantine, "_remove"),
    ]
    with contextlib.ExitStack() as stack:
        for module, name in places:
            stack.enter_context(patch.object(module, name, counting(getattr(module, name))))
        try:
            await work()
        except Killed:
            return True
    return False


@pytest.mark.usefixtures("old")
async def test_whoever_is_killed_anywhere_leaves_what_the_next_round_finishes(bucket: Bucket) -> None:
    """Each step of the way to quarantine, back, there again, and away is the last one of somebody's."""

    async def through(work: Callable[[], Awaitable[Any]], begin: Callable[[], Awaitable[Any]]) -> None:
        for calls in range(20):
            await begin()
            if not await killed_after(calls, work):
                assert calls > 2
                return
            assert any([await has(bucket, key), await has(bucket, f"quarantine/{key}")]) or final
            await a_day_passes()  # nobody else's any more
            await work()
            assert await bucket.keys() == expected
        raise AssertionError("it does not end")

    final = False
    key = await bucket.put()
    await seen_twice(bucket)

    async def to_quarantine() -> Any:
        return await act(bucket.storage, WINDOW)

    async def begin_again() -> None:
        await bucket.empty()
        await bucket.put(key=key)
        await database.execute("DELETE FROM orphans")
        await seen_twice(bucket)

    expected = {f"quarantine/{key}"}
    await through(to_quarantine, begin_again)

    async def in_quarantine() -> None:
        await begin_again()
        await act(bucket.storage, WINDOW)

    async def back() -> Any:
        return await restore(bucket.storage, key) if (await states())[key] != "RESTORED" else None

    expected = {key}
    await through(back, in_quarantine)

    async def long_in_quarantine() -> None:
        await in_quarantine()
        await a_window_passes()

    expected, final = set(), True
    await through(to_quarantine, long_in_quarantine)


async def has(bucket: Bucket, key: str) -> bool:
    return key in await bucket.keys()


@pytest.mark.usefixtures("old")
async def test_outage_of_s3_costs_nothing_but_time(bucket: Bucket) -> None:
    keys = [await bucket.put() for _ in range(3)]
    await seen_twice(bucket)

    async def away(*_: object) -> None:
        raise StorageUnavailable

    with patch.object(inventory, "copy", away), pytest.raises(StorageUnavailable):
        await act(bucket.storage, WINDOW)
    assert await bucket.keys() == set(keys)
    assert {row["last_error"] for row in (await rows()).values()} == {"STORAGE_UNAVAILABLE"}
    assert await act(bucket.storage, WINDOW) == 0  # each is tried again in an hour
    await a_day_passes()
    assert await act(bucket.storage, WINDOW) == 3
    assert await bucket.keys() == {f"quarantine/{key}" for key in keys}


@pytest.mark.usefixtures("old")
async def test_several_at_once_share_the_work(bucket: Bucket) -> None:
    keys = [await bucket.put() for _ in range(6)]
    await seen_twice(bucket)
    with patch.object(quarantine, "_AT_ONCE", 2):
        done = await asyncio.gather(*(act(bucket.storage, WINDOW) for _ in range(3)))
    assert sum(done) == 6
    assert await bucket.keys() == {f"quarantine/{key}" for key in keys}


@pytest.mark.usefixtures("old")
async def test_large_ones_are_copied_in_parts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    body = bytes(range(256)) * (11 * 4096)  # 11 MiB
    monkeypatch.setattr(inventory, "_COPIED_AT_ONCE", 5 * 1024**2)
    key = await bucket.put(body)
    left = await bucket.begin_parts(f"quarantine/{key}")  # by somebody who died on the way
    await seen_twice(bucket)
    await act(bucket.storage, WINDOW)
    assert await bucket.body(f"quarantine/{key}") == body
    assert left not in await bucket.parts()
    assert await bucket.keys() == {f"quarantine/{key}"}
    await restore(bucket.storage, key)
    head = await bucket.storage.client.head_object(Bucket=bucket.name, Key=key)
    assert (head["ContentType"], head["Metadata"]) == ("image/png", {"of": "nobody"})
    assert await bucket.body(key) == body


@pytest.mark.usefixtures("old")
@pytest.mark.parametrize("acts", [False, True])
async def test_worker_scans_by_itself_and_acts_only_where_it_may(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, acts: bool
) -> None:
    monkeypatch.setattr(reaper, "_PAUSE_SECONDS", 0.01)
    key = await bucket.put()
    await seen_twice(bucket)
    task = asyncio.create_task(reaper.run(bucket.storage, reaper.Schedule(timedelta(hours=1), acts, WINDOW)))
    await until(lambda: sightings_are(3) if not acts else is_at(bucket, f"quarantine/{key}"))
    task.cancel()
    assert await bucket.keys() == {f"quarantine/{key}" if acts else key}


async def sightings_are(count: int) -> bool:
    return [row["sightings"] for row in (await rows()).values()] == [count]


async def is_at(bucket: Bucket, key: str) -> bool:
    return await bucket.keys() == {key}
