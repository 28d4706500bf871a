"""`waybill import` and `waybill export`: batches between a service and files in the form of ``batch_file.py``."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from waybill.cli import batch_file
from waybill.cli.batch_file import Batch, Object
from waybill.cli.client import PAGE, Service, ServiceError, client_command, of_batch

PARALLEL = 4
MOST_OBJECTS = 2_000  # of one call: a fifth of what a service takes, so that progress shows and a retry costs little
MOST_BYTES = 2_000_000

FIND_BATCHES = """query FindBatches($ids: [String!], $first: Int) {
  batches(first: $first, where: {batchIds: $ids}) { nodes { batchId } }
}"""
FIND_OBJECTS = """query FindObjects($ids: [String!], $first: Int) {
  objects(first: $first, where: {objectIds: $ids}) { nodes { objectId data { key value } batch { batchId } } }
}"""
CREATE_BATCH = "mutation CreateBatch($id: String!) { createBatch(input: {batchId: $id}) { batch { batchId } } }"
CREATE_OBJECTS = """mutation CreateObjects($id: String!, $objects: [ObjectInput!]!) {
  createObjects(input: {batchId: $id, objects: $objects}) { batch { batchId } }
}"""

# From the end, because lists are newest first; a page is newest first itself.
_OBJECTS = """objects(last: $last, before: $before) {
  nodes { objectId data { key value } } pageInfo { hasPreviousPage startCursor } }"""
EXPORT_BATCH = f"""query ExportBatch($id: String!, $last: Int, $before: String) {{
  batch(batchId: $id) {{ batchId {_OBJECTS} }}
}}"""
EXPORT_BATCHES = f"""query ExportBatches($last: Int, $before: String, $lastBatches: Int, $beforeBatch: String) {{
  batches(last: $lastBatches, before: $beforeBatch) {{
    nodes {{ batchId {_OBJECTS} }} pageInfo {{ hasPreviousPage startCursor }}
  }}
}}"""
_BATCHES_AT_ONCE = 10


@dataclass
class Counts:
    batches_made: int = 0
    batches_existed: int = 0
    batches_failed: int = 0
    objects_made: int = 0
    objects_existed: int = 0
    objects_differ: int = 0
    objects_failed: int = 0

    def lines(self) -> Iterator[str]:
        """Failures are counted only if there are any."""
        for what, outcomes in (("batches", ("made", "existed")), ("objects", ("made", "existed", "differ"))):
            numbers = {outcome: getattr(self, f"{what}_{outcome}") for outcome in (*outcomes, "failed")}
            if not numbers["failed"]:
                del numbers["failed"]
            yield f"{what}: {', '.join(f'{number:,} {outcome}' for outcome, number in numbers.items())}"


@dataclass
class Import:
    """Brings what is missing to the service and changes nothing that is there."""

    service: Service
    advance: Callable[[int], None]  # called with how many more objects are dealt with
    counts: Counts = field(default_factory=Counts)
    complaints: list[str] = field(default_factory=list)

    async def run(self, batches: Sequence[Batch]) -> None:
        """Raises ServiceError for what concerns all: the service is away, or will not have more."""
        slots = asyncio.Semaphore(PARALLEL)
        try:
            async with asyncio.TaskGroup() as tasks:
                # Batches are made one after the other, so that they are listed in the file's order; filled in parallel.
                async for batch, existed in self._made(batches):
                    await slots.acquire()
                    task = tasks.create_task(self._fill(batch, existed))
                    task.add_done_callback(lambda _: slots.release())
        except ExceptionGroup as errors:  # not except*, which wraps what is raised in it before Python 3.11.4
            raise errors.exceptions[0] from None

    async def _made(self, batches: Sequence[Batch]) -> AsyncIterator[tuple[Batch, bool]]:
        """Each batch that is there now, and whether it was before."""
        for start in range(0, len(batches), PAGE):
            some = batches[start : start + PAGE]
            found = await self.service.call(FIND_BATCHES, first=PAGE, ids=[batch["batch_id"] for batch in some])
            there = {node["batchId"] for node in found["batches"]["nodes"]}
            for batch in some:
                existed = batch["batch_id"] in there
                try:
                    existed = existed or not await self._make(batch)
                except ServiceError as error:
                    self.counts.batches_failed += 1
                    self._failed(f'batch "{batch["batch_id"]}"', len(batch["objects"]), error)
                    continue
                self.counts.batches_existed += existed
                self.counts.batches_made += not existed
                yield batch, existed

    async def _make(self, batch: Batch) -> bool:
        """False if somebody else made it meanwhile."""
        try:
            await self.service.call(CREATE_BATCH, id=batch["batch_id"])
        except ServiceError as error:
            if error.code != "ALREADY_EXISTS":
                raise
            return False
        return True

    async def _fill(self, batch: Batch, existed: bool) -> None:
        for portion in _portions(batch["objects"]):
            try:
                await self._bring(batch["batch_id"], portion, existed)
            except ServiceError as error:
                first, last = portion[0]["object_id"], portion[-1]["object_id"]
                whose = f'batch "{batch["batch_id"]}", objects "{first}" to "{last}"'
                self._failed(whose, len(portion), error)
            else:
                self.advance(len(portion))

    async def _bring(self, batch_id: str, objects: list[Object], existed: bool) -> None:
        """Each call makes all its objects or none: if some exist, the others are sent again without them."""
        absent = await self._absent(batch_id, objects) if existed else objects
        while absent:
            given = [{"objectId": one["object_id"], "data": one["data"]} for one in absent]
            try:
                await self.service.call(CREATE_OBJECTS, id=batch_id, objects=given)
            except ServiceError as error:
                if error.code != "ALREADY_EXISTS":
                    raise
                still = await self._absent(batch_id, absent)
                if len(still) == len(absent):
                    raise
                absent = still
            else:
                self.counts.objects_made += len(absent)
                return

    async def _absent(self, batch_id: str, objects: Sequence[Object]) -> list[Object]:
        """Those that are not there yet; the others are compared and counted."""
        absent = []
        for start in range(0, len(objects), PAGE):
            some = objects[start : start + PAGE]
            there = await self._there([one["object_id"] for one in some])
            for one in some:
                node = there.get(one["object_id"])
                if node is None:
                    absent.append(one)
                elif node["batch"]["batchId"] != batch_id:
                    self._differs(one, f'is in batch "{node["batch"]["batchId"]}", not in "{batch_id}"')
                elif node["data"] != one["data"]:
                    self._differs(one, "has other data")
                else:
                    self.counts.objects_existed += 1
        return absent

    async def _there(self, object_ids: list[str]) -> dict[str, Any]:
        """By their ids; in two halves where they are too much for one answer."""
        try:
            found = await self.service.call(FIND_OBJECTS, first=PAGE, ids=object_ids)
        except ServiceError as error:
            half = len(object_ids) // 2
            if error.code != "TOO_COMPLEX" or not half:
                raise
            return await self._there(object_ids[:half]) | await self._there(object_ids[half:])
        return {node["objectId"]: node for node in found["objects"]["nodes"]}

    def _differs(self, one: Object, how: str) -> None:
        self.counts.objects_differ += 1
        self.complaints.append(f'differs: object "{one["object_id"]}" {how}')

    def _failed(self, what: str, objects: int, error: ServiceError) -> None:
        if error.concerns_all:
            raise error
        self.counts.objects_failed += objects
        self.complaints.append(f"failed: {what}: {error.message}")
        self.advance(objects)


def _portions(objects: Sequence[Object]) -> Iterator[list[Object]]:
    portion: list[Object] = []
    size = 0
    for one in objects:
        bytes_of_one = len(orjson.dumps(one))
        if portion and (len(portion) == MOST_OBJECTS or size + bytes_of_one > MOST_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(one)
        size += bytes_of_one
    if portion:
        yield portion


@client_command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
async def import_(service: Service, file: str, as_json: bool) -> None:
    """Send batches with their objects from FILE ("-": standard input).

    FILE is JSON, one batch or a list of them: {"batch_id": "...", "objects": [{"object_id": "...", "data": [{"key":
    "...", "value": "..."}]}]}. It is checked first; if its form is wrong, nothing is sent.

    What exists already stays as it is, so that an import can be repeated, or taken up again when it was stopped.
    Objects that exist with other data or in another batch are reported. --json prints the counts.
    """
    with click.open_file(file, "rb") as source:
        batches = batch_file.read(source, "standard input" if file == "-" else file)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    quiet = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task("importing", total=sum(len(batch["objects"]) for batch in batches))
        work = Import(service, partial(progress.advance, task))
        try:
            await work.run(batches)
        except ServiceError as error:
            made = f"{work.counts.objects_made:,} objects were made before; repeat the import to go on."
            raise type(error)(f"{error.message}\n{made}" if work.counts.objects_made else error.message) from error
    for complaint in work.complaints:
        click.echo(complaint, err=True)
    if work.counts.objects_differ:
        click.echo("What differs was left as it is: change it with updateObjectData, or delete it first.", err=True)
    click.echo(orjson.dumps(asdict(work.counts)) if as_json else "\n".join(work.counts.lines()))
    if work.complaints:
        raise click.exceptions.Exit(1)


@client_command("export")
@click.option("--batch", "batch_ids", metavar="ID", multiple=True, help="Only this batch; may be repeated.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
async def export(service: Service, batch_ids: Sequence[str], file: Path | None, as_json: bool) -> None:
    """Write batches with their objects to FILE, or to standard output, in the form that import takes.

    One --batch gives a single batch; several, or none for all that there are, give a list. Batches and objects are in
    the order in which they were made. FILE appears when it is whole. --json prints the counts, if there is a FILE.
    """
    if file == Path("-"):
        file = None
    ids = list(dict.fromkeys(batch_ids))
    source = _named([await _batch(service, one) for one in ids]) if ids else _all(service)
    opening, closing = (b"", b"\n") if len(ids) == 1 else (b"[", b"]\n")
    batches = objects = 0
    with _output(file) as out:
        async for batch in source:
            out.write(b",\n" if batches else opening)
            batches += 1
            objects += await _write(service, batch, out)
        out.write(closing if batches else opening + closing)
    if file is not None:
        counts = {"batches": batches, "objects": objects}
        said = f"batches: {batches:,}, objects: {objects:,}, written to {file}"
        click.echo(orjson.dumps(counts) if as_json else said)


async def _named(batches: Sequence[Any]) -> AsyncIterator[Any]:
    for batch in batches:
        yield batch


async def _all(service: Service) -> AsyncIterator[Any]:
    before = None
    while True:
        sizes = {"last": PAGE, "lastBatches": _BATCHES_AT_ONCE}
        answer = await service.page(EXPORT_BATCHES, sizes, beforeBatch=before)
        page = answer["batches"]
        for batch in reversed(page["nodes"]):
            yield batch
        if not page["pageInfo"]["hasPreviousPage"]:
            return
        before = page["pageInfo"]["startCursor"]


async def _batch(service: Service, batch_id: str, before: str | None = None) -> Any:
    with of_batch(batch_id):
        return (await service.page(EXPORT_BATCH, {"last": PAGE}, id=batch_id, before=before))["batch"]


async def _write(service: Service, batch: Any, out: BinaryIO) -> int:
    """How many objects the batch has."""
    out.write(b'{"batch_id":%b,"objects":[' % orjson.dumps(batch["batchId"]))
    written = 0
    page = batch["objects"]
    while True:
        for node in reversed(page["nodes"]):
            out.write(b",\n" if written else b"\n")
            out.write(orjson.dumps({"object_id": node["objectId"], "data": node["data"]}))
            written += 1
        if not page["pageInfo"]["hasPreviousPage"]:
            break
        page = (await _batch(service, batch["batchId"], page["pageInfo"]["startCursor"]))["objects"]
    out.write(b"]}")
    return written


@contextmanager
def _output(file: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears when it is whole."""
    if file is None:
        yield sys.stdout.buffer
        return
    try:
        if file.exists() and not file.is_file():  # a pipe or a device: to be written to, never to be replaced
            with file.open("wb") as out:
                yield out
            return
        whole = file.resolve()
        growing = whole.with_name(f"{whole.name}.{os.getpid()}")
        try:
            with growing.open("xb") as out:
                yield out
            growing.replace(whole)
        finally:
            growing.unlink(missing_ok=True)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}. Choose another place.") from error
