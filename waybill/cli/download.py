"""`waybill download`: the files of a batch into a directory."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from threading import Event
from typing import Any

import click
import orjson

from waybill.cli.client import PAGE, Service, ServiceError, client_command, of_batch
from waybill.cli.growing import Growing, growing, sweep
from waybill.cli.hashing import sha256_of
from waybill.cli.report import Bar, bars, complain
from waybill.cli.wire import AT_ONCE, Broken, Refused, Wire

_AHEAD = 5_000  # files that are listed before their turn, so that what is left is known, but not all of a large batch

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
    bar: Bar
    counts: Counts = field(default_factory=Counts)
    complaints: list[str] = field(default_factory=list)
    _stop: Event = field(default_factory=Event)
    _directories: set[Path] = field(default_factory=set)
    _left: set[Path] = field(default_factory=set)  # what is here of files that broke off
    _objects: dict[Path, str] = field(default_factory=dict)  # by the path that their data say
    _here: dict[tuple[int, int], Path] = field(default_factory=dict)  # files that are as they should be, by inode

    async def run(self, batch_id: str) -> None:
        """Raises ServiceError for what concerns all: the service or S3 is away, or the key is not good for it."""
        listed: asyncio.Queue[Any] = asyncio.Queue(_AHEAD)
        takers = 2 * AT_ONCE  # so that the wire has something to do while others look what is there

        async def put_all() -> None:
            async for node in self._nodes(batch_id):
                self.bar.expect(int(node["file"]["size"]))
                await listed.put(node)
            for _ in range(takers):
                await listed.put(None)

        async def take() -> None:
            while node := await listed.get():
                await self._one(node)

        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(put_all())
                for _ in range(takers):
                    tasks.create_task(take())
        except ExceptionGroup as errors:  # not except*, which wraps what is raised in it before Python 3.11.4
            raise errors.exceptions[0] from None
        finally:
            self._stop.set()
        for directory in self._directories:
            sweep(directory, self._left)

    async def _nodes(self, batch_id: str) -> AsyncIterator[Any]:
        after = None
        while True:
            with of_batch(batch_id):
                answer = await self.service.page(LIST, {"first": PAGE}, id=batch_id, after=after)
            self._make_root()  # not before it is known that there is such a batch
            page = answer["batch"]["objects"]
            for node in page["nodes"]:
                yield node
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]

    def _make_root(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"{self.root} cannot be made: {error.strerror}. Choose another place."
            raise click.ClickException(message) from error

    async def _one(self, node: Any) -> None:
        object_id, file = node["objectId"], node["file"]
        data = {pair["key"]: pair["value"] for pair in node["data"]}
        name = data.get("path", object_id)
        try:
            path = self._place(name, object_id)
            is_there = await asyncio.to_thread(self._same, path, file)
            fetched_bytes = 0 if is_there else await self._fetch(object_id, path, file)
            self._mark(path, _nanoseconds(data.get("mtime", "")))
        except ServiceError as error:
            if error.exit_code != ServiceError.exit_code:
                raise
            self._fail(name, error.message)
        except OSError as error:
            self._fail(name, f"cannot be written: {error.strerror or error}")
        except (Refused, Broken, ValueError) as error:
            self._fail(name, str(error))
        else:
            self.counts.bytes_fetched += fetched_bytes
            if is_there:
                self.counts.files_there += 1
                self.bar.advance(int(file["size"]))
            else:
                self.counts.files_fetched += 1

    def _place(self, name: str, object_id: str) -> Path:
        """Where the file goes, below the root in any case. Raises ValueError for what would be elsewhere, or twice."""
        parts = PurePosixPath(os.fsdecode(name.encode())).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or re.search("[\0-\x1f\x7f]", name):
            raise ValueError("this is no path below the directory")
        path = self.root.joinpath(*parts)
        if (other := self._objects.setdefault(path, object_id)) != object_id:
            raise ValueError(f'"{other}" has the same path')
        for directory in reversed(path.parents[: len(parts) - 1]):
            if directory.is_symlink():
                raise ValueError(f"{directory} is a link, which may lead elsewhere")
            directory.mkdir(exist_ok=True)
        if path.is_symlink():
            raise ValueError(f"{path} is a link, which may lead elsewhere")
        self._directories.add(path.parent)
        return path

    def _same(self, path: Path, file: Any) -> bool:
        """Whether the file is there already; to be called in a thread."""
        return (
            file["sha256"] is not None
            and path.is_file()
            and path.stat().st_size == int(file["size"])
            and sha256_of(path, self._stop, lambda _: None) == file["sha256"]
        )

    async def _fetch(self, object_id: str, path: Path, file: Any) -> int:
        """The number of bytes that came. The file appears when it is whole and proved."""
        with growing(path.parent, object_id, file["sha256"], self.bar.advance) as part:
            self._left.add(part.path)
            if part.found_bytes:
                await asyncio.to_thread(part.read, int(file["size"]), self._stop)
            fetched_bytes = 0
            for is_last in (part.size == 0, True):
                async with self.wire.turns:
                    file, came_bytes = await self._bytes(object_id, file, part)
                fetched_bytes += came_bytes
                if part.is_whole(int(file["size"]), file["sha256"]):
                    break
                part.begin_again()  # what an earlier run has left may have been wrong
                if is_last:
                    raise ValueError("the bytes are not those that were proved")
            part.keeps = False  # where it cannot go to its place, the next run cannot do it either
            self._left.discard(part.path)
            self._check_alias(path)
            part.become(path)
        return fetched_bytes

    async def _bytes(self, object_id: str, file: Any, part: Growing) -> tuple[Any, int]:
        """The file that they are now, and how many came."""
        if part.size and part.is_whole(int(file["size"]), file["sha256"]):
            return file, 0
        try:
            return file, await self.wire.get(file["access"]["url"], part)
        except Refused as error:
            if error.status not in (403, 404):  # the URL has expired, or another file has taken its place
                raise
        newer = (await self.service.call(ONE, id=object_id))["object"]["file"]
        if newer is None or newer["access"] is None:
            raise ValueError("it has no file any more")
        if newer["sha256"] != file["sha256"]:
            part.begin_again()
        return newer, await self.wire.get(newer["access"]["url"], part)

    def _check_alias(self, path: Path) -> None:
        """Raises ValueError where another file of the batch is there, under a name that is the same to the system.

        Such as one in other case. A file of two names by a hard link is none.
        """
        if path.exists():
            found = path.stat()
            other = self._here.get((found.st_dev, found.st_ino), path)
            if other != path and found.st_nlink == 1:
                raise ValueError(f"it would be the same file as {other.relative_to(self.root)} here")

    def _mark(self, path: Path, mtime_ns: int | None) -> None:
        found = path.stat()
        self._here[found.st_dev, found.st_ino] = path
        if mtime_ns is not None and mtime_ns != found.st_mtime_ns:
            os.utime(path, ns=(mtime_ns, mtime_ns))

    def _fail(self, name: str, how: str) -> None:
        self.counts.files_failed += 1
        self.complaints.append(f"failed: {name!r}: {how}")


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
    verified before a file appears, and its time is what it was. Files that are there already are left out; what is here
    of one that broke off, in a file named .waybill-*.part, is gone on with. --json prints counts.
    """
    async with Wire() as wire:
        with bars("fetching") as [bar]:
            work = Work(service, wire, directory.resolve(), bar)
            await work.run(batch_id)
    counts = work.counts
    failed = f", {counts.files_failed:,} failed" if counts.files_failed else ""
    said = f"files: {counts.files_fetched:,} fetched, {counts.files_there:,} there before{failed}"
    click.echo(orjson.dumps(asdict(counts)) if as_json else said)
    complain(work.complaints)
