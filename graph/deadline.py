"""Ends the work for a request that takes too long, or whose client has gone."""

import asyncio
from enum import Enum
from types import TracebackType
from typing import Self

from starlette.types import Receive

_LISTEN_AFTER_SECONDS = 0.1  # most requests are answered by then and spare the task
_AGAIN_AFTER_SECONDS = 1.0


class End(Enum):
    LATE = "late"
    GONE = "gone"


class Deadline:
    """``with Deadline(seconds) as deadline``: cancels what runs inside, leaves quietly, and says why in ``end``.

    asyncio.timeout cancels once. A rollback on a database that has stopped answering waits for ever then, so this
    cancels again every second until the block is left.
    """

    def __init__(self, seconds: float) -> None:
        self.end: End | None = None
        self._seconds = seconds
        self._cancelled = 0
        self._receive: Receive | None = None
        self._listener: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker; there is no coroutine outside of a task
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + self._seconds
        self._timer = self._loop.call_later(min(_LISTEN_AFTER_SECONDS, self._seconds), self._check)
        return self

    def listen(self, receive: Receive) -> None:
        """End when the client disconnects, too. The body must have been read."""
        self._receive = receive

    def _check(self) -> None:
        left = self._ends_at - self._loop.time()
        if left <= 0:
            self._cancel(End.LATE)
            return
        if self._receive is not None and self._listener is None:
            self._listener = self._loop.create_task(self._listen(self._receive))
        # Until the body is there, look again soon whether there is a client to listen to.
        wait = left if self._listener else min(_LISTEN_AFTER_SECONDS, left)
        self._timer = self._loop.call_later(wait, self._check)

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._timer.cancel()
        self._cancel(End.GONE)

    def _cancel(self, end: End) -> None:
        self.end = self.end or end
        self._cancelled += 1
        self._task.cancel()
        self._timer = self._loop.call_later(_AGAIN_AFTER_SECONDS, self._cancel, end)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()
        remaining = self._task.cancelling()
        for _ in range(self._cancelled):
            remaining = self._task.uncancel()
        # Cancelled from elsewhere as well (the server is stopping): that goes on.
        return self.end is not None and remaining == 0 and isinstance(error, asyncio.CancelledError)
