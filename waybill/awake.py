"""An event loop that stays awake for a request that is alone."""

import asyncio
import os
import time
from collections.abc import Collection

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_SECONDS = 0.001  # a small page takes a third of it
_OTHERS_SECONDS = 0.00002  # to yield the processor to nobody takes a twentieth of it
_REQUESTS = 16  # that are slept for where it was in vain


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Awake:
    """Looks again and again whether PostgreSQL has answered, instead of sleeping until that wakes the process.

    Where the processors have nothing else to do, to fall asleep and be woken takes a tenth of a small request. While
    others ask, the loop has something to do anyway. It takes a processor, so that it ends where another process wanted
    that, and after a millisecond, is not tried for a while then, and never where there is only one.
    """

    def __init__(self) -> None:
        self._to_sleep_for = 0 if _processors() > 1 else None

    def begin(self, loop: asyncio.AbstractEventLoop, cycle: RequestResponseCycle, tasks: Collection[object]) -> None:
        """``tasks`` are those of all requests under way."""
        if len(tasks) != 1 or self._to_sleep_for is None:
            return
        if self._to_sleep_for:
            self._to_sleep_for -= 1
        else:
            loop.call_soon(self._look, loop, cycle, tasks, time.perf_counter() + _SECONDS)

    def _look(
        self,
        loop: asyncio.AbstractEventLoop,
        cycle: RequestResponseCycle,
        tasks: Collection[object],
        until_seconds: float,
    ) -> None:
        if cycle.response_complete or len(tasks) != 1:
            return
        before_seconds = time.perf_counter()
        os.sched_yield()
        now_seconds = time.perf_counter()
        if now_seconds < until_seconds and now_seconds - before_seconds < _OTHERS_SECONDS:
            loop.call_soon(self._look, loop, cycle, tasks, until_seconds)  # which is after what has come by then
        else:
            self._to_sleep_for = _REQUESTS
