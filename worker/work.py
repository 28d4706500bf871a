"""All background work, in one process or in several at once: each piece is taken by one of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from models import files
from models.errors import StorageUnavailable, Unavailable
from storage.client import Storage
from worker.deletions import delete_due
from worker.looks import look
from worker.verification import verify_waiting

_PAUSE_SECONDS = 2.0
_AT_ONCE = 1_000

_log = logging.getLogger(__name__)


async def drain(storage: Storage) -> None:
    """Until nothing is left that is due now. Raises Unavailable, StorageUnavailable where something is left."""
    for error in await _round(storage):
        raise error


async def run(storage: Storage) -> None:
    """Until cancelled. What fails is tried again: all that is to be done stands in the database."""
    while True:
        for error in await _round(storage):
            if isinstance(error, Unavailable | StorageUnavailable):
                _log.warning("background work waits: %s", error)
            else:
                _log.error("background work failed", exc_info=error)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _round(storage: Storage) -> list[Exception]:
    """All of what is due, its kinds at once; what fails is returned, and keeps nothing else waiting."""
    kinds: tuple[Callable[[], Awaitable[int]], ...] = (
        lambda: verify_waiting(storage),
        lambda: look(storage),
        lambda: files.forget(_AT_ONCE),
        lambda: delete_due(storage),
    )
    errors: list[Exception] = []

    async def all_of(kind: Callable[[], Awaitable[int]]) -> bool:
        """Whether anything was done."""
        done = False
        while True:
            try:
                if not await kind():
                    return done
            except StorageUnavailable as error:  # what it was about is due later: there may be more
                errors.append(error)
            except Exception as error:  # noqa: BLE001 - whoever called says what it is
                errors.append(error)
                return False
            else:
                done = True

    while any(await asyncio.gather(*map(all_of, kinds))):
        pass
    return errors
