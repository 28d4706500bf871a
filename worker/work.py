"""All background work, in one process or in several at once: each piece is taken by one of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from models import files
from models.errors import StorageUnavailable, Unavailable
from storage.client import Storage
from worker.deletions import delete_due
from worker.verification import verify_waiting

_PAUSE_SECONDS = 2.0
_AT_ONCE = 1_000

_log = logging.getLogger(__name__)


async def drain(storage: Storage) -> None:
    """Until nothing is left that is due now. Raises Unavailable, StorageUnavailable."""
    kinds: tuple[Callable[[], Awaitable[int]], ...] = (
        lambda: verify_waiting(storage),
        lambda: files.expire(_AT_ONCE),
        lambda: delete_due(storage),
    )
    while any([await kind() for kind in kinds]):
        pass


async def run(storage: Storage) -> None:
    """Until cancelled. What fails is tried again: all that is to be done stands in the database."""
    while True:
        try:
            await drain(storage)
        except (Unavailable, StorageUnavailable) as error:
            _log.warning("background work waits: %s", error)
        except Exception:  # noqa: BLE001 - whatever it is, it is logged, and the rest of the work goes on
            _log.exception("background work failed")
        await asyncio.sleep(_PAUSE_SECONDS)
