"""Whether the bytes in S3 are the ones that were announced: S3 is asked, the client's word counts for nothing."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StorageUnavailable
from models.pages import Row
from storage.client import Storage, log

_AT_ONCE = 32


class Claim(NamedTuple):
    """What was announced of one key."""

    bucket: str
    key: str
    size_bytes: int
    sha256: bytes | None


def claim_of(row: Row) -> Claim:
    """Of an upload, from its row with the names of ``models.files``."""
    return Claim(row["file_bucket"], row["file_key"], row["file_size"], row["file_sha256"])


class Verdict(StrEnum):
    RIGHT = "RIGHT"
    UNREAD = "UNREAD"  # right so far, but the bytes would have to be read
    FILE_MISSING = "FILE_MISSING"
    SIZE_MISMATCH = "SIZE_MISMATCH"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"


_MISSING = Verdict.FILE_MISSING


async def prove(storage: Storage, claims: Sequence[Claim], *, most_read_bytes: int) -> list[Verdict]:
    """One verdict for each claim, in order. Raises StorageUnavailable, with the reason in the log.

    A SHA-256 that S3 does not keep is proved by reading the bytes, up to so many of all claims together. A key is
    written once, so that a verdict stays true.
    """
    turns = asyncio.Semaphore(_AT_ONCE)
    left = most_read_bytes

    async def one(claim: Claim) -> Verdict:
        nonlocal left
        async with turns:
            found = await storage.head(claim.bucket, claim.key)
            if found is None:
                return Verdict.FILE_MISSING
            if found.size != claim.size_bytes:
                return Verdict.SIZE_MISMATCH
            if claim.sha256 is None:
                return Verdict.RIGHT
            digest = found.sha256
            if digest is None:
                if claim.size_bytes > left:
                    return Verdict.UNREAD
                left -= claim.size_bytes
                digest = await storage.sha256(claim.bucket, claim.key)
            return Verdict.RIGHT if digest == claim.sha256.hex() else Verdict.CHECKSUM_MISMATCH

    tasks = [asyncio.create_task(one(claim)) for claim in claims]
    try:
        verdicts = await asyncio.gather(*tasks)
        missing = {claim.bucket for claim, verdict in zip(claims, verdicts, strict=True) if verdict is _MISSING}
        for bucket in missing:
            await storage.require(bucket)
    except (ClientError, BotoCoreError) as error:  # a refusal: nobody but the operator can do something about it
        log.error("S3 refuses the service, look at its credentials and buckets: %s", error)
        raise StorageUnavailable from error
    finally:
        for task in tasks:
            task.cancel()
    return verdicts
