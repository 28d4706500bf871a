"""A scan finds what a bucket has and no row knows, and what rows know and it has not, whatever interrupts it."""

import asyncio
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from prometheus_client import REGISTRY

from models import database, files, lost, scans
from models.errors import StorageUnavailable
from storage import inventory
from storage.client import Storage
from storage.inventory import Page
from tests.worker.conftest import Bucket, a_day_passes, figures, rows, states
from worker import scanning
from worker.scanning import scan

ODD = ["a key", "ü&+?#%20/\u2028", "-", "0123456789abcdef/x", "ctl\x01", "quarantine/else", "\U0001f9fe"]


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of two keys, as those of a thousand would be in a bucket of many."""
    monkeypatch.setattr(scanning, "_COMPARED", 2)
    monkeypatch.setattr(inventory, "KEYS_PER_PAGE", 2)


async def test_empty_bucket_is_scanned(bucket: Bucket) -> None:
    assert await scan(bucket.storage, bucket.name)
    assert [(await figures())[name] for name in scans.FIGURES] == [0] * 8


@pytest.mark.usefixtures("short_pages")
async def test_keys_that_no_row_knows_are_found_on_every_page_and_those_of_others_are_counted(bucket: Bucket) -> None:
    known = [await bucket.file(f"o{number}") for number in range(3)]
    unknown = [await bucket.put(b"x" * number) for number in range(5)]
    for key in ODD:
        await bucket.put(b"12", key)
    elsewhere = await bucket.put(key="00112233aabbccdd/no-tenant-of-ours/0198c0de-0000-7000-8000-000000000001")
    await bucket.put(key=f"quarantine/{elsewhere}")
    assert await bucket.keys() >= set(ODD) & set(known)  # pages are short
    assert await scan(bucket.storage, bucket.name)
    assert await states() == dict.fromkeys(unknown, "SEEN")
    assert [row["size_bytes"] for row in sorted((await rows()).values(), key=lambda row: row["size_bytes"])] == [
        *range(5)
    ]
    found = await figures()
    assert (found["keys"], found["bytes"]) == (17, 15 + 10 + 14 + 5 + 5)
    assert (found["foreign_keys"], found["foreign_bytes"]) == (8, 14 + 5)
    assert (found["quarantine_keys"], found["quarantine_bytes"]) == (1, 5)
    assert await lost.figures() == []
    assert await database.fetch("SELECT FROM reaper_keys") == []
    of_bucket = {"bucket": bucket.name}
    assert REGISTRY.get_sample_value("waybill_reaper_orphans", of_bucket) == 5
    assert REGISTRY.get_sample_value("waybill_reaper_orphan_bytes", of_bucket) == 10


@pytest.mark.usefixtures("short_pages")
async def test_unfinished_uploads_in_parts_are_found_on_every_page(bucket: Bucket) -> None:
    own = [await bucket.begin_parts() for _ in range(3)]
    own.append(await bucket.begin_parts(own[0][0]))  # another of the same key
    key, _ = await bucket.parts_of_a_file("o")
    own.append(await bucket.begin_parts(key))  # which no row knows, though it knows the key
    await bucket.begin_parts("some + thing/ü")
    assert await scan(bucket.storage, bucket.name)
    found = await database.fetch("SELECT key, multipart_id FROM orphans")
    assert {tuple(row) for row in found} == set(own)
    assert ((await figures())["multiparts"], (await figures())["foreign_multiparts"]) == (7, 1)


async def test_key_of_an_upload_that_has_not_ended_or_of_a_deletion_is_known(bucket: Bucket) -> None:
    key, gone = await bucket.file("o"), await bucket.file("gone")
    await scan(bucket.storage, bucket.name)
    assert await states() == {}
    await database.execute(
        "UPDATE uploads SET state = 'PENDING', completed_at = NULL WHERE bucket = $1 AND key = $2", bucket.name, key
    )
    [upload] = await database.fetch("SELECT id FROM uploads WHERE bucket = $1 AND key = $2", bucket.name, key)
    await scan(bucket.storage, bucket.name)
    assert await states() == {}
    await files.give_up([upload["id"]], None)
    await bucket.caller.execute('mutation { deleteObjects(input: {objectIds: ["gone"]}) { deletedObjectIds } }')
    await scan(bucket.storage, bucket.name)
    assert await states() == {}
    await database.execute("DELETE FROM deletions WHERE key = ANY($1)", [key, gone])
    await scan(bucket.storage, bucket.name)
    assert await states() == {key: "SEEN", gone: "SEEN"}  # the row of the former is there for good


async def test_sightings_in_a_row_are_counted_once_a_scan_and_begin_anew_when_it_has_changed(bucket: Bucket) -> None:
    key, other = await bucket.put(), await bucket.put()
    for sightings in (1, 2, 3):
        await scan(bucket.storage, bucket.name)
        assert {row["sightings"] for row in (await rows()).values()} == {sightings}
    await bucket.put(b"other bytes", key)
    await bucket.storage.delete_many(bucket.name, [other])
    await a_day_passes()
    before = (await rows())[key]
    await scan(bucket.storage, bucket.name)
    after = await rows()
    assert list(after) == [key]  # what is gone is forgotten
    assert (after[key]["sightings"], after[key]["size_bytes"]) == (1, 11)
    assert after[key]["first_seen_at"] > before["first_seen_at"]


@pytest.mark.usefixtures("short_pages")
@pytest.mark.parametrize("failing", [("objects", 3), ("multiparts", 2), ("found", 2)])
async def test_scan_goes_on_after_an_outage_where_it_was(bucket: Bucket, failing: tuple[str, int]) -> None:
    unknown = [await bucket.put() for _ in range(5)]
    parts = [await bucket.begin_parts() for _ in range(3)]
    missing = [await bucket.file(f"o{number}", body=None) for number in range(3)]
    name, at = failing
    original: Any = getattr(inventory, name)
    calls: list[Any] = []

    async def away(*arguments: Any) -> Any:
        calls.append(arguments[2:])
        if len(calls) == at:
            raise StorageUnavailable
        return await original(*arguments)

    with patch.object(inventory, name, away), patch.object(scanning, "_ASKED_AT_ONCE", 1):
        with pytest.raises(StorageUnavailable):
            await scan(bucket.storage, bucket.name)
        assert await scan(bucket.storage, bucket.name)  # at once: nobody holds it
    assert calls[at] == calls[at - 1]
    assert len(calls) == len(set(calls)) + 1  # but for that one page, none twice
    assert set(await states()) == {*unknown, *(key for key, _ in parts)}
    assert {row["sightings"] for row in (await rows()).values()} == {1}
    assert {row["key"] for row in await lost.listed(10)} == set(missing)


async def test_scan_is_one_workers_until_that_has_been_silent_for_long(bucket: Bucket) -> None:
    await bucket.put()
    held = await scans.take(bucket.name)
    assert held is not None
    assert not await scan(bucket.storage, bucket.name)
    await database.execute("UPDATE reaper_scans SET held_until = now()")
    assert await scan(bucket.storage, bucket.name)
    with pytest.raises(scans.ScanLost):  # who comes back finds that it is not theirs any more
        await scans.keep(held, [], held.step, "", {})
    assert len(await states()) == 1


async def test_of_several_at_once_one_scans(bucket: Bucket) -> None:
    await bucket.put()
    done = await asyncio.gather(*(scan(bucket.storage, bucket.name, timedelta(hours=1)) for _ in range(4)))
    assert sorted(done) == [False, False, False, True]
    assert {row["sightings"] for row in (await rows()).values()} == {1}


async def test_next_scan_is_due_after_its_hours(bucket: Bucket) -> None:
    every = timedelta(hours=20)
    assert await scan(bucket.storage, bucket.name, every)
    assert not await scan(bucket.storage, bucket.name, every)
    await a_day_passes()
    assert await scan(bucket.storage, bucket.name, every)


@pytest.mark.usefixtures("short_pages")
async def test_scan_begins_anew_when_postgres_has_crashed_and_forgotten_the_listing(bucket: Bucket) -> None:
    await bucket.file("o")
    key = await bucket.put()
    original = inventory.multiparts

    async def crash(storage: Storage, bucket: str, after: str = "") -> Page:
        await database.execute("DELETE FROM reaper_keys")  # as a crash leaves a table that is not logged
        return await original(storage, bucket, after)

    with patch.object(inventory, "multiparts", crash):
        assert not await scan(bucket.storage, bucket.name)
    assert await states() == {}
    assert await scan(bucket.storage, bucket.name)
    assert await states() == {key: "SEEN"}
    assert await lost.figures() == []


@pytest.mark.usefixtures("short_pages")
async def test_complete_files_without_their_bytes_are_lost_until_those_are_back(bucket: Bucket) -> None:
    await bucket.file("whole")
    missing, cut = await bucket.file("missing", body=None), await bucket.file("cut", b"hell")
    await scan(bucket.storage, bucket.name)
    found = {row["key"]: (row["object_id"], row["found_bytes"]) for row in await lost.listed(10)}
    assert found == {missing: ("missing", None), cut: ("cut", 4)}
    [of_tenant] = await lost.figures()
    assert (of_tenant["tenant"], of_tenant["count"], of_tenant["bytes"]) == (bucket.caller.tenant.slug, 2, 10)
    assert set(await bucket.caller.object_ids({"fileState": "COMPLETE"})) == {"whole", "missing", "cut"}  # as before
    assert REGISTRY.get_sample_value("waybill_reaper_lost_files", {"bucket": bucket.name}) == 2
    await bucket.put(b"hello", missing)
    await scan(bucket.storage, bucket.name)
    assert [row["key"] for row in await lost.listed(10)] == [cut]
    assert REGISTRY.get_sample_value("waybill_reaper_lost_files", {"bucket": bucket.name}) == 1


async def test_file_that_came_while_the_bucket_was_listed_is_not_lost(bucket: Bucket) -> None:
    original = inventory.multiparts

    async def meanwhile(storage: Storage, name: str, after: str = "") -> Page:
        await bucket.file("new")
        late = await bucket.file("old", body=None)
        await database.execute(
            "UPDATE uploads SET completed_at = now() - interval '1 day' WHERE tenant_id = $1 AND key = $2",
            *(bucket.caller.tenant.id, late),
        )
        await bucket.put(b"hello", late)  # which only asking for it can tell
        return await original(storage, name, after)

    with patch.object(inventory, "multiparts", meanwhile):
        assert await scan(bucket.storage, bucket.name)
    assert await lost.figures() == []


async def test_bucket_that_is_not_there_is_said_so_and_waits(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(StorageUnavailable):
        await scan(bucket.storage, "a-missing-one")
    assert "NoSuchBucket" in caplog.text
