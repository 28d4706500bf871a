"""Whether the bytes in S3 are the ones that were announced: S3 is asked, the client's word counts for nothing."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from models.errors import StorageUnavailable
from models.pages import Row
from storage import multipart
from storage.client import Storage, refusing
from storage.multipart import Cut, Place, Unfit

_AT_ONCE = 32


class Claim(NamedTuple):
    """What was announced of one key; of an upload in parts S3's id, and how it is cut.

    ``etags`` are those that the client got for its parts, by number; without them S3's are taken.
    """

    bucket: str
    key: str
    size_bytes: int
    sha256: bytes | None
    multipart_id: str | None = None
    part_bytes: int | None = None
    etags: Mapping[int, str] | None = None


def claim_of(row: Row, etags: Mapping[int, str] | None = None) -> Claim:
    """Of an upload, from its row with the names of ``models.files``."""
    return Claim(
        row["file_bucket"],
        row["file_key"],
        row["file_size"],
        row["file_sha256"],
        row["file_multipart_id"],
        row["file_part_bytes"],
        etags,
    )


class Verdict(StrEnum):
    RIGHT = "RIGHT"
    UNREAD = "UNREAD"  # right so far, but the bytes would have to be read
    FILE_MISSING = "FILE_MISSING"  # or some of its parts: they can still be sent
    PART_MISMATCH = "PART_MISMATCH"  # parts can be sent again
    SIZE_MISMATCH = "SIZE_MISMATCH"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    ABORTED = "ABORTED"  # nothing can be sent any more


class Finding(NamedTuple):
    """``parts`` are the numbers of those because of which it is not right, the first hundred."""

    verdict: Verdict
    parts: tuple[int, ...] = ()


async def prove(storage: Storage, claims: Sequence[Claim], *, most_read_bytes: int) -> list[Verdict | None]:
    """One verdict for each claim, in order, as ``examine`` finds them; None where S3 did not say, and the log says why.

    So one of which S3 does not speak keeps no other from being proved. After many such of a bucket nobody asks about
    the rest.
    """
    turns, reading = asyncio.Semaphore(_AT_ONCE), _Reading(most_read_bytes)
    unsaid: Counter[str] = Counter()

    async def one(claim: Claim) -> Finding | None:
        async with turns:
            if unsaid[claim.bucket] >= _AT_ONCE:
                return None
            try:
                with refusing():
                    return await _examine(storage, claim, reading)
            except StorageUnavailable:
                unsaid[claim.bucket] += 1
                return None

    findings = await asyncio.gather(*map(one, claims))
    away = set()
    for bucket in {claim.bucket for claim, found in zip(claims, findings, strict=True) if found == _MISSING}:
        try:
            with refusing():
                await storage.require(bucket)
        except StorageUnavailable:
            away.add(bucket)
    return [
        None if found is None or (found == _MISSING and claim.bucket in away) else found.verdict
        for claim, found in zip(claims, findings, strict=True)
    ]


async def examine(storage: Storage, claims: Sequence[Claim], *, most_read_bytes: int) -> list[Finding]:
    """One finding for each claim, in order. Raises StorageUnavailable, with the reason in the log.

    What was sent in parts is put together first, if all of them are there. A SHA-256 that S3 does not keep is proved by
    reading the bytes, up to so many of all claims together. A key is written once, so that what is found of it stays
    true.
    """
    turns, reading = asyncio.Semaphore(_AT_ONCE), _Reading(most_read_bytes)

    async def one(claim: Claim) -> Finding:
        async with turns:
            return await _examine(storage, claim, reading)

    tasks = [asyncio.create_task(one(claim)) for claim in claims]
    try:
        with refusing():
            findings = await asyncio.gather(*tasks)
            for bucket in {claim.bucket for claim, found in zip(claims, findings, strict=True) if found == _MISSING}:
                await storage.require(bucket)
    finally:
        for task in tasks:
            task.cancel()
    return findings


@dataclass
class _Reading:
    left: int  # bytes that may still be read


async def _examine(storage: Storage, claim: Claim, reading: _Reading) -> Finding:
    found = await storage.head(claim.bucket, claim.key)
    if found is None and claim.multipart_id is not None and claim.part_bytes is not None:
        place = Place(claim.bucket, claim.key, claim.multipart_id)
        cut = Cut(claim.size_bytes, claim.part_bytes)
        unfit = await multipart.assemble(storage, place, cut, claim.etags)
        found = await storage.head(claim.bucket, claim.key)  # also of what is unfit: someone else may have completed it
        if found is None:
            return _unfit(unfit)
    if found is None:
        return _MISSING
    if found.size != claim.size_bytes:
        return Finding(Verdict.SIZE_MISMATCH)
    if claim.sha256 is None:
        return _RIGHT
    digest = found.sha256
    if digest is None:
        if claim.size_bytes > reading.left:
            return Finding(Verdict.UNREAD)
        reading.left -= claim.size_bytes
        digest = await storage.sha256(claim.bucket, claim.key)
    return _RIGHT if digest == claim.sha256.hex() else Finding(Verdict.CHECKSUM_MISMATCH)


def _unfit(unfit: Unfit | None) -> Finding:
    if unfit is None:
        return Finding(Verdict.ABORTED)
    if unfit.missing and not unfit.wrong:
        return Finding(Verdict.FILE_MISSING, unfit.missing)
    return Finding(Verdict.PART_MISMATCH, unfit.wrong)


_RIGHT = Finding(Verdict.RIGHT)
_MISSING = Finding(Verdict.FILE_MISSING)
