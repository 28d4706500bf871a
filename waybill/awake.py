"""An event loop that stays awake for a client that is alone."""

import asyncio
import os
import time
from collections.abc import Collection
from dataclasses import dataclass

ANSWER_SECONDS = 0.001  # a small page takes a third of it
REQUEST_SECONDS = 0.0005  # a client that does little else sends its next request within half of it
_OTHERS_SECONDS = 0.00002  # to yield the processor to nobody takes a twentieth of it
_TIMES = 16  # that it sleeps where it was awake in vain


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True)
class _Event:
    """What is waited for."""

    seconds: float
    to_sleep_for: int = 0


class Awake:
    """Looks again and again whether PostgreSQL has answered, or the client has asked for more, instead of sleeping
    until that wakes the process.

    Where the processors have nothing else to do, to fall asleep and be woken takes a tenth of a small request, twice.
    While others ask, the loop has something to do anyway. It takes a processor, so that it ends where another process
    wanted that, and after a millisecond, is not tried for a while then, and never where there is only one.
    """

    def __init__(self) -> None:
        self._is_able = _processors() > 1
        self._answer, self._request = _Event(ANSWER_SECONDS), _Event(REQUEST_SECONDS)
        self._awaited: _Event | None = None
        self._until_seconds = 0.0
        self._is_looking = False

    def asked(self, loop: asyncio.AbstractEventLoop, tasks: Collection[object]) -> None:
        """A request begins. ``tasks`` are those of all requests under way."""
        self._await(self._answer, loop, tasks)

    def answered(self, loop: asyncio.AbstractEventLoop, tasks: Collection[object]) -> None:
        """By one of the tasks."""
        self._await(self._request, loop, tasks)

    def _await(self, event: _Event, loop: asyncio.AbstractEventLoop, tasks: Collection[object]) -> None:
        self._awaited = None
        if len(tasks) > 1 or not self._is_able:
            return
        if event.to_sleep_for:
            event.to_sleep_for -= 1
            return
        self._awaited, self._until_seconds = event, time.perf_counter() + event.seconds
        if not self._is_looking:
            self._is_looking = True
            loop.call_soon(self._look, loop, tasks)

    def _look(self, loop: asyncio.AbstractEventLoop, tasks: Collection[object]) -> None:
        self._is_looking = False
        if (event := self._awaited) is None or len(tasks) > 1:
            return
        before_seconds = time.perf_counter()
        os.sched_yield()
        now_seconds = time.perf_counter()
        if now_seconds < self._until_seconds and now_seconds - before_seconds < _OTHERS_SECONDS:
            self._is_looking = True
            loop.call_soon(self._look, loop, tasks)  # which is after what has come by then
        else:
            event.to_sleep_for, self._awaited = _TIMES, None
