"""Where the copies of one source are: in a directory or in a bucket.

Everything raises ``storage.locations.Trouble``.
"""

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypeVar

from models.drifting import Entry, Held
from models.locations import Destination, Location
from storage.locations import NotThere
from storage.places import Place, opened
from worker.attempts import at_destination
from worker.copier import Copier, directory_at, prefix_at
from worker.root import Root
from worker.threads import Threads

_PER_PAGE = 1_000
_PIECE_BYTES = 1024**2

_T = TypeVar("_T")


class Shelf(Protocol):
    def pages(self) -> AsyncGenerator[list[Entry], None]:
        """All that is there, whoever has put it there."""

    async def size(self, path: str) -> int | None:
        """As it is now: -1 of what is no file, None where nothing is there."""

    async def sha256(self, path: str) -> bytes | None:
        """By reading it; None where nothing is there."""


@asynccontextmanager
async def shelf(copier: Copier, held: Held, destination: Destination) -> AsyncIterator[Shelf]:
    slug = held.source["tenant_slug"]
    if isinstance(destination, Location):
        async with opened(copier.places, destination, slug) as place:
            yield _InBucket(place, copier.transfers.threads, prefix_at(destination, held.source["name"]))
    else:
        assert copier.root is not None  # noqa: S101 - for the type checker: without one directories are not allowed
        yield _InDirectory(copier.root, copier.transfers.threads, directory_at(destination.directory, slug))


@dataclass(frozen=True, slots=True)
class _InDirectory:
    root: Root
    threads: Threads
    path: str

    async def pages(self) -> AsyncGenerator[list[Entry], None]:
        found = self.root.walk(self.path)

        def some() -> list[Entry]:
            return list(islice(found, _PER_PAGE))

        try:
            while page := await self._run(some):
                yield page
        finally:
            await self._run(found.close)

    async def size(self, path: str) -> int | None:
        return await self._run(self.root.size, path)

    async def sha256(self, path: str) -> bytes | None:
        digest = hashlib.sha256()

        def more(file: int) -> bool:
            piece = os.read(file, _PIECE_BYTES)
            digest.update(piece)
            return bool(piece)

        file = await self._run(self.root.open, path)
        if file is None:
            return None
        try:
            while await self._run(more, file):  # piece by piece, so that copies under way get the thread in between
                pass
        finally:
            await self._run(os.close, file)
        return digest.digest()

    async def _run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        with at_destination():
            return await self.threads.run(function, *arguments)


@dataclass(frozen=True, slots=True)
class _InBucket:
    place: Place
    threads: Threads
    prefix: str

    async def pages(self) -> AsyncGenerator[list[Entry], None]:
        with at_destination():
            async for page in self.place.listing(self.prefix):
                yield [Entry(one.key, one.size) for one in page]

    async def size(self, path: str) -> int | None:
        with at_destination():
            try:
                return (await self.place.known(path)).size
            except NotThere:
                return None

    async def sha256(self, path: str) -> bytes | None:
        digest = hashlib.sha256()
        with at_destination():
            try:
                async with self.place.reading(path) as reading:
                    async for piece in reading.pieces():
                        await self.threads.run(digest.update, piece)
            except NotThere:
                return None
        return digest.digest()
