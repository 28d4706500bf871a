"""`waybill upload`: a directory as a batch, or one file for an object."""

import asyncio
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import click
import orjson

from waybill.cli.client import PAGE, QUOTA_EXCEEDED, Service, ServiceError, client_command
from waybill.cli.hashing import Advance, all_sha256_of
from waybill.cli.local_files import Local, failed, in_directory, in_portions
from waybill.cli.parts import ABORT, Gone, Parts, going_on, is_of
from waybill.cli.report import bars, complain
from waybill.cli.wire import Broken, Refused, Wire

_PORTIONS_AT_ONCE = 8
_HASHED_AT_ONCE = 2
_COMPLETED_AGAIN = 10
_THERE = ("COMPLETE", "VERIFYING")
_CHANGED = "was changed while it was read"

CREATE_BATCH = "mutation CreateBatch($id: String!) { createBatch(input: {batchId: $id}) { batch { batchId } } }"
FIND = """query Find($ids: [String!], $first: Int) { objects(first: $first, where: {objectIds: $ids}) {
  nodes { objectId batch { batchId } data { key value } file { state size sha256 } } } }"""
_UPLOADS = "uploads { id partCount url headers { name value } object { objectId } }"
CREATE_OBJECTS = f"""mutation CreateObjects($id: String!, $objects: [ObjectInput!]!) {{
  createObjects(input: {{batchId: $id, objects: $objects}}) {{ {_UPLOADS} }} }}"""
CREATE_UPLOADS = f"""mutation CreateUploads($files: [ObjectFileInput!]!) {{
  createUploads(input: {{files: $files}}) {{ {_UPLOADS} }} }}"""
SET_DATA = """mutation SetData($id: String!, $data: [DatumInput!]!) {
  updateObjectData(input: {objectId: $id, set: $data}) { object { id } } }"""
COMPLETE = """mutation Complete($ids: [ID!]!, $parts: [SentPartsInput!]) {
  completeUploads(input: {uploadIds: $ids, parts: $parts}) { results { uploadId state problem } } }"""


@dataclass
class Counts:
    files_sent: int = 0
    files_there: int = 0
    files_verifying: int = 0
    files_failed: int = 0
    bytes_sent: int = 0


@dataclass
class Work:
    service: Service
    wire: Wire
    batch_id: str | None  # of the objects that are made; without it they must exist
    read: Advance  # called from threads
    sent: Advance
    counts: Counts = field(default_factory=Counts)
    complaints: list[str] = field(default_factory=list)
    full: str = ""  # what the service said where the tenant's quota was reached; nothing more is announced then
    files_left: int = 0  # because of that
    _begun: set[str] = field(default_factory=set)  # uploads of which S3 may have parts
    _etags: dict[str, Any] = field(default_factory=dict)  # of those that have to be said
    _hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_HASHED_AT_ONCE))
    _stop: Event = field(default_factory=Event)

    async def run(self, files: Iterator[Local]) -> None:
        """Raises ServiceError for what concerns all: the service or S3 is away, or the key is not good for it."""
        slots = asyncio.Semaphore(_PORTIONS_AT_ONCE)

        async def bring(some: Sequence[Local]) -> None:
            try:
                if self.full:
                    self.files_left += len(some)
                else:
                    await self._announce(await self._hashed(some))
            finally:
                slots.release()

        try:
            async with asyncio.TaskGroup() as tasks:
                for portion in in_portions(files):
                    await slots.acquire()
                    tasks.create_task(bring(portion))
        except ExceptionGroup as errors:  # not except*, which wraps what is raised in it before Python 3.11.4
            raise errors.exceptions[0] from None
        finally:
            self._stop.set()

    async def _hashed(self, files: Sequence[Local]) -> dict[Local, str]:
        """Those that can be read, with their SHA-256."""
        async with self._hashing:
            found = await asyncio.to_thread(all_sha256_of, [file.path for file in files], self._stop, self.read)
        digests = {}
        for file, digest in zip(files, found, strict=True):
            if isinstance(digest, OSError):
                self._fail(file, f"cannot be read: {digest.strerror}")
            else:
                digests[file] = digest
        return digests

    async def _announce(self, digests: dict[Local, str]) -> None:
        """What the service refuses is told apart from the rest by halves."""
        if not digests:
            return
        try:
            there = await self._there([file.object_id for file in digests])
            elsewhere = {file: where for file in digests if (where := self._other_batch(there.get(file.object_id)))}
            mine = {file: digest for file, digest in digests.items() if file not in elsewhere}
            known = {file: _state(there, file, digest) for file, digest in mine.items()}
            wanted = {file: digest for file, digest in mine.items() if known[file] not in _THERE}
            uploads = await self._uploads(wanted, there)
            await self._set_data([file for file in mine if file.object_id in there], there)
        except ServiceError as error:
            if error.exit_code != ServiceError.exit_code:
                raise
            if error.code == QUOTA_EXCEEDED:
                self.full = error.message
                self.files_left += len(digests)
                return
            for part in self._tried_next(digests, error):
                await self._announce(part)
            return
        for file, where in elsewhere.items():
            self._fail(file, f'is in batch "{where}"')
        states = list(known.values())
        self.counts.files_there += states.count("COMPLETE")
        self.counts.files_verifying += states.count("VERIFYING")
        self.sent(sum(file.size for file in mine if file not in wanted))
        ids = await asyncio.gather(*(self._put(file, wanted[file], upload) for file, upload in uploads.items()))
        await self._complete({upload_id: file for file, upload_id in zip(uploads, ids, strict=True) if upload_id})

    def _tried_next(self, digests: dict[Local, str], error: ServiceError) -> list[dict[Local, str]]:
        if len(digests) == 1:
            self._fail(next(iter(digests)), error.message)
            return []
        each = list(digests.items())
        return [dict(each[: len(each) // 2]), dict(each[len(each) // 2 :])]

    async def _there(self, object_ids: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for start in range(0, len(object_ids), PAGE):
            some = object_ids[start : start + PAGE]
            nodes = (await self.service.call(FIND, ids=some, first=PAGE))["objects"]["nodes"]
            found.update((node["objectId"], node) for node in nodes)
        return found

    def _other_batch(self, node: Any) -> str | None:
        """Where it is instead of the batch that was asked for."""
        other = node and self.batch_id is not None and node["batch"]["batchId"] != self.batch_id
        return str(node["batch"]["batchId"]) if other else None

    async def _uploads(self, digests: Mapping[Local, str], there: Mapping[str, Any]) -> dict[Local, Any]:
        """For each file, whose object is made where it is not ``there``."""
        made: list[Any] = []
        if old := {file.object_id: file for file in digests if file.object_id in there}:
            made = await going_on(self.service, old, digests)
            self._begun.update(upload["id"] for upload in made)
            begun = {upload["object"]["objectId"] for upload in made}
            if other := [_for_object(file, digests[file]) for name, file in old.items() if name not in begun]:
                made += (await self.service.call(CREATE_UPLOADS, files=other))["createUploads"]["uploads"]
        if new := [file for file in digests if file.object_id not in there]:
            if self.batch_id is None:
                raise ServiceError(f'There is no object "{new[0].object_id}": make it, or pass --batch as well.')
            objects = [{**_for_object(file, digests[file]), "data": file.data()} for file in new]
            answer = await self.service.call(CREATE_OBJECTS, id=self.batch_id, objects=objects)
            made += answer["createObjects"]["uploads"]
        files = {file.object_id: file for file in digests}
        return {files[upload["object"]["objectId"]]: upload for upload in made}

    async def _set_data(self, files: Sequence[Local], there: Mapping[str, Any]) -> None:
        """Other pairs of the objects are none of our business."""
        for file in files if self.batch_id is not None else ():
            data = file.data()
            keys = {pair["key"] for pair in data}
            known = [(pair["key"], pair["value"]) for pair in there[file.object_id]["data"] if pair["key"] in keys]
            if sorted(known) != sorted((pair["key"], pair["value"]) for pair in data):
                await self.service.call(SET_DATA, id=file.object_id, data=data)

    async def _put(self, file: Local, digest: str, upload: Any) -> str | None:
        """The id of the upload that has brought the file."""
        try:
            bring = self._in_parts if upload["partCount"] else self._at_once
            return await bring(file, digest, upload)
        except OSError as error:
            self._fail(file, f"cannot be read: {error.strerror}")
        except Gone:
            self._fail(file, "was given up by somebody else")
        except Broken as error:
            self._fail(file, str(error))
        except Refused as error:
            changed = error.status in (400, 403) and file.has_changed()
            self._fail(file, _CHANGED if changed else str(error))
        except ServiceError as error:
            if error.exit_code != ServiceError.exit_code:
                raise
            self._fail(file, error.message)
        return None

    async def _at_once(self, file: Local, digest: str, upload: Any) -> str:
        async with self.wire.turns:
            try:
                await self._send(file, upload)
            except Refused as error:
                if error.status != 403 or file.has_changed():
                    raise
                upload = await self._anew(file, digest)  # its URL may have expired while it waited for its turn
                await self._send(file, upload)
        self.counts.bytes_sent += file.size
        return str(upload["id"])

    async def _in_parts(self, file: Local, digest: str, upload: Any) -> str | None:
        try:
            await self._send_parts(file, upload)
        except Gone:
            # By a run that was killed before it was told so, or by its time, or by S3.
            [result] = await self._completed([upload["id"]])
            if result["problem"]:
                await self.service.call(ABORT, ids=[upload["id"]])
                upload = await self._anew(file, digest)
                await self._send_parts(file, upload)
        if file.has_changed():
            self._fail(file, _CHANGED)
            return None
        return str(upload["id"])

    async def _anew(self, file: Local, digest: str) -> Any:
        answer = await self.service.call(CREATE_UPLOADS, files=[_for_object(file, digest)])
        return answer["createUploads"]["uploads"][0]

    async def _send_parts(self, file: Local, upload: Any) -> None:
        parts = Parts(self.service, self.wire, file, upload["id"], self.sent, self._stop)
        try:
            await parts.send(are_there=upload["id"] in self._begun)
        finally:
            self.counts.bytes_sent += parts.bytes_sent
        if parts.have_replaced:
            self._etags[upload["id"]] = [{"number": number, "etag": etag} for number, etag in parts.etags.items()]

    async def _send(self, file: Local, upload: Any) -> None:
        headers = {header["name"]: header["value"] for header in upload["headers"]}
        await self.wire.put(file.path, file.size, upload["url"], headers, self.sent)

    async def _complete(self, uploads: dict[str, Local]) -> None:
        if not uploads:
            return
        for result in await self._completed(list(uploads)):
            if result["problem"]:
                self._fail(uploads[result["uploadId"]], f"was not accepted: {result['problem']}")
            elif result["state"] == "VERIFYING":
                self.counts.files_verifying += 1
            else:
                self.counts.files_sent += 1

    async def _completed(self, ids: Sequence[str]) -> list[Any]:
        """S3 may take longer for thousands of parts than a request may: it goes on, and what it has done is found."""
        parts = [{"uploadId": key, "parts": self._etags[key]} for key in ids if key in self._etags]
        again = iter(range(_COMPLETED_AGAIN))
        while True:
            try:
                answer = await self.service.call(COMPLETE, ids=ids, parts=parts)
            except ServiceError as error:
                if error.code != "TIMEOUT" or next(again, None) is None:
                    raise
            else:
                results: list[Any] = answer["completeUploads"]["results"]
                return results

    def _fail(self, file: Local, how: str) -> None:
        self.complaints.append(failed(file.path, how))


def _for_object(file: Local, digest: str) -> dict[str, object]:
    announced = {"name": file.name, "contentType": file.type, "size": file.size, "sha256": digest}
    return {"objectId": file.object_id, "file": announced}


def _state(there: Mapping[str, Any], file: Local, digest: str) -> str:
    """Of just this file, where its object has it."""
    known = there.get(file.object_id, {}).get("file") or {}
    return str(known["state"]) if is_of(known, file, digest) else ""


@client_command("upload")
@click.option("--batch", "batch_id", metavar="ID", help="The batch of the objects; made if there is none.")
@click.option("--object", "object_id", metavar="ID", help="The object of a single FILE.")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
async def upload(service: Service, path: Path, batch_id: str | None, object_id: str | None, as_json: bool) -> None:
    """Send the files of a directory, or one file, straight to S3.

    DIR --batch ID makes an object of each regular file below DIR: its id is the relative path, which is unique in the
    tenant as all ids are, its data are path, size, type and mtime. Links, empty directories and what is no regular file
    stay behind. So do, with a complaint, files of more than 5 TiB, paths of more than 256 characters (or what the
    service allows), and names that are not UTF-8 or have a backslash, a control character or a mark that turns the
    direction of writing.
    FILE --object ID sends one file, for an object that exists, or with --batch
    for a new one.

    Run again it sends what is missing or has changed: files whose SHA-256 is there are left out, and of large ones the
    parts that are there. Where the tenant's
    quota is reached it finishes what it has begun and stops. --json prints counts.
    """
    complaints: list[str] = []
    if path.is_dir():
        if batch_id is None or object_id is not None:
            raise click.UsageError("A directory needs --batch, and no --object.")
        total_bytes = sum(file.size for file in in_directory(path, []))  # rather than keep a list of millions
        files = in_directory(path, complaints)
    else:
        if object_id is None:
            raise click.UsageError("A file needs --object.")
        file = _single(path, object_id)
        total_bytes, files = file.size, iter([file])
    if batch_id is not None:
        try:
            await service.call(CREATE_BATCH, id=batch_id)
        except ServiceError as error:
            if error.code != "ALREADY_EXISTS":
                raise
    async with Wire() as wire:
        with bars("reading", "sending") as (reading, sending):
            reading.expect(total_bytes)
            sending.expect(total_bytes)
            work = Work(service, wire, batch_id, reading.advance, sending.advance, complaints=complaints)
            await work.run(files)
    counts = work.counts
    counts.files_failed = len(complaints) + work.files_left
    verifying = f", {counts.files_verifying:,} still being verified" if counts.files_verifying else ""
    failures = f", {counts.files_failed:,} failed" if counts.files_failed else ""
    said = f"files: {counts.files_sent:,} sent{verifying}, {counts.files_there:,} there before{failures}"
    click.echo(orjson.dumps(asdict(counts)) if as_json else said)
    left = [f"failed: {work.files_left:,} files were not sent: {work.full}"] if work.full else []
    complain(left + work.complaints)


def _single(path: Path, object_id: str) -> Local:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise click.UsageError(f"{path} is no regular file: its size must be known before it is sent.")
    try:
        file = Local.of(path, object_id, found)
    except UnicodeDecodeError:
        raise click.UsageError(f"{path}: the name is not UTF-8.") from None
    if reason := file.unfit(by_path=False):
        raise click.ClickException(f"{path}: {reason}.")
    return file
