"""Files that are copied take their places: those that come while a transaction is under way go together in the next.

So there is one at a time of each source, whose statements and commit are paid for once, and a few of all sources.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import UUID

from models import copying
from models.copying import Copied, Lost
from models.pages import Row

_TRANSACTIONS = 3  # each takes a connection to PostgreSQL
_MOST_AT_ONCE = 32


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    sync: Row
    copied: Copied
    put: Callable[[], Awaitable[None]]
    end: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Placing:
    """Of one worker. ``turns`` bound the transactions that may be under way."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(_TRANSACTIONS)
        self._lines: dict[int, deque[_Ready]] = {}  # by source
        self._tasks: set[asyncio.Task[None]] = set()

    async def place(self, token: UUID, sync: Row, copied: Copied, put: Callable[[], Awaitable[None]]) -> None:
        """The file is SYNCED then, and where ``put`` has put it. What it raises concerns this file alone.

        Ends with the transaction, even when it is cancelled: the file is in use until then. Raises Lost, what ``put``
        does, and what the database does.
        """
        one = _Ready(sync, copied, put)
        line = self._lines.get(sync["source_id"])
        if line is None:
            line = self._lines[sync["source_id"]] = deque()
            task = asyncio.create_task(self._take(token, sync["source_id"], line))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        line.append(one)
        try:
            await asyncio.shield(one.end)
        except asyncio.CancelledError:
            if one in line:
                line.remove(one)
            elif not one.end.done():
                await asyncio.wait({one.end})
            if one.end.done() and not one.end.cancelled():
                one.end.exception()  # which nobody asks for any more
            raise

    async def _take(self, token: UUID, source_id: int, line: deque[_Ready]) -> None:
        try:
            while line:
                async with self.turns:
                    if group := [line.popleft() for _ in range(min(_MOST_AT_ONCE, len(line)))]:
                        await self._finish(token, group)
        finally:
            del self._lines[source_id]
            for one in line:  # nobody else will
                one.end.cancel()

    async def _finish(self, token: UUID, group: list[_Ready]) -> None:
        failures: dict[int, Exception] = {}
        try:
            async with copying.finishing_all(token, [(one.sync, one.copied) for one in group]) as ours:
                failures = {one.sync["id"]: Lost() for one in group if one.sync["id"] not in ours}
                await asyncio.gather(*(_put(one, failures) for one in group if one.sync["id"] in ours))
                ours.difference_update(failures)
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            failures = {one.sync["id"]: error for one in group} | failures
        except BaseException:
            for one in group:
                one.end.cancel()
            raise
        for one in group:
            if (failure := failures.get(one.sync["id"])) is None:
                one.end.set_result(None)
            else:
                one.end.set_exception(failure)


async def _put(one: _Ready, failures: dict[int, Exception]) -> None:
    try:
        await one.put()
    except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
        failures[one.sync["id"]] = error
