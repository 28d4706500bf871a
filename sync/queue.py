"""Notices on their way into the database: those that come while a transaction is under way go together in the next one.

So there is one at a time of each source and process, whose commit all wait for; and one that would fail alone, for a
quota, fails alone.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any, NamedTuple

from models import faults, jobs, notices
from models.errors import Conflict, Unavailable
from models.notices import Notice, Outcome
from models.trace import RequestTrace, current

MOST_AT_ONCE = 100  # which take some 30 ms
MOST_WAITING = 1_000  # of a source, which take some 300 ms
WAKE_SECONDS = 0.1
_TRIES = 3

_log = logging.getLogger(__name__)


class Crowded(Unavailable):
    """Too many notices are waiting: send it again in a moment."""


class DeletedMeanwhile(Conflict):
    """The batch or the object is being deleted: send it again in a moment."""


class _Waiting(NamedTuple):
    notice: Notice
    outcome: asyncio.Future[Outcome]


class Queue:
    """Of one process. ``close`` it before the database goes."""

    def __init__(self) -> None:
        self._lines: dict[int, deque[_Waiting]] = {}  # by source
        self._tasks: set[asyncio.Task[None]] = set()
        self._waking: asyncio.Task[None] | None = None
        self._woken = 0.0

    async def request(self, tenant_id: int, source_id: int, notice: Notice) -> Outcome:
        """What became of it, committed; never GONE. Where that is cancelled, it may be queued nevertheless.

        Raises Crowded, DeletedMeanwhile, QuotaExceeded and what the database raises.
        """
        for _ in range(_TRIES):
            outcome = await self._in_line(tenant_id, source_id, notice)
            if outcome is not Outcome.GONE:
                return outcome
        raise DeletedMeanwhile

    async def close(self) -> None:
        """Waits for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _in_line(self, tenant_id: int, source_id: int, notice: Notice) -> Outcome:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        line = self._lines.get(source_id)
        if line is None:
            line = self._lines[source_id] = deque()
            self._start(self._take(line, tenant_id, source_id), _context_of(tenant_id))
        elif len(line) >= MOST_WAITING:
            raise Crowded
        line.append(_Waiting(notice, outcome))
        return await outcome

    async def _take(self, line: deque[_Waiting], tenant_id: int, source_id: int) -> None:
        try:
            while line:
                group = [line.popleft() for _ in range(min(MOST_AT_ONCE, len(line)))]
                await self._commit(tenant_id, source_id, group)
        finally:
            del self._lines[source_id]
            for one in line:  # nobody else will
                one.outcome.cancel()

    async def _commit(self, tenant_id: int, source_id: int, group: list[_Waiting]) -> None:
        try:
            answers = await notices.request(tenant_id, source_id, [one.notice for one in group])
        except Exception as error:  # noqa: BLE001 - it is raised where it is waited for
            if len(group) > 1 and not isinstance(faults.translate(error), Unavailable):
                for one in group:
                    await self._commit(tenant_id, source_id, [one])
                return
            for one in group:
                if not one.outcome.done():
                    one.outcome.set_exception(error)
            return
        except BaseException:
            for one in group:
                one.outcome.cancel()
            raise
        for one, answer in zip(group, answers, strict=True):
            if not one.outcome.done():
                one.outcome.set_result(answer.outcome)
        if self._waking is None and any(answer.outcome is Outcome.QUEUED for answer in answers):
            self._waking = self._start(self._wake(), _context_of(None))

    async def _wake(self) -> None:
        """The worker, seldom: notifications make commits wait for one another."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._woken + WAKE_SECONDS - loop.time())
        self._waking, self._woken = None, loop.time()
        try:
            await jobs.add(jobs.SYNC)
        except Exception as error:
            if faults.translate(error) is None:
                raise
            _log.warning("the worker was not woken, and looks by itself later", extra={"cause": repr(error)})

    def _start(self, work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
        task = asyncio.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _context_of(tenant_id: int | None) -> Context:
    """Of no request: what is done is many requests'. A tenant takes its turns at the database with all its sources."""
    context = copy_context()
    context.run(current.set, RequestTrace(secrets.token_hex(8), tenant_id=tenant_id))
    return context
