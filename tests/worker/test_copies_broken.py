"""Copies from a server that breaks off, changes its mind, lies or stands still, and onto disks that are full."""

import logging
import os
import subprocess
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from models import copying, database
from storage.client import Storage
from tests.models.conftest import until
from tests.worker.mirror import Mirror, all_end, new_copies, new_mirror
from tests.worker.proxy import Proxy, proxied
from waybill import seaweedfs
from worker.copies import Copies

MIB = 1024**2
BODY = os.urandom(6 * MIB)


@pytest.fixture
async def proxy(seaweed: seaweedfs.Server) -> AsyncIterator[Proxy]:
    async with proxied(seaweed.url) as proxy:
        yield proxy


@pytest.fixture
async def far(
    alone: None,  # noqa: ARG001
    storage: Storage,
    seaweed: seaweedfs.Server,
    proxy: Proxy,
    tmp_path: Path,
) -> Mirror:
    """A source behind the proxy, with a file in it that is asked for."""
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", endpoint=proxy.url)
    await mirror.put(BODY)
    await mirror.ask()
    return mirror


async def test_broken_download_goes_on_where_it_broke_off(far: Mirror, proxy: Proxy, copies: Copies) -> None:
    proxy.cuts_after = 4 * MIB
    await copies.drain()
    assert await far.problem() == ("QUEUED", "NETWORK", 1)
    [partial] = far.partials()
    assert partial.stat().st_mode & 0o777 == 0o600
    assert not far.file().exists()
    proxy.passed = 0
    await far.due_now()
    await copies.drain()
    assert (await far.states(), far.file().read_bytes()) == ({"r": "SYNCED"}, BODY)
    assert proxy.passed < 4 * MIB
    assert sum(b"\r\nrange: bytes=" in asked.lower() for asked in proxy.asked) == 1
    assert far.partials() == []


async def test_download_goes_on_where_there_is_room_for_the_rest_only(
    far: Mirror, proxy: Proxy, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.cuts_after = 4 * MIB
    await copies.drain()
    [partial] = far.partials()
    monkeypatch.setattr("worker.root.Root.room", lambda _: len(BODY) - 2 * MIB)
    await far.due_now()
    await copies.drain()
    assert await far.states() == {"r": "SYNCED"}
    assert not partial.exists()


async def test_what_a_power_failure_may_have_taken_is_read_again(far: Mirror, proxy: Proxy, copies: Copies) -> None:
    """Of a partial file only what a mark says is on the disk; here the disk has lost what was there."""
    proxy.cuts_after = 4 * MIB
    await copies.drain()
    [partial] = far.partials()
    size = partial.stat().st_size
    partial.with_name(f"{partial.name}.kept").write_bytes(bytes(20))
    partial.write_bytes(bytes(size))
    await far.due_now()
    await copies.drain()
    assert (await far.states(), far.file().read_bytes()) == ({"r": "SYNCED"}, BODY)


async def test_file_that_is_replaced_before_it_goes_on_begins_anew(far: Mirror, proxy: Proxy, copies: Copies) -> None:
    proxy.cuts_after = 4 * MIB
    await copies.drain()
    new, asked = os.urandom(5 * MIB), len(proxy.asked)

    async def replace(number: int) -> None:
        if number == asked + 2:  # between the question whether it is the same and the request for the rest
            await far.put(new)

    proxy.before_request = replace
    await far.due_now()
    await copies.drain()
    assert await far.problem() == ("QUEUED", "CHANGED", 2)
    await far.due_now()
    await copies.drain()
    assert (await far.states(), far.file().read_bytes()) == ({"r": "SYNCED"}, new)


async def test_file_that_is_replaced_during_the_download_is_one_of_the_two(
    far: Mirror, proxy: Proxy, copies: Copies
) -> None:
    new, proxy.holds_after = os.urandom(6 * MIB), 1 * MIB
    async with copies.working():
        await proxy.held.wait()
        await far.put(new)
        proxy.go.set()
        await until(lambda: ended_once(far))
        await far.due_now()
        await copies._wake()
        await all_end(far)
    content = far.file().read_bytes()
    assert content in (BODY, new)


async def ended_once(mirror: Mirror) -> bool:
    row = (await mirror.rows())["r"]
    return row["state"] == "SYNCED" or row["problem"] is not None


async def test_bytes_that_change_on_the_way_are_not_taken(far: Mirror, proxy: Proxy, copies: Copies) -> None:
    proxy.spoils_after = 4 * MIB
    await copies.drain()
    assert await far.problem() == ("QUEUED", "CHECKSUM_MISMATCH", 1)
    assert (far.file().exists(), far.partials()) == (False, [])
    await far.due_now()
    await copies.drain()
    assert (await far.states(), far.file().read_bytes()) == ({"r": "SYNCED"}, BODY)


async def test_slow_bucket_with_many_files_leaves_slots_to_others(
    alone: None,  # noqa: ARG001
    storage: Storage,
    seaweed: seaweedfs.Server,
    proxy: Proxy,
    copies: Copies,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.copies._SLOTS", 8)
    slow = await new_mirror(storage, seaweed, tmp_path / "root", endpoint=proxy.url, concurrency=64)
    quick = await new_mirror(storage, seaweed, tmp_path / "root", concurrency=1)
    proxy.holds_after = 0
    slow_ids, quick_ids = ([f"r{number}" for number in range(count)] for count in (30, 10))
    await slow.ask(*slow_ids)
    await quick.ask(*quick_ids)
    for ref_id in quick_ids:
        await quick.put(b"hello", ref_id)
    async with copies.working():
        await proxy.held.wait()
        assert set((await all_end(quick)).values()) == {"SYNCED"}
        states = list((await slow.states()).values())
        assert 2 <= states.count("RUNNING") <= 4
        proxy.go.set()


async def test_what_has_become_somebody_elses_is_given_up(
    far: Mirror, proxy: Proxy, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.copies._KEEP_SECONDS", 0.02)
    proxy.holds_after = 2 * MIB
    async with copies.working():
        await proxy.held.wait()
        await database.execute("UPDATE syncs SET taken_by = gen_random_uuid() WHERE source_id = $1", far.source["id"])
        await until(lambda: none_copied(copies))
        proxy.go.set()
    assert await far.problem() == ("RUNNING", None, 1)
    assert not far.file().exists()


async def none_copied(copies: Copies) -> bool:
    return not copies._slots


async def test_lease_is_renewed_as_long_as_it_goes_on(
    far: Mirror, proxy: Proxy, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.copies._KEEP_SECONDS", 0.02)
    proxy.holds_after = 2 * MIB
    async with copies.working():
        await proxy.held.wait()
        before = (await far.rows())["r"]["due_at"]

        async def renewed() -> bool:
            return bool((await far.rows())["r"]["due_at"] > before)

        await until(renewed)
        proxy.go.set()
        assert await all_end(far) == {"r": "SYNCED"}


async def test_what_is_under_way_when_a_worker_ends_is_put_back_and_goes_on(
    far: Mirror, proxy: Proxy, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.copies._STOP_SECONDS", 0)
    proxy.holds_after = 4 * MIB

    async def has_most() -> bool:
        return sum(path.stat().st_size for path in far.partials()) > 2.5 * MIB

    async with copies.working():
        await until(has_most)
    assert await far.problem() == ("QUEUED", None, 0)
    proxy.go.set()
    proxy.passed = 0
    await copies.drain()
    assert far.file().read_bytes() == BODY
    assert proxy.passed < 4 * MIB


async def test_memory_does_not_grow_with_the_file(mirror: Mirror, copies: Copies) -> None:
    await mirror.put(bytes(48 * MIB))
    await mirror.ask()
    await copies.drain()  # has made the client
    await database.execute("UPDATE syncs SET state = 'FAILED', problem = 'x' WHERE source_id = $1", mirror.source["id"])
    await copying.retry(mirror.source["tenant_id"], [(await mirror.rows())["r"]["id"]])
    tracemalloc.start()
    try:
        await copies.drain()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert await mirror.states() == {"r": "SYNCED"}
    assert peak < 12 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


async def test_full_disk_stops_the_work_and_loses_nothing(
    storage: Storage,
    seaweed: seaweedfs.Server,
    alone: None,  # noqa: ARG001
    small_disk: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.copies._LOOK_SECONDS", 0.05)
    mirror = await new_mirror(storage, seaweed, small_disk / "root")
    ref_ids = ["r0", "r1", "r2"]
    for ref_id in ref_ids:
        await mirror.put(BODY[: 3 * MIB], ref_id)
    (small_disk / "others").write_bytes(bytes(4 * MIB))
    with patch("worker.root.Root.room", return_value=2**40):  # as where another process takes it meanwhile
        async with new_copies(seaweed, small_disk / "root") as copies, copies.working():
            await mirror.ask(*ref_ids)
            await copies._wake()
            await until(lambda: is_stopped(copies))
            (small_disk / "others").unlink()
            await until(lambda: is_stopped(copies, stopped=False))
    rows = (await mirror.rows()).values()
    assert {row["state"] for row in rows} <= {"QUEUED", "SYNCED"}
    assert {row["attempts"] for row in rows if row["state"] == "QUEUED"} == {0}
    assert "DISK_FULL" in {row["problem"] for row in rows}
    lines = [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]
    assert len([line for line in lines if "nothing is copied to directories" in line]) == 1
    assert not [line for line in lines if "failed" in line]


async def is_stopped(copies: Copies, *, stopped: bool = True) -> bool:
    return bool(copies.problem) is stopped


async def test_reserve_of_the_disk_is_kept_free(mirror: Mirror, seaweed: seaweedfs.Server, tmp_path: Path) -> None:
    await mirror.put(b"hello")
    await mirror.ask()
    async with new_copies(seaweed, tmp_path / "root", reserve_bytes=2**60) as copies:
        assert await copies.drain() == 0
        assert "is full" in copies.problem
    assert await mirror.problem() == ("QUEUED", None, 0)


async def test_file_that_is_larger_than_what_is_free_waits_and_others_do_not(
    far: Mirror, storage: Storage, seaweed: seaweedfs.Server, small_disk: Path
) -> None:
    far.root = small_disk / "root"
    await storage.client.put_object(Bucket="waybill-one", Key=far.key("large"), Body=bytes(9 * MIB))
    await far.ask("large")
    async with new_copies(seaweed, far.root) as copies:
        await copies.drain()
    assert await far.states() == {"r": "SYNCED", "large": "QUEUED"}
    assert await far.problem("large") == ("QUEUED", "DISK_FULL", 0)


async def test_file_system_that_does_not_tell_names_apart_is_refused(
    mirror: Mirror, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.root._PAIRS", (("a", "a"),))  # as it would find them there
    await mirror.put(b"hello")
    await mirror.ask()
    assert await copies.drain() == 0
    assert "does not tell names apart" in copies.problem
    assert mirror.partials() == []
    assert await mirror.states() == {"r": "QUEUED"}
