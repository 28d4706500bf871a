"""Copies in other buckets, which may not take one, or not let go of it."""

import asyncio
from pathlib import Path

import pytest

from access.locations import Allowed
from models import database
from models.locations import Location
from storage.client import Storage
from storage.locations import Unfit
from storage.places import Place
from tests.conftest import BUCKETS
from tests.worker.mirror import Mirror, new_copies, new_mirror
from waybill import seaweedfs
from worker.copies import Copies

BODY = b"hello"


async def test_file_that_the_other_bucket_does_not_take_holds_up_no_other(
    storage: Storage, seaweed: seaweedfs.Server, copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Place.begin

    async def particular(place: Place, key: str, content_type: str) -> str:
        if "/too-long/" in key:
            raise Unfit("KeyTooLongError")
        return await begin(place, key, content_type)

    monkeypatch.setattr(Place, "begin", particular)
    to = Location(BUCKETS[1], f"{tmp_path.name}/", seaweed.url, profile=seaweedfs.PROFILE)
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", destination=to)
    for ref_id in ("too-long", "r"):
        await mirror.put(BODY, ref_id)
    await mirror.ask("too-long")
    await copies.drain()
    assert await mirror.problem("too-long") == ("QUEUED", "DESTINATION", 1)
    await mirror.ask("r")
    await copies.drain()
    assert (await mirror.states())["r"] == "SYNCED"


async def test_bucket_that_does_not_answer_to_deletions_holds_up_no_file(
    mirror: Mirror,
    storage: Storage,
    seaweed: seaweedfs.Server,
    copies: Copies,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to = Location(BUCKETS[1], f"{tmp_path.name}/", seaweed.url, profile=seaweedfs.PROFILE)
    gone = await new_mirror(storage, seaweed, tmp_path, destination=to)
    ref_ids = [f"r{number}" for number in range(8)]
    for ref_id in ref_ids:
        await gone.put(b"hello", ref_id)
    await gone.ask(*ref_ids)
    await copies.drain()
    hanging = asyncio.Event()

    async def hang(*_: object) -> None:
        hanging.set()
        await asyncio.sleep(3600)

    monkeypatch.setattr(Place, "delete", hang)
    await database.execute("DELETE FROM objects WHERE tenant_id = $1", gone.source["tenant_id"])
    deleting = asyncio.create_task(copies._copier.delete_due())
    try:
        await hanging.wait()
        await mirror.put(BODY)
        await mirror.ask()
        async with asyncio.timeout(10):
            await copies.drain()
        assert await mirror.states() == {"r": "SYNCED"}
    finally:
        deleting.cancel()
        await asyncio.wait([deleting])


async def test_where_the_operator_allows_nothing_any_more_nothing_is_deleted(
    storage: Storage, seaweed: seaweedfs.Server, copies: Copies, tmp_path: Path
) -> None:
    to = Location(BUCKETS[1], f"{tmp_path.name}/", seaweed.url, profile=seaweedfs.PROFILE)
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", destination=to)
    await mirror.put(b"hello")
    await mirror.ask()
    await copies.drain()
    await database.execute("DELETE FROM objects WHERE tenant_id = $1", mirror.source["tenant_id"])
    async with new_copies(seaweed, tmp_path / "root", allowed=Allowed([], [], directories=True)) as others:
        await others._copier.delete_due()
    assert await storage.head(BUCKETS[1], f"{tmp_path.name}/photos/b/r/a.bin") is not None
    [row] = await database.fetch("SELECT last_error FROM copy_deletions WHERE source_id = $1", mirror.source["id"])
    assert "may not use the profile of the destination" in row["last_error"]
