"""The four claims, of the real database and the real bucket, when no fault breaks anything any more."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from graph.types.node import parse_global_id
from storage.client import Storage
from tests.faults.client import Client
from tests.faults.ledger import Batch, Ledger, Object, Thing, Upload


@dataclass(frozen=True)
class Found:
    """All that is there, without what time would still do."""

    batches: dict[str, asyncpg.Record]
    objects: dict[str, Any]  # their data, by id
    uploads: list[asyncpg.Record]
    deletions: list[asyncpg.Record]
    usage: asyncpg.Record
    stored: dict[str, bytes]  # by key
    unfinished: set[tuple[str, str]]  # keys and ids of uploads in parts

    @property
    def nobodys(self) -> set[tuple[str, str]]:
        """Uploads in parts that no row knows; no client was given them."""
        return self.unfinished - {(row["key"], row["multipart_id"]) for row in (*self.uploads, *self.deletions)}


async def look(database: asyncpg.Connection, storage: Storage, bucket: str) -> Found:
    objects = await database.fetch("SELECT object_id, data FROM objects")
    stored = {}
    for key in await keys_of(storage, bucket):
        stored[key] = b"".join([piece async for piece in storage.read(bucket, key)])
    [usage] = await database.fetch(
        "SELECT t.used_objects + coalesce(sum(c.objects), 0) AS objects,"
        " t.used_bytes + coalesce(sum(c.used_bytes), 0) AS used,"
        " t.reserved_bytes + coalesce(sum(c.reserved_bytes + c.kept_bytes), 0) AS reserved"
        " FROM tenants t LEFT JOIN usage_changes c ON c.tenant_id = t.id GROUP BY t.id"
    )
    return Found(
        batches={
            row["batch_id"]: row for row in await database.fetch("SELECT batch_id, sealed_at, digest FROM batches")
        },
        objects={row["object_id"]: orjson.loads(row["data"]) for row in objects},
        uploads=await database.fetch(
            "SELECT u.id, u.key, u.multipart_id, u.state, u.is_current, u.size_bytes, u.sha256, u.name, u.content_type,"
            " o.object_id FROM uploads u"
            " JOIN objects o ON o.id = u.object_pk ORDER BY u.id"
        ),
        deletions=await database.fetch("SELECT key, multipart_id, reserved_bytes FROM deletions"),
        usage=usage,
        stored=stored,
        unfinished=await unfinished_of(storage, bucket),
    )


async def keys_of(storage: Storage, bucket: str) -> list[str]:
    pages = storage._client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [one["Key"] async for page in pages for one in page.get("Contents", ())]


async def unfinished_of(storage: Storage, bucket: str) -> set[tuple[str, str]]:
    pages = storage._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket)
    return {(one["Key"], one["UploadId"]) async for page in pages for one in page.get("Uploads", ())}


def violations(found: Found, ledger: Ledger, *, settled: bool) -> Iterator[str]:
    """``settled``: the time of every URL is over, and all work is done."""
    uploads = {parse_global_id(one.id)[1]: one for one in ledger.uploads.values()}
    yield from _bytes_are_exact(found, uploads)
    yield from _bytes_are_known(found, settled=settled)
    yield from _usage_is_right(found, settled=settled)
    yield from _answers_are_kept(found, ledger)
    yield from _seals_are_kept(found, ledger)
    yield from _files_are_kept(found, uploads)


def _bytes_are_exact(found: Found, uploads: dict[int, Upload]) -> Iterator[str]:
    for row in found.uploads:
        if row["state"] != "COMPLETE":
            continue
        body, upload = found.stored.get(row["key"]), uploads.get(row["id"])
        if upload is None:
            yield f"(1) upload {row['id']} is complete, and nobody was ever given its URL"
        elif body is None:
            yield f"(1) upload {upload.id} of {row['object_id']} is complete and has no bytes"
        elif upload.proved and hashlib.sha256(body).digest() != upload.sha256:
            yield f"(1) upload {upload.id} of {row['object_id']} is complete and has other bytes"
        elif body not in upload.sent or len(body) != len(upload.body):
            yield f"(1) upload {upload.id} of {row['object_id']} is complete and has bytes that nobody sent"


def _bytes_are_known(found: Found, *, settled: bool) -> Iterator[str]:
    known = {row["key"] for row in found.uploads if row["state"] == "COMPLETE"}
    if not settled:
        known |= {row["key"] for row in found.uploads if row["state"] != "EXPIRED"}
        known |= {row["key"] for row in found.deletions}
    yield from (f"(2) no row knows the bytes of {key}" for key in sorted(found.stored.keys() - known))
    if settled:
        # What no row knows is the reaper's: see reaping.py.
        yield from (f"(2) the upload in parts of {key} is still there" for key, _ in found.unfinished - found.nobodys)
        yield from (f"(2) {row['key']} is still to be deleted" for row in found.deletions)
        waiting = [row for row in found.uploads if row["state"] not in ("COMPLETE", "EXPIRED")]
        yield from (f"(2) upload {row['id']} is still {row['state']}" for row in waiting)


def _usage_is_right(found: Found, *, settled: bool) -> Iterator[str]:
    if settled:
        used, reserved = sum(map(len, found.stored.values())), 0
    else:
        used = sum(row["size_bytes"] for row in found.uploads if row["state"] == "COMPLETE")
        reserved = sum(row["size_bytes"] for row in found.uploads if row["state"] in ("PENDING", "VERIFYING"))
        reserved += sum(row["reserved_bytes"] for row in found.deletions)
    there = {"objects": len(found.objects), "used": used, "reserved": reserved}
    if (said := {name: int(value) for name, value in found.usage.items()}) != there:
        yield f"(3) the tenant is charged {said}, and there is {there}"


def _answers_are_kept(found: Found, ledger: Ledger) -> Iterator[str]:
    def exists(thing: Thing) -> bool:
        return thing.id in (found.batches if isinstance(thing, Batch) else found.objects)

    things: list[Thing] = [*ledger.batches.values(), *ledger.objects.values()]
    for thing in things:
        if thing.must_exist and not exists(thing):
            yield f"(4) {thing.id} is gone, and its creation was answered"
        if exists(thing) and not thing.may_exist:
            yield f"(4) {thing.id} is there, and its deletion was answered or its creation refused"
    for id_ in sorted((found.batches.keys() | found.objects.keys()) - {thing.id for thing in things}):
        yield f"(4) {id_} is there, and nobody asked for it"
    for call, together in ledger.together:
        alone = [one for one in together if all(other is call for other in one.deletions)]
        if call.perhaps and len({exists(one) for one in alone}) > 1:
            yield f"(4) half of it was done: {call}"
    for one in ledger.objects.values():
        if exists(one):
            yield from _data_is_right(one, found.objects[one.id])
        elif any(call.surely for call in one.made) and exists(one.batch) and not any(c.perhaps for c in one.deleted):
            yield f"(4) {one.id} is gone, and its batch is not"


def _data_is_right(one: Object, pairs: list[dict[str, str]]) -> Iterator[str]:
    data = {pair["key"]: pair["value"] for pair in pairs}
    if data.pop("first", None) != one.first:
        yield f"(4) {one.id} has lost what it was made with"
    for key in data.keys() | one.writes.keys():
        if data.get(key) not in one.values(key):
            yield f"(4) {one.id} has {key} = {data.get(key)}, and not one of {one.values(key)}"


def _seals_are_kept(found: Found, ledger: Ledger) -> Iterator[str]:
    """A sealed batch is what its digest says, as the README has it computed, and nothing was written after the seal."""
    for batch in ledger.batches.values():
        if (row := found.batches.get(batch.id)) is None:
            continue
        answered = [call.answered for call in batch.seals if call.surely]
        late = [call for call in batch.writes if call.surely and answered and call.number > min(answered)]
        yield from (f"(4) {batch.id} was sealed, and this was answered afterwards: {call}" for call in late)
        if row["sealed_at"] is None:
            if answered:
                yield f"(4) {batch.id} is not sealed, and its sealing was answered"
            continue
        if not any(call.perhaps for call in batch.seals):
            yield f"(4) {batch.id} is sealed, and nobody was told so"
        there = {_digest(batch, found), row["digest"].hex()} | batch.digests
        if len(there) > 1:
            yield f"(4) {batch.id} was sealed, and is something else: {there}"


def _digest(batch: Batch, found: Found) -> str:
    files = {row["object_id"]: row for row in found.uploads if row["is_current"]}
    digest = hashlib.sha256()
    for id_ in sorted(one.id for one in batch.objects if one.id in found.objects):
        file = (row := files.get(id_)) and {
            "name": row["name"],
            "contentType": row["content_type"],
            "size": row["size_bytes"],
            "sha256": row["sha256"] and row["sha256"].hex(),
        }
        line = {"objectId": id_, "data": found.objects[id_], "file": file}
        digest.update(json.dumps(line, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _files_are_kept(found: Found, uploads: dict[int, Upload]) -> Iterator[str]:
    """The file of an object is what was answered to be complete, or a newer one; each upload given out is known."""
    current = {row["object_id"]: row for row in found.uploads if row["is_current"]}
    known = {row["id"] for row in found.uploads}
    complete = {row["id"] for row in found.uploads if row["state"] == "COMPLETE"}
    for key, upload in uploads.items():
        if upload.object.id not in found.objects:
            continue
        if key not in known:
            yield f"(4) upload {upload.id} of {upload.object.id} was given out, and there is none"
        if upload.over and key in complete:
            yield f"(4) upload {upload.id} was over, and is complete"
        row = current.get(upload.object.id)
        if upload.complete and (row is None or row["state"] != "COMPLETE" or row["id"] < key):
            yield f"(4) upload {upload.id} was complete, and {upload.object.id} has another file or none: {row}"
    for row in found.uploads:
        if row["state"] == "COMPLETE" and not row["is_current"]:
            yield f"(1) upload {row['id']} is complete, and not its object's file"


_ALL = "{ objects(first: 100) { nodes { objectId } pageInfo { hasNextPage } } }"
_FILES = """{ objects(first: 100, where: {fileState: COMPLETE}) { nodes { objectId file { access { url } } } } }"""


async def shown_otherwise(found: Found, client: Client) -> list[str]:
    """Through the front door there are the same objects and the same bytes."""
    page = (await client.query(_ALL)).data
    assert not page["pageInfo"]["hasNextPage"], "there are more objects than a page has"
    shown = {node["objectId"] for node in page["nodes"]}
    if shown != found.objects.keys():
        return [f"(4) the service shows {sorted(shown)}, and there are {sorted(found.objects)}"]
    nodes = (await client.query(_FILES)).data["nodes"]
    bodies = {node["objectId"]: await client.get(node["file"]["access"]["url"]) for node in nodes}
    there = {row["object_id"]: found.stored.get(row["key"]) for row in found.uploads if row["state"] == "COMPLETE"}
    different = [id_ for id_ in bodies.keys() | there.keys() if bodies.get(id_) != there.get(id_)]
    return [f"(1) the service gives no or other bytes for the files of {sorted(different)}"] if different else []
