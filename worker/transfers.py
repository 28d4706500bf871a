"""The bytes on their way: from S3 into a temporary file, or into another bucket, hashed as they go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

from prometheus_client import Counter

from storage.locations import Trouble
from storage.places import MOST_PARTS, Part, Place, Reading
from worker.attempts import ChecksumMismatch, NoRoom, SizeMismatch, at_destination
from worker.digests import Digests
from worker.partial import Partial
from worker.root import Root
from worker.threads import Threads

_CHUNK_BYTES = 512 * 1024  # two of them are in memory for each file
_PART_BYTES = 8 * 1024**2
_PARTS_IN_MEMORY = 16
_WORTH_KEEPING = 1024**2

_bytes = Counter("waybill_copied_bytes_total", "bytes of files that were read from the buckets of sync sources")


@dataclass(frozen=True, slots=True)
class Whole:
    """All of a file, proved; with ``partial`` in a temporary file, otherwise in parts of an upload."""

    size: int
    etag: str
    sha256: bytes
    partial: Partial | None = None
    upload_id: str = ""
    parts: list[Part] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Transfers:
    threads: Threads
    memory: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PARTS_IN_MEMORY))

    @asynccontextmanager
    async def into_file(self, source: Place, key: str, root: Root, sync_id: int) -> AsyncIterator[Whole]:
        """Goes on with what somebody has left of it. What has not got its name at the end is left to the next one."""
        run = self.threads.run
        async with AsyncExitStack() as stack:
            with at_destination():
                begun, room = await run(lambda: (root.has_begun(sync_id), root.room()))
            # Where something is there already it is asked first whether it is still the same.
            reading = await (source.known(key) if begun else stack.enter_async_context(source.reading(key)))
            with at_destination():
                partial = await run(root.partial, sync_id, reading.etag)
            stack.push_async_callback(run, partial.close)
            if reading.size - partial.kept > room:
                raise NoRoom
            digests = Digests(reading.checksums)
            await self._reread(partial, digests)
            if begun and digests.size < reading.size:
                rest = source.reading(key, digests.size, reading.etag)
                await self._fill(partial, await stack.enter_async_context(rest), digests)
            elif not begun:
                await self._fill(partial, reading, digests)
            try:
                _prove(reading, digests)
            except Trouble:
                await run(partial.remove)
                raise
            with at_destination():
                await run(partial.flush)
            yield Whole(reading.size, reading.etag, digests.sha256, partial)

    async def _fill(self, partial: Partial, reading: Reading, digests: Digests) -> None:
        """One chunk is written while the next one comes. What has come is kept, whatever happens."""

        def write(content: bytes) -> None:
            partial.write(content)
            digests.update(content)

        writing: asyncio.Future[None] | None = None
        try:
            async for content in _joined(reading.pieces(), _CHUNK_BYTES):
                if writing is not None:
                    with at_destination():
                        await writing
                writing = asyncio.ensure_future(self.threads.run(write, content))
            if writing is not None:
                with at_destination():
                    await writing
        except BaseException:
            if writing is not None:
                await asyncio.wait({writing})
                if not writing.cancelled():
                    writing.exception()  # which nobody asks for any more
            if partial.size - partial.kept >= _WORTH_KEEPING:
                with suppress(OSError):
                    await self.threads.run(partial.keep)
            raise

    async def _reread(self, partial: Partial, digests: Digests) -> None:
        while digests.size < partial.kept:
            with at_destination():
                content = await self.threads.run(partial.read, digests.size, _PART_BYTES)
            await self.threads.run(digests.update, content)

    @asynccontextmanager
    async def into_bucket(
        self, source: Place, key: str, target: Place, target_key: str, content_type: str
    ) -> AsyncIterator[Whole]:
        """In parts, which are nowhere to be seen until they are put together; they are gone if that is not done."""
        async with source.reading(key) as reading:
            digests, parts = Digests(reading.checksums), list[Part]()
            if not reading.size:
                _prove(reading, digests)
                yield Whole(0, reading.etag, digests.sha256)
                return
            part_bytes = max(_PART_BYTES, -(-reading.size // MOST_PARTS))
            with at_destination():
                upload_id = await target.begin(target_key, content_type)
            try:
                contents = _joined(reading.pieces(), part_bytes)
                while digests.size < reading.size:
                    async with self.memory:
                        content = await anext(contents, b"")
                        if not content:
                            break
                        await self.threads.run(digests.update, content)
                        with at_destination():
                            parts.append(await target.send(target_key, upload_id, len(parts) + 1, content))
                _prove(reading, digests)
                yield Whole(reading.size, reading.etag, digests.sha256, None, upload_id, parts)
            except BaseException:
                with suppress(Trouble):
                    await target.abort(target_key, upload_id)
                raise


def _prove(reading: Reading, digests: Digests) -> None:
    if digests.size != reading.size:
        raise SizeMismatch
    if wrong := digests.wrong():
        raise ChecksumMismatch(", ".join(wrong))


async def _joined(pieces: AsyncIterator[bytes], least: int) -> AsyncIterator[bytes]:
    """Pieces of at least so many bytes each, but for the last one."""
    some: list[bytes] = []
    size = 0
    async for piece in pieces:
        some.append(piece)
        size += len(piece)
        _bytes.inc(len(piece))
        if size >= least:
            content = b"".join(some)
            some, size = [], 0  # so that they are in memory once
            yield content
    if some:
        yield b"".join(some)
