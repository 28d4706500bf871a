"""What tests of sync sources and local copies share: asking for them through the front door, and a worker's part."""

import itertools
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from models import copying, database
from models.copying import Copied
from tests.conftest import Caller

CREATE_SOURCE = """mutation($input: CreateSyncSourceInput!) { createSyncSource(input: $input) { secret
  source { id name fullName path concurrency pausedAt createdAt createdBy { name } rotatedAt formerSecretUntil
    origin { bucket prefix endpoint region profile role }
    destination { directory bucket { bucket prefix role } }
    stats { queued running synced failed oldestQueuedAt } } } }"""
REQUEST = """mutation($source: String!, $files: [SyncFileInput!]!) {
  requestSync(input: {source: $source, files: $files}) { syncs { id source fileName fileType state attempts problem
    error createdAt queuedAt nextTryAt size sha256 path syncedAt object { objectId } batch { batchId } } } }"""

_numbers = itertools.count()


async def new_source(caller: Caller, name: str = "photos", **given: object) -> Any:
    """Its secret and itself."""
    made = {"name": name, "origin": {"bucket": "bucket"}, "concurrency": 64, **given}
    return (await caller.execute(CREATE_SOURCE, input=made))["createSyncSource"]


def file(object_id: str = "o", batch_id: str = "b", name: str = "a.jpg", type_: str = "image/jpeg") -> dict[str, str]:
    return {"batchId": batch_id, "objectId": object_id, "fileName": name, "fileType": type_}


async def requested(caller: Caller, *files: dict[str, str], source: str = "photos") -> list[Any]:
    """The syncs, in the order given."""
    answer = await caller.execute(REQUEST, source=source, files=files or [file()])
    return list(answer["requestSync"]["syncs"])


async def copied(caller: Caller, object_ids: Sequence[str] | None = None) -> None:
    """As a worker would: all that is queued in the tenant, or of these objects, is SYNCED."""
    token = uuid4()
    for row in await _taken(token, caller, object_ids):
        digest = bytes([next(_numbers) % 256]) * 32
        async with copying.finishing(token, row, Copied(f"t/{row['object_id']}", 5, digest, "e")):
            pass


async def failed(caller: Caller, object_ids: Sequence[str] | None = None) -> None:
    token = uuid4()
    for row in await _taken(token, caller, object_ids):
        await copying.fail(token, row["id"], "FILE_MISSING", "there is no such file")


async def _taken(token: Any, caller: Caller, object_ids: Sequence[str] | None) -> list[Any]:
    rows = await copying.take(token, 100_000)
    ours = [
        row
        for row in rows
        if row["tenant_id"] == caller.tenant.id and (object_ids is None or row["object_id"] in object_ids)
    ]
    await copying.put_back(token, list({row["id"] for row in rows} - {row["id"] for row in ours}))
    return ours


async def jobs_waiting() -> int:
    [row] = await database.fetch("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'sync'")
    return int(row["count"])
