"""Reads the bytes of uploads that were too large to be read while somebody waited."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models import files
from models.errors import StorageUnavailable
from models.pages import Row
from storage.client import Storage
from storage.proof import Verdict, claim_of, prove

VERIFIED_AT_ONCE = 4
_AGAIN_SECONDS = 300.0  # half as long as an upload is somebody's

_log = logging.getLogger(__name__)


async def verify_waiting(storage: Storage, *, large: bool = False) -> int:
    """How many uploads were settled: complete, or given up where the bytes are others than announced.

    Those that are ``large`` are work of another kind, which may take hours.
    Raises StorageUnavailable where some could not be read; they are tried again later.
    """
    rows = await files.unread(VERIFIED_AT_ONCE, large=large)
    outcomes = await asyncio.gather(*(_verify(storage, row) for row in rows), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return len(rows)


async def _verify(storage: Storage, row: Row) -> None:
    claim = claim_of(row)
    async with _kept(row):
        [verdict] = await prove(storage, [claim], most_read_bytes=claim.size_bytes)
    if verdict is None:
        await files.read_later(row["file_pk"])
        raise StorageUnavailable
    if verdict is Verdict.RIGHT:
        await files.settle(row["tenant_id"], [row["file_pk"]])
    else:
        await files.give_up([row["file_pk"]], verdict)


@asynccontextmanager
async def _kept(row: Row) -> AsyncIterator[None]:
    """Terabytes take hours: without this all workers would read the same ones in the end, and nothing else."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            try:
                await files.still_reading(row["tenant_id"], row["file_pk"])
            except Exception as error:  # noqa: BLE001 - it is read all the same, at worst by two
                _log.warning("the database does not hear that an upload is still read: %s", error)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()
