"""When keys were last used: noted by one task, a few seconds later, in one statement for all that were used since."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models import keys

_PAUSE_SECONDS = 5.0
_LAST_SECONDS = 2.0  # for what is left at the end
_MOST = 10_000  # that wait to be noted; the others are noted when they are used again

_log = logging.getLogger(__name__)


class Uses:
    def __init__(self) -> None:
        self._keys: set[int] = set()
        self._any = asyncio.Event()

    def add(self, key: int) -> None:
        if len(self._keys) < _MOST:
            self._keys.add(key)
            self._any.set()

    async def note(self) -> None:
        """What cannot be noted is kept for the next time."""
        noting, self._keys = self._keys, set()
        self._any.clear()
        if not noting:
            return
        try:
            await keys.note_use(sorted(noting))
        except BaseException as error:
            self._keys |= noting
            self._any.set()
            if not isinstance(error, Exception):
                raise
            _log.warning("the last use of keys cannot be noted", extra={"cause": repr(error)})

    async def run(self) -> None:
        while True:
            await self._any.wait()
            await asyncio.sleep(_PAUSE_SECONDS)
            await self.note()


@asynccontextmanager
async def noting() -> AsyncIterator[Uses]:
    uses = Uses()
    task = asyncio.create_task(uses.run())
    try:
        yield uses
    finally:
        task.cancel()
        await asyncio.wait([task])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await uses.note()
