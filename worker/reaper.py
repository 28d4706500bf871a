"""The reaper's rounds: every bucket is compared with the rows now and then, and something done about it if allowed."""

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from models import scans
from storage.client import Storage
from worker.failures import note
from worker.quarantine import act
from worker.scanning import scan

_PAUSE_SECONDS = 60.0

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Schedule:
    """``every`` is from the beginning of one scan of a bucket to that of the next; ``acts`` lets it do more than tell.

    ``window`` is how long bytes stay in quarantine.
    """

    every: timedelta
    acts: bool
    window: timedelta


async def run(storage: Storage, schedule: Schedule) -> None:
    """Until cancelled. Several at once share the buckets: each scan is one's."""
    while True:
        for bucket in await _buckets(storage):
            await _tried(scan(storage, bucket, schedule.every))
        if schedule.acts:
            await _tried(act(storage, schedule.window))
        await asyncio.sleep(_PAUSE_SECONDS)


async def _buckets(storage: Storage) -> list[str]:
    return await _tried(scans.buckets(storage.buckets)) or []


async def _tried(work: Awaitable[_T]) -> _T | None:
    """What fails is tried again in the next round: all that is to be done stands in the database."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 - what it is stands in the log
        note(_log, "the reaper", error)
        return None
