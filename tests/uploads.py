"""What tests do with files: announce, send, complete and read them, as their owners do."""

import hashlib
from typing import Any

import httpx

from models import database
from tests.conftest import Caller

CREATE_BATCH = """mutation($input: CreateBatchInput!) { createBatch(input: $input) {
  uploads { id state method url headers { name value } expiresAt object { objectId } } } }"""

CREATE_UPLOADS = """mutation($files: [ObjectFileInput!]!) { createUploads(input: {files: $files}) {
  uploads { id url headers { name value } } } }"""

COMPLETE = """mutation($ids: [ID!]!) { completeUploads(input: {uploadIds: $ids}) {
  results { uploadId state problem } uploads { id } } }"""

FILE = """query($id: String!) { object(objectId: $id) { file {
  state name contentType size sha256 completedAt access { url expiresAt } } } }"""


def file_of(body: bytes, *, name: str = "a.txt", proved: bool = True, **other: object) -> dict[str, Any]:
    digest = {"sha256": hashlib.sha256(body).hexdigest()} if proved else {}
    return {"name": name, "contentType": "text/plain", "size": len(body), **digest, **other}


async def put(upload: Any, body: bytes, **headers: str) -> int:
    """The status of what its holder does with an upload."""
    given = {header["name"]: header["value"] for header in upload["headers"]} | headers
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.put(upload["url"], content=body, headers=given)).status_code


async def get(url: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url)


async def announced(caller: Caller, body: bytes, object_id: str = "o", **other: Any) -> Any:
    """An upload for a new object in a new batch."""
    objects = [{"objectId": object_id, "file": file_of(body, **other)}]
    data = await caller.execute(CREATE_BATCH, input={"batchId": f"batch of {object_id}", "objects": objects})
    return data["createBatch"]["uploads"][0]


async def again(caller: Caller, body: bytes, object_id: str = "o", **other: Any) -> Any:
    data = await caller.execute(CREATE_UPLOADS, files=[{"objectId": object_id, "file": file_of(body, **other)}])
    return data["createUploads"]["uploads"][0]


async def completed(caller: Caller, *uploads: Any) -> list[tuple[str | None, str | None]]:
    data = await caller.execute(COMPLETE, ids=[upload["id"] for upload in uploads])
    return [(one["state"], one["problem"]) for one in data["completeUploads"]["results"]]


async def stored(caller: Caller, body: bytes, object_id: str = "o", **other: Any) -> Any:
    upload = await announced(caller, body, object_id, **other)
    assert await put(upload, body) == 200
    assert await completed(caller, upload) == [("COMPLETE", None)]
    return upload


async def content(caller: Caller, object_id: str = "o") -> bytes:
    access = (await caller.execute(FILE, id=object_id))["object"]["file"]["access"]
    return (await get(access["url"])).content


async def due_now() -> None:
    """As if everything that is to be deleted had waited long enough."""
    await database.execute("UPDATE deletions SET due_at = now()")


async def look_now(caller: Caller) -> None:
    """As if the tenant's uploads had waited long enough for the worker to look for their bytes."""
    await database.execute("UPDATE uploads SET look_at = now() WHERE tenant_id = $1", caller.tenant.id)


async def urls_over(caller: Caller) -> None:
    """As if the URLs of the tenant's uploads were over long enough for clocks that differ."""
    await database.execute(
        "UPDATE uploads SET expires_at = now() - interval '1 hour', look_at = now() WHERE tenant_id = $1",
        caller.tenant.id,
    )


async def over() -> None:
    """As if the URLs of everything deleted were over."""
    await database.execute("UPDATE deletions SET due_at = now(), over_at = now()")


async def final() -> None:
    """As if the URLs of everything deleted were over, and so was each request that began in time."""
    await database.execute("UPDATE deletions SET due_at = now(), over_at = now(), until_at = now()")


async def forget(caller: Caller) -> None:
    """The tenant's uploads, which no worker could ever settle; other tests' drain would say so in a minute."""
    await database.execute("DELETE FROM uploads WHERE tenant_id = $1", caller.tenant.id)
