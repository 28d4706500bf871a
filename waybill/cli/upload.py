"""`waybill upload`: a directory as a batch, or one file for an object."""

import asyncio
import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson

from waybill.cli.client import PAGE, QUOTA_EXCEEDED, Service, ServiceError, client_command
from waybill.cli.report import complain, of_bytes
from waybill.cli.wire import Advance, Refused, Unreachable, Wire, sha256_of

PORTION = 200  # files that are announced in one call
_PORTIONS_AT_ONCE = 3
_HASHED_AT_ONCE = 2

CREATE_BATCH = "mutation CreateBatch($id: String!) { createBatch(input: {batchId: $id}) { batch { batchId } } }"
FIND = """query Find($ids: [String!], $first: Int) { objects(first: $first, where: {objectIds: $ids}) {
  nodes { objectId batch { batchId } data { key value } file { state size sha256 } } } }"""
CREATE_OBJECTS = """mutation CreateObjects($id: String!, $objects: [ObjectInput!]!) {
  createObjects(input: {batchId: $id, objects: $objects}) {
    uploads { id url headers { name value } object { objectId } } } }"""
CREATE_UPLOADS = """mutation CreateUploads($files: [ObjectFileInput!]!) { createUploads(input: {files: $files}) {
  uploads { id url headers { name value } object { objectId } } } }"""
SET_DATA = """mutation SetData($id: String!, $data: [DatumInput!]!) {
  updateObjectData(input: {objectId: $id, set: $data}) { object { id } } }"""
COMPLETE = """mutation Complete($ids: [ID!]!) { completeUploads(input: {uploadIds: $ids}) {
  results { uploadId state problem } } }"""


@dataclass(frozen=True)
class Local:
    """A file here, and the object it is there."""

    path: Path
    object_id: str
    size: int
    mtime_ns: int

    @property
    def type(self) -> str:
        return mimetypes.guess_type(self.path.name)[0] or "application/octet-stream"

    def data(self) -> list[dict[str, str]]:
        """``mtime`` is in seconds, exact to the nanosecond."""
        mtime = f"{self.mtime_ns // 10**9}.{self.mtime_ns % 10**9:09}"
        values = {"path": self.object_id, "size": str(self.size), "type": self.type, "mtime": mtime}
        return [{"key": key, "value": value} for key, value in values.items()]


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
    advance: Advance
    counts: Counts = field(default_factory=Counts)
    complaints: list[str] = field(default_factory=list)
    full: str = ""  # what the service said where the tenant's quota was reached; nothing more is announced then
    files_left: int = 0  # because of that
    _hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_HASHED_AT_ONCE))

    async def run(self, files: Sequence[Local]) -> None:
        """Raises ServiceError for what concerns all: the service is away, or the key is not good for it."""
        slots = asyncio.Semaphore(_PORTIONS_AT_ONCE)

        async def portion(some: Sequence[Local]) -> None:
            async with slots:
                if self.full:
                    self._leave(some)
                else:
                    await self._bring(some)

        try:
            async with asyncio.TaskGroup() as tasks:
                for start in range(0, len(files), PORTION):
                    tasks.create_task(portion(files[start : start + PORTION]))
        except ExceptionGroup as errors:  # not except*, which wraps what is raised in it before Python 3.11.4
            raise errors.exceptions[0] from None

    async def _bring(self, files: Sequence[Local]) -> None:
        hashed = await asyncio.gather(*(self._hash(file) for file in files))
        digests = {file: digest for file, digest in zip(files, hashed, strict=True) if digest is not None}
        await self._announce(digests)

    async def _hash(self, file: Local) -> str | None:
        async with self._hashing:
            try:
                return await asyncio.to_thread(sha256_of, file.path)
            except OSError as error:
                self._fail(file, f"cannot be read: {error.strerror}")
                return None

    async def _announce(self, digests: dict[Local, str]) -> None:
        """What the service refuses is told apart from the rest by halves."""
        if not digests:
            return
        try:
            uploads = await self._uploads(digests)
        except ServiceError as error:
            if error.exit_code != ServiceError.exit_code:
                raise
            if len(digests) == 1:
                self._fail(next(iter(digests)), error.message)
                return
            each = list(digests.items())
            for half in (each[: len(each) // 2], each[len(each) // 2 :]):
                await self._announce(dict(half))
            return
        sent = await asyncio.gather(*(self._put(file, upload) for file, upload in uploads.items()))
        await self._complete(
            {upload["id"]: file for (file, upload), done in zip(uploads.items(), sent, strict=True) if done}
        )

    async def _uploads(self, digests: dict[Local, str]) -> dict[Local, Any]:
        """By file; those whose bytes are there need none."""
        files = {file.object_id: file for file in digests}
        there = await self._there(list(files))
        new = [file for file in digests if file.object_id not in there]
        uploads: list[Any] = []
        if new:
            if self.batch_id is None:
                raise ServiceError(f'There is no object "{new[0].object_id}": make it, or pass --batch as well.')
            objects = [{"objectId": one.object_id, "data": one.data(), "file": _file(one, digests[one])} for one in new]
            try:
                uploads += await self._made(new, CREATE_OBJECTS, id=self.batch_id, objects=objects)
            except ServiceError as error:
                if error.code != "ALREADY_EXISTS" or not error.retried:
                    raise
                return await self._uploads(digests)  # an attempt whose answer was lost has made them
        again, files_again = [], []
        for object_id, node in there.items():
            file = files[object_id]
            if self.batch_id is not None and node["batch"]["batchId"] != self.batch_id:
                self._fail(file, f'is in batch "{node["batch"]["batchId"]}"')
                continue
            if self.batch_id is not None and node["data"] != file.data():
                await self.service.call(SET_DATA, id=object_id, data=file.data())
            known = node["file"] or {}
            if (known.get("state"), known.get("size"), known.get("sha256")) == ("COMPLETE", file.size, digests[file]):
                self.counts.files_there += 1
                self.advance(file.size)
            else:
                again.append({"objectId": object_id, "file": _file(file, digests[file])})
                files_again.append(file)
        if again:
            uploads += await self._made(files_again, CREATE_UPLOADS, files=again)
        return {files[upload["object"]["objectId"]]: upload for upload in uploads}

    async def _made(self, whose: Sequence[Local], mutation: str, /, **variables: object) -> list[Any]:
        """The uploads of these files; none where they would be more than the tenant's quota allows for."""
        try:
            [made] = (await self.service.call(mutation, **variables)).values()
        except ServiceError as error:
            if error.code != QUOTA_EXCEEDED:
                raise
            self.full = error.message
            self._leave(whose)
            return []
        return list(made["uploads"])

    def _leave(self, files: Sequence[Local]) -> None:
        self.counts.files_failed += len(files)
        self.files_left += len(files)

    async def _there(self, object_ids: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for start in range(0, len(object_ids), PAGE):
            some = object_ids[start : start + PAGE]
            nodes = (await self.service.call(FIND, ids=some, first=PAGE))["objects"]["nodes"]
            found.update((node["objectId"], node) for node in nodes)
        return found

    async def _put(self, file: Local, upload: Any) -> bool:
        headers = {header["name"]: header["value"] for header in upload["headers"]}
        try:
            await self.wire.put(file.path, file.size, upload["url"], headers, self.advance)
        except OSError as error:
            self._fail(file, f"cannot be read: {error.strerror}")
        except Unreachable as error:
            self._fail(file, str(error))
        except Refused as error:
            changed = error.status in (400, 403) and _stat(file.path) != (file.size, file.mtime_ns)
            self._fail(file, "was changed while it was read" if changed else str(error))
        else:
            self.counts.bytes_sent += file.size
            return True
        return False

    async def _complete(self, uploads: dict[str, Local]) -> None:
        if not uploads:
            return
        answer = await self.service.call(COMPLETE, ids=list(uploads))
        for result in answer["completeUploads"]["results"]:
            if result["problem"]:
                self._fail(uploads[result["uploadId"]], f"was not accepted: {result['problem']}")
            elif result["state"] == "VERIFYING":
                self.counts.files_verifying += 1
            else:
                self.counts.files_sent += 1

    def _fail(self, file: Local, how: str) -> None:
        self.counts.files_failed += 1
        self.complaints.append(f"failed: {file.path}: {how}")


def _file(file: Local, digest: str) -> dict[str, object]:
    return {"name": file.path.name, "contentType": file.type, "size": file.size, "sha256": digest}


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _walk(root: Path, complaints: list[str]) -> Iterator[Local]:
    """Regular files, in the order of their paths; nothing is followed out of the directory."""

    def complain(error: OSError) -> None:
        complaints.append(f"failed: {error.filename}: cannot be read: {error.strerror}")

    for directory, below, names in os.walk(root, onerror=complain):
        below.sort()
        for name in sorted(names):
            path = Path(directory, name)
            try:
                found = path.lstat()
            except OSError as error:
                complain(error)
                continue
            if not stat.S_ISREG(found.st_mode):
                continue
            object_id = path.relative_to(root).as_posix()
            try:
                object_id.encode()
            except UnicodeEncodeError:
                complaints.append(f"failed: {os.fsencode(path)!r}: the name is not UTF-8")
                continue
            yield Local(path, object_id, found.st_size, found.st_mtime_ns)


@client_command("upload")
@click.option("--batch", "batch_id", metavar="ID", help="The batch of the objects; made if there is none.")
@click.option("--object", "object_id", metavar="ID", help="The object of a single FILE.")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
async def upload(service: Service, path: Path, batch_id: str | None, object_id: str | None, as_json: bool) -> None:
    """Send the files of a directory, or one file, straight to S3.

    DIR --batch ID makes an object of each regular file below DIR: its id is the relative path, which is unique in the
    tenant as all ids are, its data are path, size, type and mtime. Links are not followed.
    FILE --object ID sends one file, for an object that exists, or with --batch
    for a new one.

    Run again it sends what is missing or has changed: files whose SHA-256 is there are left out. Where the tenant's
    quota is reached it finishes what it has begun and stops. --json prints counts.
    """
    complaints: list[str] = []
    if path.is_dir():
        if batch_id is None or object_id is not None:
            raise click.UsageError("A directory needs --batch, and no --object.")
        files = list(_walk(path, complaints))
    else:
        if object_id is None:
            raise click.UsageError("A file needs --object.")
        found = path.stat()
        files = [Local(path, object_id, found.st_size, found.st_mtime_ns)]
    if batch_id is not None:
        try:
            await service.call(CREATE_BATCH, id=batch_id)
        except ServiceError as error:
            if error.code != "ALREADY_EXISTS":
                raise
    async with Wire() as wire:
        with of_bytes("sending", sum(file.size for file in files)) as (progress, task):
            work = Work(service, wire, batch_id, partial(progress.advance, task), complaints=complaints)
            work.counts.files_failed = len(complaints)
            await work.run(files)
    counts = work.counts
    verifying = f", {counts.files_verifying:,} still being verified" if counts.files_verifying else ""
    failed = f", {counts.files_failed:,} failed" if counts.files_failed else ""
    said = f"files: {counts.files_sent:,} sent{verifying}, {counts.files_there:,} there before{failed}"
    click.echo(orjson.dumps(asdict(counts)) if as_json else said)
    left = [f"failed: {work.files_left:,} files were not sent: {work.full}"] if work.full else []
    complain(left + work.complaints)
