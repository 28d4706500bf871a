"""`waybill download`: the files of a batch into a directory."""

import asyncio
import os
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import click
import orjson

from waybill.cli.client import PAGE, Service, ServiceError, client_command
from waybill.cli.report import complain, of_bytes
from waybill.cli.wire import AT_ONCE, Advance, Refused, Unreachable, Wire, sha256_of

_FILE = "objectId data { key value } file { size sha256 access(expiresIn: 3600) { url } }"
LIST = f"""query List($id: String!, $first: Int, $after: String) {{ batch(batchId: $id) {{
  objects(first: $first, after: $after, where: {{fileState: COMPLETE}}) {{
    nodes {{ {_FILE} }} pageInfo {{ hasNextPage endCursor }} }} }} }}"""
ONE = f"query One($id: String!) {{ object(objectId: $id) {{ {_FILE} }} }}"


@dataclass
class Counts:
    files_fetched: int = 0
    files_there: int = 0
    files_failed: int = 0
    bytes_fetched: int = 0


@dataclass
class Work:
    service: Service
    wire: Wire
    root: Path
    advance: Advance
    counts: Counts = field(default_factory=Counts)
    complaints: list[str] = field(default_factory=list)
    _taken: dict[str, str] = field(default_factory=dict)  # paths as file systems compare them that know no case

    async def run(self, batch_id: str) -> None:
        slots = asyncio.Semaphore(2 * AT_ONCE)  # of files at once, so that a large batch is not held in memory

        async def one(node: Any) -> None:
            try:
                await self._one(node)
            finally:
                slots.release()

        try:
            async with asyncio.TaskGroup() as tasks:
                async for node in self._nodes(batch_id):
                    await slots.acquire()
                    tasks.create_task(one(node))
        except ExceptionGroup as errors:  # not except*, which wraps what is raised in it before Python 3.11.4
            raise errors.exceptions[0] from None

    async def _nodes(self, batch_id: str) -> AsyncIterator[Any]:
        after = None
        while True:
            answer = await self.service.page(LIST, {"first": PAGE}, id=batch_id, after=after)
            page = answer["batch"]["objects"]
            for node in page["nodes"]:
                yield node
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]

    async def _one(self, node: Any) -> None:
        object_id, file = node["objectId"], node["file"]
        data = {pair["key"]: pair["value"] for pair in node["data"]}
        name = data.get("path", object_id)
        try:
            path = self._place(name)
            if await asyncio.to_thread(_same, path, file):
                self.counts.files_there += 1
                self.advance(int(file["size"]))
            else:
                await self._fetch(object_id, path, file)
                self.counts.files_fetched += 1
                self.counts.bytes_fetched += int(file["size"])
            if (moment := _nanoseconds(data.get("mtime", ""))) is not None:
                os.utime(path, ns=(moment, moment))
        except ServiceError as error:
            if error.exit_code != ServiceError.exit_code:
                raise
            self._fail(name, error.message)
        except OSError as error:
            self._fail(name, f"cannot be written: {error.strerror or error}")
        except (Refused, Unreachable, ValueError) as error:
            self._fail(name, str(error))

    def _place(self, name: str) -> Path:
        """Where the file goes, below the root in any case. Raises ValueError for what would be elsewhere, or twice."""
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or re.search("[\0-\x1f\x7f]", name):
            raise ValueError("this is no path below the directory")
        other = self._taken.setdefault("/".join(parts).casefold(), name)
        if other != name:
            raise ValueError(f'it would be the same file as "{other}" where names know no case')
        path = self.root
        for part in parts[:-1]:
            path = path / part
            if path.is_symlink():
                raise ValueError(f"{path} is a link, which may lead elsewhere")
            path.mkdir(exist_ok=True)
        path = path / parts[-1]
        if path.is_symlink():
            raise ValueError(f"{path} is a link, which may lead elsewhere")
        return path

    async def _fetch(self, object_id: str, path: Path, file: Any) -> None:
        """The file appears when it is whole and proved."""
        growing = path.with_name(f".{secrets.token_hex(8)}.part")  # a longer name might be too long
        try:
            with growing.open("xb") as out:
                try:
                    digest = await self.wire.get(file["access"]["url"], out, self.advance)
                except Refused as error:
                    if error.status != 403:  # the URL may have expired meanwhile
                        raise
                    file = (await self.service.call(ONE, id=object_id))["object"]["file"]
                    digest = await self.wire.get(file["access"]["url"], out, self.advance)
                size = out.tell()
            if size != int(file["size"]) or file["sha256"] not in (None, digest):
                raise ValueError("the bytes are not those that were proved")
            growing.replace(path)
        finally:
            growing.unlink(missing_ok=True)

    def _fail(self, name: str, how: str) -> None:
        self.counts.files_failed += 1
        self.complaints.append(f"failed: {name!r}: {how}")


def _same(path: Path, file: Any) -> bool:
    """Whether the file is there already; to be called in a thread."""
    return (
        file["sha256"] is not None
        and path.is_file()
        and path.stat().st_size == int(file["size"])
        and sha256_of(path) == file["sha256"]
    )


def _nanoseconds(seconds: str) -> int | None:
    """Of a decimal number of seconds, exactly."""
    match = re.fullmatch(r"(-?\d{1,12})(?:\.(\d{1,9}))?", seconds, re.ASCII)
    return int(match[1]) * 10**9 + int((match[2] or "").ljust(9, "0")) if match else None


@client_command("download")
@click.option("--batch", "batch_id", metavar="ID", required=True, help="The batch.")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
async def download(service: Service, batch_id: str, directory: Path, as_json: bool) -> None:
    """Fetch all complete files of a batch into DIR, which is made if there is none.

    Each goes to the path in its object's data, or else its id; nothing is written outside of DIR. Size and SHA-256 are
    verified before a file appears, and its time is what it was. Files that are there already are left out. --json
    prints counts.
    """
    directory.mkdir(parents=True, exist_ok=True)
    async with Wire() as wire:
        with of_bytes("fetching", None) as (progress, task):
            work = Work(service, wire, directory.resolve(), partial(progress.advance, task))
            await work.run(batch_id)
    counts = work.counts
    failed = f", {counts.files_failed:,} failed" if counts.files_failed else ""
    said = f"files: {counts.files_fetched:,} fetched, {counts.files_there:,} there before{failed}"
    click.echo(orjson.dumps(asdict(counts)) if as_json else said)
    complain(work.complaints)
