"""Files that are too large for one request: sent in parts, any of which can be sent again, and put together by S3."""

import asyncio
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StorageUnavailable
from models.pages import Row
from storage.client import MOST_PARTS, Part, Storage, refusing

_MIB = 1024**2
_LEAST_PART_BYTES = 16 * _MIB  # fewer requests; S3 takes parts of 5 MiB and more
_AT_ONCE = 32
MOST_NAMED = 100  # parts; of thousands of uploads they would be millions


@dataclass(frozen=True, slots=True)
class Cut:
    """How a file is cut: each part but the last, which has the rest, is ``part_bytes`` long. Numbers begin with 1."""

    size: int
    part_bytes: int

    @classmethod
    def of(cls, size: int) -> "Cut":
        """Whole MiB, so that S3 takes as many as it has to: 16 up to 156 GiB, 525 for 5 TiB."""
        return cls(size, max(_LEAST_PART_BYTES, math.ceil(size / MOST_PARTS / _MIB) * _MIB))

    @property
    def count(self) -> int:
        return -(-self.size // self.part_bytes)

    def size_of(self, number: int) -> int:
        return min(self.part_bytes, self.size - (number - 1) * self.part_bytes)


def cut_of(row: Row) -> Cut:
    """Of an upload in parts, from its row with the names of ``models.files``."""
    return Cut(row["file_size"], row["file_part_bytes"])


class Place(NamedTuple):
    """An upload in parts, as S3 knows it."""

    bucket: str
    key: str
    multipart_id: str


class Unfit(NamedTuple):
    """Numbers of parts that are not there, and of those that are there and are others than announced; some of many."""

    missing: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()


async def create(storage: Storage, files: Sequence[tuple[str, str, str]], *, sse: str) -> list[Place]:
    """An upload in parts for each bucket, key and content type, in any order: all, or none that S3 lets us abort.

    Raises StorageUnavailable.
    """
    turns = asyncio.Semaphore(_AT_ONCE)
    begun: list[Place] = []
    failed: list[StorageUnavailable | ClientError | BotoCoreError] = []

    async def one(bucket: str, key: str, content_type: str) -> None:
        async with turns:
            if failed:
                return
            try:
                multipart_id = await storage.create_multipart(bucket, key, content_type, sse=sse)
            except (StorageUnavailable, ClientError, BotoCoreError) as error:
                failed.append(error)
            else:
                begun.append(Place(bucket, key, multipart_id))

    await asyncio.gather(*(one(*file) for file in files))
    if failed:
        await abandon(storage, begun)
        with refusing():
            raise failed[0]
    return begun


async def abort_many(storage: Storage, places: Sequence[Place]) -> dict[str, str]:
    """Codes of those that are still there, by key. One that was complete or aborted is no error.

    Raises StorageUnavailable.
    """
    turns = asyncio.Semaphore(_AT_ONCE)
    failed: dict[str, str] = {}

    async def one(place: Place) -> None:
        async with turns:
            try:
                if not await storage.abort_multipart(*place):
                    failed[place.key] = "PartsLeft"
            except ClientError as error:
                failed[place.key] = error.response["Error"]["Code"]

    await asyncio.gather(*map(one, places))
    return failed


async def abandon(storage: Storage, places: Sequence[Place]) -> None:
    """Abort what nobody was told of, as far as S3 lets us: nothing was sent yet."""
    with suppress(StorageUnavailable, BotoCoreError):
        await abort_many(storage, places)


async def assemble(storage: Storage, place: Place, cut: Cut, etags: Mapping[int, str] | None) -> Unfit | None:
    """Put the parts together if all are there, of the right sizes, and with these ``etags`` if they are given.

    None where it is complete, or was before, or is gone: HEAD of the key tells. Otherwise nothing is changed. Raises
    ClientError.
    """
    found = await storage.list_parts(*place, last=cut.count)
    if found is None:
        return None
    by_number: dict[int, list[Part]] = defaultdict(list)
    for part in found:
        by_number[part.number].append(part)
    chosen: list[Part] = []
    missing: list[int] = []
    wrong: list[int] = []
    for number in range(1, cut.count + 1):
        sent = by_number.get(number)
        if not sent or (etags is not None and number not in etags):
            missing.append(number)
            continue
        right = [part for part in sent if etags is None or part.etag == etags[number]]
        if not right or right[-1].size != cut.size_of(number):
            wrong.append(number)
        else:
            chosen.append(right[-1])
    if missing or wrong:
        return Unfit(tuple(missing[:MOST_NAMED]), tuple(wrong[:MOST_NAMED]))
    refusal = await storage.complete_multipart(*place, chosen)
    return Unfit() if refusal == "InvalidPart" else None  # one was sent again meanwhile, nobody says which
