"""A bucket of the reaper's own, for it looks at whatever is in one; and a database of the copies' own."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from models import database, files, orphans
from models.locations import Location
from storage import inventory
from storage.client import Config, Storage, connected
from storage.keys import new_key
from tests.conftest import BUCKETS, Caller, new_database
from tests.worker.drifts import PREFIX, Drift
from tests.worker.mirror import Mirror, new_copies, new_mirror
from waybill import seaweedfs
from worker.copies import Copies


@pytest.fixture(scope="session")
async def own_bucket(storage_config: Config) -> AsyncIterator[Storage]:
    async with connected(replace(storage_config, buckets=[f"reaper-{secrets.token_hex(6)}"])) as storage:
        await storage.client.create_bucket(Bucket=storage.buckets[0])
        yield storage


@dataclass
class Bucket:
    """One that is empty, and a tenant whose keys are put into it."""

    storage: Storage
    caller: Caller

    @property
    def name(self) -> str:
        return self.storage.buckets[0]

    async def put(self, body: bytes = b"hello", key: str = "") -> str:
        """Bytes that no row knows."""
        key = key or new_key(self.caller.tenant.slug, uuid4())
        await self.storage.client.put_object(
            Bucket=self.name, Key=key, Body=body, ContentType="image/png", Metadata={"of": "nobody"}
        )
        return key

    async def begin_parts(self, key: str = "") -> tuple[str, str]:
        """The key and id of an unfinished upload in parts that no row knows."""
        key = key or new_key(self.caller.tenant.slug, uuid4())
        answer = await self.storage.client.create_multipart_upload(Bucket=self.name, Key=key)
        return key, answer["UploadId"]

    async def parts_of_a_file(self, object_id: str) -> tuple[str, str]:
        """The key and id of an unfinished upload in parts that an object's row knows."""
        key, multipart_id = await self.begin_parts(await self.file(object_id))
        await database.execute(
            "UPDATE uploads SET multipart_id = $3, part_bytes = 5 WHERE bucket = $1 AND key = $2",
            *(self.name, key, multipart_id),
        )
        return key, multipart_id

    async def file(self, object_id: str, body: bytes | None = b"hello", size: int = 5) -> str:
        """The key of an object's complete file; with ``body`` None its bytes are not there."""
        await self.caller.create_batch(f"batch of {object_id}", {object_id: []})
        [row] = await database.fetch(
            "SELECT id FROM objects WHERE tenant_id = $1 AND object_id = $2", self.caller.tenant.id, object_id
        )
        key = new_key(self.caller.tenant.slug, uuid4())
        if body is not None:
            await self.put(body, key)
        file = files.NewFile("a.png", "image/png", size, None, self.name, key, timedelta(hours=1))
        [upload] = await files.announce(self.caller.tenant.id, [(row["id"], file)])
        await files.settle(self.caller.tenant.id, [upload["file_pk"]])
        return key

    async def keys(self) -> set[str]:
        page = await inventory.objects(self.storage, self.name)
        found = {entry.key for entry in page.entries}
        while page.after is not None:
            page = await inventory.objects(self.storage, self.name, page.after)
            found |= {entry.key for entry in page.entries}
        return found

    async def body(self, key: str) -> bytes:
        return b"".join([piece async for piece in self.storage.read(self.name, key)])

    async def parts(self) -> set[tuple[str, str]]:
        answer = await self.storage.client.list_multipart_uploads(Bucket=self.name)
        return {(one["Key"], one["UploadId"]) for one in answer.get("Uploads", [])}

    async def empty(self) -> None:
        for key in await self.keys():
            await self.storage.client.delete_object(Bucket=self.name, Key=key)
        for key, multipart_id in await self.parts():
            await self.storage.client.abort_multipart_upload(Bucket=self.name, Key=key, UploadId=multipart_id)


@pytest.fixture
async def bucket(own_bucket: Storage, admin: Caller) -> AsyncIterator[Bucket]:
    bucket = Bucket(own_bucket, admin)
    await forget_findings()  # those of workers that other tests have started
    yield bucket
    await bucket.empty()
    # For all that other tests know, its uploads' bytes have never been anywhere.
    await database.execute("DELETE FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    await database.execute("DELETE FROM deletions WHERE tenant_id = $1", admin.tenant.id)
    await forget_findings()


async def forget_findings() -> None:
    for table in ("reaper_scans", "reaper_keys", "orphans", "lost_files"):
        await database.execute(f"DELETE FROM {table}")


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all that is in S3 had been there for long."""
    monkeypatch.setattr(orphans, "LEAST_AGE", timedelta(seconds=-60))


async def a_day_passes() -> None:
    """For what was seen, and what is somebody's to do."""
    await database.execute(
        "UPDATE orphans SET first_seen_at = first_seen_at - interval '1 day', due_at = due_at - interval '1 day',"
        " state_at = state_at - interval '1 day'"
    )
    await database.execute(
        "UPDATE reaper_scans SET started_at = started_at - interval '1 day', held_until = held_until - interval '1 day'"
    )


async def rows() -> dict[str, Any]:
    """The state of each orphan, by its key."""
    found = await database.fetch("SELECT * FROM orphans ORDER BY id")
    return {row["key"]: row for row in found}


async def states() -> dict[str, str]:
    return {key: row["state"] for key, row in (await rows()).items()}


async def figures() -> Any:
    [row] = await database.fetch("SELECT * FROM reaper_scans WHERE step = 'DONE' ORDER BY id DESC LIMIT 1")
    return row


@pytest.fixture(scope="session")
async def copies_url() -> str:
    """A database in which nobody else has files to copy."""
    return await new_database()


@pytest.fixture
async def alone(copies_url: str) -> AsyncIterator[None]:
    """The models on it; what a test leaves is not copied by another."""
    async with database.connected(database.config(copies_url, max_connections=8)):
        yield
        await database.execute("UPDATE sync_sources SET paused_at = now() WHERE paused_at IS NULL")
        for table in ("copy_deletions", "drift_reports", "drift_found"):
            await database.execute(f"DELETE FROM {table}")


@pytest.fixture
async def mirror(alone: None, storage: Storage, seaweed: seaweedfs.Server, tmp_path: Path) -> Mirror:  # noqa: ARG001
    return await new_mirror(storage, seaweed, tmp_path / "root")


@pytest.fixture
async def copies(alone: None, seaweed: seaweedfs.Server, tmp_path: Path) -> AsyncIterator[Copies]:  # noqa: ARG001
    """A worker's, in this process, with the root of ``mirror``."""
    async with new_copies(seaweed, tmp_path / "root") as copies:
        yield copies


@pytest.fixture
async def drift(copies: Copies, storage: Storage, seaweed: seaweedfs.Server, tmp_path: Path) -> Drift:
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", prefix=f"drift/{tmp_path.name}/{PREFIX}")
    return Drift(mirror, copies)


@pytest.fixture
async def in_bucket(copies: Copies, storage: Storage, seaweed: seaweedfs.Server, tmp_path: Path) -> Drift:
    """Its copies are in another bucket."""
    place = Location(BUCKETS[1], f"drift/{tmp_path.name}/", seaweed.url, profile=seaweedfs.PROFILE)
    prefix = f"drift/{tmp_path.name}/{PREFIX}"
    return Drift(await new_mirror(storage, seaweed, tmp_path, prefix=prefix, destination=place), copies)
