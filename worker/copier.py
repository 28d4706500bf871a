"""Copies one file, and deletes copies."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import orjson
from prometheus_client import Counter

from access.locations import Allowed, check, check_location
from models import copying, locations
from models.copying import Copied
from models.errors import WaybillError
from models.locations import Destination, Location
from models.pages import Row
from storage.locations import Away, Locations, Misconfigured, Trouble
from storage.names import component
from storage.places import Place, opened
from worker.attempts import Destination as Refusing
from worker.attempts import at_destination
from worker.placing import Placing
from worker.root import Root
from worker.transfers import Transfers, Whole

_COMPLETED_AT_ONCE = 3  # each takes a connection to PostgreSQL
_DELETED_TOGETHER = 2  # beside those: a bucket that does not answer holds up no file
_SECONDS = 20.0  # less than PostgreSQL lets a transaction wait for us
DELETED_AT_ONCE = 100

_log = logging.getLogger(__name__)
_deletions = Counter("waybill_copy_deletions_total", "deletions of copies: done, or failed and due again", ["outcome"])


@dataclass(frozen=True, slots=True)
class Copier:
    """``root`` is None where there are no directories. What the operator has not ``allowed`` any more is not done."""

    places: Locations
    allowed: Allowed
    root: Root | None
    transfers: Transfers
    placing: Placing = field(default_factory=Placing)
    completing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_COMPLETED_AT_ONCE))
    deleting: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_DELETED_TOGETHER))

    async def copy(self, token: UUID, sync: Row) -> None:
        """The file is SYNCED then. Raises Trouble, ``models.copying.Lost``, and what the database does."""
        origin, destination = self.between(sync)
        key = origin.key(sync["batch_id"], sync["object_id"], sync["file_name"])
        async with opened(self.places, origin, sync["tenant_slug"]) as source:
            if isinstance(destination, Location):
                await self._into_bucket(token, sync, source, key, destination)
            else:
                await self._into_directory(token, sync, source, key, destination.directory)

    def between(self, source: Row) -> tuple[Location, Destination]:
        """Where files of the source come from and go to. Raises Misconfigured where that is not allowed."""
        origin = locations.location(orjson.loads(source["origin"]))
        destination = locations.destination(orjson.loads(source["destination"]))
        try:
            check(self.allowed, source["tenant_slug"], origin, destination)
        except WaybillError as error:
            raise Misconfigured(str(error)) from error
        return origin, destination

    async def _into_directory(self, token: UUID, sync: Row, source: Place, key: str, directory: str) -> None:
        assert self.root is not None  # noqa: S101 - for the type checker: nothing is taken then
        root, threads, path = self.root, self.transfers.threads, path_at(directory, sync)
        async with self.transfers.into_file(source, key, root, sync["id"]) as whole:

            async def put() -> None:
                with at_destination():
                    await threads.run(root.place, whole.partial, path.split("/"))

            await self.placing.place(token, sync, _copied(path, whole), put)

    async def _into_bucket(self, token: UUID, sync: Row, source: Place, key: str, destination: Location) -> None:
        target_key = key_at(destination, sync)
        async with (
            opened(self.places, destination, sync["tenant_slug"]) as target,
            self.transfers.into_bucket(source, key, target, target_key, sync["file_type"]) as whole,
            self.completing,
            copying.finishing(token, sync, _copied(target_key, whole)),
            _in_time(),
        ):
            with at_destination():
                if whole.upload_id:
                    await target.complete(target_key, whole.upload_id, whole.parts)
                else:
                    await target.put_empty(target_key, sync["file_type"])
                there = await target.known(target_key)
            if there.size != whole.size:
                raise Refusing(f"it has {there.size} bytes of {whole.size}")

    async def delete_due(self) -> int:
        """How many copies had to go. What fails is due again, each time later."""
        rows = await copying.due_deletions(DELETED_AT_ONCE, directories=self.root is not None)
        await asyncio.gather(*(self._delete(row) for row in rows))
        return len(rows)

    async def _delete(self, deletion: Row) -> None:
        try:
            async with self.deleting, copying.deleting(deletion) as free, _in_time():
                if free:
                    await self._remove(deletion, locations.destination(orjson.loads(deletion["destination"])))
        except (Trouble, OSError) as error:
            _deletions.labels("failed").inc()
            _log.error("the copy %s cannot be deleted and is tried again: %s", deletion["path"], error)
            await copying.delete_later(deletion["id"], str(error))
        else:
            _deletions.labels("done").inc()

    async def _remove(self, deletion: Row, destination: Destination) -> None:
        if isinstance(destination, Location):
            try:
                check_location(self.allowed, deletion["tenant_slug"], destination, "destination")
            except WaybillError as error:
                raise Misconfigured(str(error)) from error
            async with opened(self.places, destination, deletion["tenant_slug"]) as target:
                await target.delete(deletion["path"])
        else:
            assert self.root is not None  # noqa: S101 - for the type checker
            await self.transfers.threads.run(self.root.remove, deletion["path"])


def key_at(destination: Location, sync: Row) -> str:
    """Of a copy in a bucket."""
    names = (sync["batch_id"], sync["object_id"], sync["file_name"])
    return prefix_at(destination, sync["source"]) + "/".join(names)


def prefix_at(destination: Location, source: str) -> str:
    """Of all copies of the source (its name) in a bucket."""
    return f"{destination.prefix}{source}/"


def path_at(directory: str, sync: Row) -> str:
    """Of a copy in a directory, below the root."""
    names = (sync["batch_id"], sync["object_id"], sync["file_name"])
    return "/".join((directory_at(directory, sync["tenant_slug"]), *map(component, names)))


def directory_at(directory: str, tenant_slug: str) -> str:
    """Of all copies of a source, below the root."""
    return f"{tenant_slug}/{directory}"


def _copied(path: str, whole: Whole) -> Copied:
    return Copied(path, whole.size, whole.sha256, whole.etag)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """A transaction waits for what is done inside."""
    try:
        async with asyncio.timeout(_SECONDS):
            yield
    except TimeoutError as error:
        raise Away("it took too long") from error
