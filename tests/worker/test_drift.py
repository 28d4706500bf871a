"""What a drift report finds between rows, copies and the bucket, what a repair does of it, and what is no drift."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from models import database, drifting
from models.drifting import Held
from models.locations import Location
from storage.client import Storage
from storage.names import component
from tests.conftest import BUCKETS
from tests.worker.drifts import NOTHING, Drift
from tests.worker.mirror import BUCKET, new_mirror
from waybill import seaweedfs
from worker.copies import Copies
from worker.drift import Checker
from worker.drift_report import Item


async def test_each_kind_is_found_and_named_and_a_repair_leaves_what_it_cannot_mend(
    drift: Drift, storage: Storage
) -> None:
    mirror = drift.mirror
    await drift.copy("missing", "short", "changed", "gone", "well")
    assert await drift.found() == NOTHING
    mirror.file("missing").unlink()
    mirror.file("short").write_bytes(b"shor")
    await mirror.put(b"CHANGED", "changed")
    await storage.client.delete_object(Bucket=BUCKET, Key=mirror.key("gone"))
    mirror.file("well", name="extra").write_bytes(b"x")
    await mirror.put(b"new", "unknown", name="new.png")
    differs = {
        "MISSING": ["missing"],
        "DAMAGED": ["short"],
        "CHANGED": ["changed"],
        "GONE": ["gone"],
        "EXTRA": ["extra"],
        "UNKNOWN": ["unknown"],
    }
    assert await drift.found() == differs
    assert set((await mirror.states()).values()) == {"SYNCED"}
    [missing] = [one for one in drift.items if one.kind == "MISSING"]
    path = f"{mirror.tenant_slug}/copies/b/missing/a.bin"
    assert missing == Item(missing.kind, path, mirror.key("missing"), "b", "missing", "a.bin")

    repaired = await drift.report(repair=True)
    assert (repaired.queued, repaired.copies) == (4, 5)
    states = await mirror.states()
    assert {ref_id for ref_id, state in states.items() if state == "QUEUED"} == {
        *("missing", "short", "changed", "unknown")
    }
    assert mirror.file("changed").read_bytes() == b"changed"  # until the new one is there
    assert await drift.found() == {"GONE": ["gone"], "EXTRA": ["extra"]}  # what is queued is no drift
    await drift.copies.drain()
    assert await drift.found() == {"GONE": ["gone"], "EXTRA": ["extra"]}
    assert [mirror.file(ref_id).read_bytes() for ref_id in ("missing", "short", "changed")] == [
        *(b"missing", b"short", b"CHANGED")
    ]
    assert mirror.file("unknown", name="new.png").read_bytes() == b"new"
    assert (await mirror.rows())["unknown"]["file_type"] == "image/png"


async def test_other_bytes_of_the_same_size_are_found_by_those_only_who_read_them(drift: Drift) -> None:
    await drift.copy("r", "s")
    drift.mirror.file("r").write_bytes(b"R")
    assert await drift.found() == NOTHING
    assert await drift.found(verify=True) == {"DAMAGED": ["r"]}
    await drift.report(repair=True, verify=True)
    await drift.copies.drain()
    assert await drift.found(verify=True) == NOTHING


async def test_copies_in_a_bucket_are_compared_and_repaired_alike(in_bucket: Drift, storage: Storage) -> None:
    drift = in_bucket
    await drift.copy("missing", "short", "other", "well")
    assert await drift.found(verify=True) == NOTHING
    paths = {ref_id: row["path"] for ref_id, row in (await drift.mirror.rows()).items()}
    await storage.client.delete_object(Bucket=BUCKETS[1], Key=paths["missing"])
    for key, body in ((paths["short"], b"s"), (paths["other"], b"OTHER"), (f"{paths['well']}.extra", b"")):
        await storage.client.put_object(Bucket=BUCKETS[1], Key=key, Body=body)
    extra = {"EXTRA": ["a.bin.extra"]}
    assert await drift.found() == {"MISSING": ["missing"], "DAMAGED": ["short"], **extra}
    assert await drift.found(verify=True) == {"MISSING": ["missing"], "DAMAGED": ["other", "short"], **extra}
    assert (await drift.report(repair=True, verify=True)).queued == 3
    await drift.copies.drain()
    assert await drift.found(verify=True) == extra


async def test_links_are_not_followed_and_are_no_copies(drift: Drift, tmp_path: Path) -> None:
    """Neither in the place of a file, nor of its directory, nor beside it."""
    await drift.copy("file", "directory", "well")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.bin").write_bytes(b"directory")
    (elsewhere / "secret").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"file")
    mirror = drift.mirror
    mirror.file("file").unlink()
    mirror.file("file").symlink_to(tmp_path / "file")
    shutil.rmtree(mirror.file("directory").parent)
    mirror.file("directory").parent.symlink_to(elsewhere)
    mirror.file("well").with_name("beside").symlink_to(elsewhere)
    assert await drift.found(verify=True) == {
        "DAMAGED": ["file"],
        "MISSING": ["directory"],
        "EXTRA": ["beside", "directory"],
    }


async def test_other_directories_are_not_looked_at_and_strange_things_in_its_own_are_extra(drift: Drift) -> None:
    await drift.copy("r")
    mirror = drift.mirror
    own = mirror.root / mirror.tenant_slug / "copies"
    for path in (mirror.root / "other" / "f", mirror.root / mirror.tenant_slug / "letters" / "f", own / "f"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    deep = own.joinpath(*["d" * 60] * 20)
    deep.mkdir(parents=True)
    (deep / "long").write_bytes(b"")
    own.joinpath(*["d"] * 40).mkdir(parents=True)
    (own / "b" / os.fsdecode(b"\xff")).write_bytes(b"")
    os.mkfifo(own / "b" / "fifo")
    (own / "empty").mkdir()
    assert await drift.found(verify=True) == {"EXTRA": ["\\xff", "d", "f", "fifo", "long"]}


async def test_odd_names_are_found_where_they_were_put(drift: Drift) -> None:
    names = ["con", "a:b", "a ", ".a", "%2E", "é", "e\u0301", "x" * 255, "a\\b", "-", "a.b", "{oeid}"]
    odd = [name for name in names if "\\" not in name]
    await drift.copy(*odd)
    assert await drift.found(verify=True) == NOTHING
    shutil.rmtree(drift.mirror.root / drift.mirror.tenant_slug)
    assert await drift.found() == {"MISSING": sorted(odd)}
    assert {str(one.path).split("/")[3] for one in drift.items} == {component(name) for name in odd}


async def test_what_is_being_copied_or_was_deleted_or_has_failed_is_no_drift(
    drift: Drift, monkeypatch: pytest.MonkeyPatch
) -> None:
    await drift.copy("requeued", "running", "failed", "deleted", "late")
    mirror = drift.mirror
    for ref_id in ("requeued", "running", "failed", "late"):
        mirror.file(ref_id).unlink()
    (mirror.root / ".partial" / "1.temporary").write_bytes(b"x")
    await database.execute(
        "UPDATE syncs s SET state = CASE o.object_id WHEN 'requeued' THEN 'QUEUED' WHEN 'running' THEN 'RUNNING'"
        " ELSE 'FAILED' END, taken_by = CASE o.object_id WHEN 'running' THEN gen_random_uuid() END, problem = 'X'"
        " FROM objects o WHERE s.source_id = $1 AND o.id = s.object_pk"
        " AND o.object_id IN ('requeued', 'running', 'failed')",
        mirror.source["id"],
    )
    await database.execute(
        "DELETE FROM objects WHERE tenant_id = $1 AND object_id = 'deleted'", mirror.source["tenant_id"]
    )
    assert mirror.file("deleted").exists()
    await mirror.storage.client.delete_object(Bucket=BUCKET, Key=mirror.key("deleted"))
    begin = drifting.begin

    async def copied_meanwhile(held: Held) -> None:
        await begin(held)
        later = "UPDATE syncs SET synced_at = now() + interval '1 s' WHERE tenant_id = $1 AND source_id = $2"
        await database.execute(later, *held.of)

    monkeypatch.setattr(drifting, "begin", copied_meanwhile)
    assert await drift.found() == NOTHING


async def test_file_that_gets_its_name_just_now_is_not_extra(drift: Drift) -> None:
    """Its row is told of it at the end of the transaction in which it got the name."""
    await drift.copy("r")
    await database.execute(
        "UPDATE syncs SET path = NULL, size_bytes = NULL, sha256 = NULL, etag = NULL, synced_at = NULL, attempts = 1,"
        " state = 'RUNNING', taken_by = gen_random_uuid(), due_at = now() + interval '1 minute' WHERE source_id = $1",
        drift.mirror.source["id"],
    )
    path = f"{drift.mirror.tenant_slug}/copies/b/r/a.bin"
    placed = asyncio.Event()

    async def found() -> dict[str, list[str]]:
        await placed.wait()
        return await drift.found()

    checking = asyncio.create_task(found())  # here, so that the transaction is not its own
    async with database.transaction():
        await database.fetch("SELECT pg_advisory_xact_lock(hashtextextended($2, $1))", drift.mirror.source["id"], path)
        placed.set()
        while not await database.fetch(
            "SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()"
            " WHERE l.locktype = 'advisory' AND NOT l.granted"
        ):
            assert not checking.done()
        await database.execute(
            "UPDATE syncs SET path = $2, size_bytes = 1, sha256 = sha256('r'), etag = '', synced_at = now(),"
            " state = 'SYNCED', taken_by = NULL WHERE source_id = $1",
            *(drift.mirror.source["id"], path),
        )
    assert await checking == NOTHING


@pytest.mark.parametrize("prefix", ["", "{oeid}/", "{oeid}/{ref_id}-", "{oeid}-{ref_id}/"])
async def test_where_keys_do_not_tell_whose_they_are_nothing_is_unknown(
    prefix: str, copies: Copies, storage: Storage, seaweed: seaweedfs.Server, tmp_path: Path
) -> None:
    """One key may be the file of several objects then."""
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", prefix=f"drift/{tmp_path.name}/{prefix}")
    drift = Drift(mirror, copies)
    await drift.copy("r", "s")
    await mirror.put(b"?", "unknown", name="unknown")
    await storage.client.put_object(Bucket=BUCKET, Key=mirror.key("r"), Body=b"changed")
    changed = ["r"] if "ref_id" in prefix else ["r", "s"]
    assert await drift.found() == {"CHANGED": changed}


async def test_keys_that_no_notice_could_tell_of_are_not_unknown(
    drift: Drift, storage: Storage, tmp_path: Path
) -> None:
    drift.copies._checker = Checker(drift.copies._copier, 5)
    keys = ["x", "b/f", "b/r/", "b/r/s/t", "b/too-long/a", "b/r/a\\b", "b/r/a\x7f", "c/r/a"]
    for key in keys:
        await storage.client.put_object(Bucket=BUCKET, Key=f"drift/{tmp_path.name}/{key}", Body=b"x")
    assert await drift.found() == {"UNKNOWN": ["r"]}


async def test_file_of_an_object_in_another_batch_stays_unknown_and_stops_no_repair(drift: Drift) -> None:
    await drift.copy("r")
    await drift.mirror.put(b"x", "r", oeid="other")
    await drift.mirror.put(b"x", "new", oeid="other")
    report = await drift.report(repair=True)
    assert (report.queued, report.counts) == (1, {"UNKNOWN": 2})
    await drift.copies.drain()
    assert await drift.found() == {"UNKNOWN": ["r"]}


async def test_quota_of_objects_bounds_a_repair_and_the_report_says_so(drift: Drift) -> None:
    await drift.copy("r")
    drift.mirror.file("r").unlink()
    await drift.mirror.put(b"x", "new")
    await database.execute("UPDATE tenants SET quota_objects = 1 WHERE id = $1", drift.mirror.source["tenant_id"])
    report = await drift.report(repair=True)
    assert (report.queued, report.problem) == (1, "QUOTA_EXCEEDED")
    assert report.counts == {"UNKNOWN": 1, "MISSING": 1}


async def test_copy_in_a_sealed_batch_is_made_again_and_the_batch_stays_as_it_is(drift: Drift) -> None:
    await drift.copy("r")
    tenant_id = drift.mirror.source["tenant_id"]
    before = (await drift.mirror.rows())["r"]["data"]
    await database.execute(
        "UPDATE batches SET sealed_at = now(), digest = sha256(''), sealed_by_id = created_by_id WHERE tenant_id = $1",
        tenant_id,
    )
    await drift.mirror.put(b"another", "r")
    await drift.report(repair=True)
    await drift.copies.drain()
    assert await drift.found() == NOTHING
    assert drift.mirror.file("r").read_bytes() == b"another"
    assert (await drift.mirror.rows())["r"]["data"] == before


def test_key_is_read_back_where_it_can_be_read_in_one_way_only() -> None:
    told = {
        "{oeid}/{ref_id}/": True,
        "in/{oeid}.d/x-{ref_id}/y/f-": True,
        "{ref_id}/{oeid}/{ref_id}/": True,
        "{oeid}/": False,
        "{oeid}{ref_id}/": False,
        "{oeid}/{ref_id}": False,
        "": False,
    }
    for prefix, tells in told.items():
        place = Location("bucket", prefix)
        names = place.names()
        assert (names is not None) is tells, prefix
        for file in (("b", "o", "a.jpg"), (".d", "x-", "f-f-"), ("{ref_id}", "o", "é")):
            if names and "{" not in file[0]:
                assert names.of(place.key(*file)) == file
    names = Location("bucket", "in/{oeid}.d/x-{ref_id}/{oeid}/f-").names()
    assert names
    for key in (
        "in/b.d/x-o/b/f-",
        "in/b.d/x-/b/f-a",
        "in/.d/x-o/b/f-a",
        "in/b.d/x-o/c/f-a",
        "in/b/x-o/b/f-a",
        "in/b.d/x-o/b/a",
    ):
        assert names.of(key) is None, key
    assert names.of("in/b.d/x-o/b/f-a") == ("b", "o", "a")
