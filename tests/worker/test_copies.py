"""A file that another application tells of is copied, proved, named and registered; what goes wrong is told apart."""

import asyncio
import hashlib
import logging
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from access.locations import Allowed
from models import copying, database, jobs
from models.locations import Location
from storage.client import Storage
from storage.places import opened
from tests.conftest import BUCKETS, free_port
from tests.worker.mirror import BUCKET, Mirror, all_end, new_copies, new_mirror
from waybill import seaweedfs
from worker.attempts import MOST_ATTEMPTS
from worker.copies import Copies
from worker.queue import working

BODY = os.urandom(3 * 1024**2 + 7)
LONG_AGO = "20 minutes"


def files_below(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


async def pairs(mirror: Mirror, ref_id: str = "r") -> dict[str, str]:
    row = (await mirror.rows())[ref_id]
    return {pair["key"]: pair["value"] for pair in orjson.loads(row["data"])}


async def test_file_is_copied_proved_and_registered(mirror: Mirror, copies: Copies) -> None:
    await mirror.put(BODY)
    await mirror.ask()
    assert await copies.drain() == 1
    assert mirror.file().read_bytes() == BODY
    assert mirror.file().stat().st_mode & 0o777 == 0o600
    digest = hashlib.sha256(BODY)
    assert await pairs(mirror) == {
        "file_name": "a.bin",
        "file_type": "image/png",
        "size": str(len(BODY)),
        "sha256": digest.hexdigest(),
    }
    row = (await mirror.rows())["r"]
    assert (row["state"], row["size_bytes"], bytes(row["sha256"])) == ("SYNCED", len(BODY), digest.digest())
    assert row["etag"] == hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    assert mirror.root / row["path"] == mirror.file()
    assert mirror.partials() == []


async def test_job_wakes_a_worker_and_an_empty_file_is_a_file(
    mirror: Mirror, copies: Copies, storage: Storage, copies_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.copies._LOOK_SECONDS", 3600)
    async with working(storage, copies_url, copies.kinds()), copies.working():
        await mirror.put(b"")
        await mirror.ask()
        await jobs.add(jobs.SYNC)
        assert await all_end(mirror) == {"r": "SYNCED"}
    assert mirror.file().read_bytes() == b""


async def test_names_that_lead_elsewhere_lead_nowhere_else(
    storage: Storage, seaweed: seaweedfs.Server, copies: Copies, tmp_path: Path
) -> None:
    """The door refuses most of them; whatever it lets in is safe, and no two are one file."""
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", prefix=f"{tmp_path.name}/")
    names = ["..", ".", "../../../up", "/etc/passwd", "con", "CON", "a:b", "a ", "%2E%2E", "é", "e\u0301", "x" * 256]
    await mirror.put(BODY, name=".a")
    await mirror.ask(*names, oeid="..", name=".a")
    await copies.drain()
    rows = await mirror.rows()
    assert {row["state"] for row in rows.values()} == {"SYNCED"}
    files = {str(path.relative_to(mirror.root)) for path in files_below(tmp_path)}
    assert files == {rows[name]["path"] for name in names}
    assert len(files) == len(names)
    assert all(path.startswith(f"{mirror.tenant_slug}/copies/%2E%2E/") and path.endswith("/%2Ea") for path in files)


async def test_file_that_is_not_there_may_arrive_within_the_grace(mirror: Mirror, copies: Copies) -> None:
    await mirror.ask()
    await copies.drain()
    assert await mirror.problem() == ("QUEUED", "NOT_FOUND", 0)
    assert 1 <= (await mirror.rows())["r"]["due_in"].total_seconds() <= 3
    await mirror.put(BODY)
    await mirror.due_now()
    await copies.drain()
    assert (await mirror.rows())["r"]["state"] == "SYNCED"


async def test_file_that_is_not_there_after_the_grace_has_failed_and_can_be_retried(
    mirror: Mirror, copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    await mirror.ask()
    await mirror.due_now(LONG_AGO)
    with caplog.at_level(logging.WARNING):
        await copies.drain()
    assert await mirror.problem() == ("FAILED", "NOT_FOUND", 1)
    [line] = [one.getMessage() for one in caplog.records if "failed for good" in one.getMessage()]
    assert f"{mirror.tenant_slug}.photos" in line
    await mirror.put(BODY)
    await mirror.ask()
    await copies.drain()
    assert (await mirror.rows())["r"]["state"] == "SYNCED"


async def test_file_that_nobody_may_read_unsigned_is_denied(
    storage: Storage, seaweed: seaweedfs.Server, copies: Copies, tmp_path: Path
) -> None:
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", profile="")
    await mirror.put(BODY)
    await mirror.ask()
    await copies.drain()
    assert await mirror.problem() == ("QUEUED", "ACCESS_DENIED", 0)
    await mirror.due_now(LONG_AGO)
    await copies.drain()
    assert await mirror.problem() == ("FAILED", "ACCESS_DENIED", 1)


@pytest.mark.parametrize("wrong", [{"profile": "none-such"}, {"bucket": "none-such"}])
async def test_wrong_configuration_fails_no_file_and_rests_the_source(
    wrong: dict[str, Any],
    storage: Storage,
    seaweed: seaweedfs.Server,
    copies: Copies,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", **wrong)
    await mirror.ask("r", "s")
    await mirror.due_now(LONG_AGO)
    await copies.drain()
    assert await mirror.problem() == ("QUEUED", "CONFIGURATION", 0)
    await mirror.due_now()
    assert await copies.drain() == 0
    assert len([one for one in caplog.records if "rests" in one.getMessage()]) == 1


async def test_what_the_operator_allows_no_more_is_not_copied(
    mirror: Mirror, seaweed: seaweedfs.Server, tmp_path: Path
) -> None:
    await mirror.put(BODY)
    await mirror.ask()
    allowed = Allowed([(mirror.tenant_slug, seaweedfs.PROFILE)], [], directories=True)
    async with new_copies(seaweed, tmp_path / "root", allowed=allowed) as copies:
        await copies.drain()
    assert await mirror.problem() == ("QUEUED", "CONFIGURATION", 0)


async def test_server_that_is_away_is_tried_later_and_later_and_then_no_more(
    storage: Storage, seaweed: seaweedfs.Server, copies: Copies, tmp_path: Path
) -> None:
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", endpoint=f"http://127.0.0.1:{free_port()}")
    await mirror.ask()
    await copies.drain()
    assert await mirror.problem() == ("QUEUED", "NETWORK", 1)
    first = (await mirror.rows())["r"]["due_in"].total_seconds()
    await database.execute("UPDATE syncs SET attempts = $1 WHERE source_id = $2", 3, mirror.source["id"])
    await mirror.due_now()
    await copies.drain()
    assert (await mirror.rows())["r"]["due_in"].total_seconds() > 10 * first
    await database.execute(
        "UPDATE syncs SET attempts = $1 WHERE source_id = $2", MOST_ATTEMPTS - 1, mirror.source["id"]
    )
    await mirror.due_now()
    await copies.drain()
    assert await mirror.problem() == ("FAILED", "NETWORK", MOST_ATTEMPTS)


async def test_poisonous_file_that_ends_its_workers_fails_without_being_tried(mirror: Mirror, copies: Copies) -> None:
    await mirror.put(BODY)
    await mirror.ask()
    await database.execute("UPDATE syncs SET attempts = $1 WHERE source_id = $2", MOST_ATTEMPTS, mirror.source["id"])
    await copies.drain()
    assert (await mirror.problem())[:2] == ("FAILED", "INTERNAL")
    assert not mirror.file().exists()


async def test_files_in_front_that_fail_do_not_hold_up_the_others(mirror: Mirror, copies: Copies) -> None:
    absent, there = [f"absent{number}" for number in range(20)], [f"there{number}" for number in range(5)]
    await mirror.ask(*absent)
    await mirror.ask(*there)
    for ref_id in there:
        await mirror.put(BODY, ref_id)
    await copies.drain()
    states = await mirror.states()
    assert {states[ref_id] for ref_id in there} == {"SYNCED"}
    assert {states[ref_id] for ref_id in absent} == {"QUEUED"}


async def test_worker_without_a_root_leaves_directories_to_others(
    mirror: Mirror, seaweed: seaweedfs.Server, storage: Storage, tmp_path: Path
) -> None:
    to_bucket = await new_mirror(
        storage, seaweed, tmp_path, destination=Location(BUCKETS[1], "at/", seaweed.url, profile=seaweedfs.PROFILE)
    )
    for one in (mirror, to_bucket):
        await one.put(BODY)
        await one.ask()
    async with new_copies(seaweed, None) as copies:
        await copies.drain()
    assert await mirror.problem() == ("QUEUED", None, 0)
    assert await to_bucket.states() == {"r": "SYNCED"}


@pytest.mark.parametrize("size", [0, 5, 17 * 1024**2])
async def test_file_is_copied_to_another_bucket(
    size: int, storage: Storage, seaweed: seaweedfs.Server, copies: Copies, tmp_path: Path
) -> None:
    place = Location(BUCKETS[1], f"{tmp_path.name}/", seaweed.url, profile=seaweedfs.PROFILE)
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", destination=place)
    body = os.urandom(size)
    await mirror.put(body)
    await mirror.ask()
    await copies.drain()
    row = (await mirror.rows())["r"]
    key = f"{tmp_path.name}/photos/b/r/a.bin"
    assert (row["state"], row["path"], row["size_bytes"]) == ("SYNCED", key, size)
    assert bytes(row["sha256"]) == hashlib.sha256(body).digest()
    answer = await storage.client.get_object(Bucket=BUCKETS[1], Key=key)
    async with answer["Body"] as stream:
        assert await stream.read() == body
    assert answer["ContentType"] == "image/png"
    await database.execute("DELETE FROM objects WHERE tenant_id = $1", mirror.source["tenant_id"])
    await copies._copier.delete_due()
    assert await storage.head(BUCKETS[1], key) is None


async def test_two_workers_share_the_files_and_copy_each_once(
    mirror: Mirror, copies: Copies, seaweed: seaweedfs.Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ref_ids = [f"r{number}" for number in range(40)]
    for ref_id in ref_ids:
        await mirror.put(ref_id.encode(), ref_id)
    await mirror.ask(*ref_ids)
    async with new_copies(seaweed, tmp_path / "root") as others:
        taken = await asyncio.gather(copies.drain(), others.drain())
    assert sum(taken) == len(ref_ids)
    assert set((await mirror.states()).values()) == {"SYNCED"}
    assert [mirror.file(ref_id).read_text() for ref_id in ref_ids] == ref_ids
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_listing_goes_through_all_pages(mirror: Mirror, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.places._KEYS_PER_PAGE", 2)
    for number in range(5):
        await mirror.put(b"x" * number, f"r{number}")
    origin = Location(BUCKET, "", mirror.endpoint, profile=seaweedfs.PROFILE)
    prefix = mirror.key("", name="").removesuffix("-")
    async with opened(copies._copier.places, origin, mirror.tenant_slug) as place:
        pages = [page async for page in place.listing(prefix)]
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [one.size for page in pages for one in page] == [0, 1, 2, 3, 4]


async def test_taking_a_few_files_of_many_reads_few_blocks(mirror: Mirror) -> None:
    await mirror.ask(*(f"r{number}" for number in range(6_000)))
    await database.fetch("ANALYZE syncs")
    async with database.transaction():
        before = await blocks_read()
        assert len(await copying.take(uuid4(), 2)) == 1  # of one source no more than is left to others
        await copying.oldest_age()
        assert await blocks_read() - before < 80


async def blocks_read() -> int:
    """By this connection, of the table and its indexes."""
    [row] = await database.fetch(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint AS blocks FROM pg_class WHERE relname ~ '^syncs'"
    )
    return int(row["blocks"])
