"""All background work, in one process or in several at once: each piece is taken by one of them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from prometheus_client import Counter

from models import answers, files, jobs
from models.errors import StorageUnavailable
from storage.client import KEYS_PER_DELETE, Storage
from worker import looks
from worker.deletions import delete_due
from worker.failures import note
from worker.verification import VERIFIED_AT_ONCE, verify_waiting

_ROWS = 1_000

_log = logging.getLogger(__name__)
_failures = Counter("waybill_work_failures_total", "background work that failed and is tried again")


class Kind(NamedTuple):
    """``batch`` does some of what is due and says how much; as much as ``most`` means that there may be more."""

    name: str
    batch: Callable[[Storage], Awaitable[int]]
    most: int


KINDS = (
    Kind(jobs.VERIFY, verify_waiting, VERIFIED_AT_ONCE),
    Kind("verify large", lambda storage: verify_waiting(storage, large=True), VERIFIED_AT_ONCE),
    Kind("look", looks.look, looks.LOOKED_AT_ONCE),
    Kind(jobs.DELETE, delete_due, KEYS_PER_DELETE),
    Kind("forget", lambda _: files.forget(_ROWS), _ROWS),
    Kind("forget answers", lambda _: answers.forget(_ROWS), _ROWS),
    Kind("forget jobs", lambda _: jobs.forget(_ROWS), _ROWS),
)


async def drain(storage: Storage, more: Sequence[Kind] = ()) -> None:
    """Until nothing is left that is due now. Raises Unavailable, StorageUnavailable where something is left.

    The kinds are done at once, and what fails of one keeps no other waiting.
    """
    errors: list[Exception] = []

    async def all_of(kind: Kind) -> bool:
        """Whether anything was done."""
        done = False
        while True:
            try:
                if not await kind.batch(storage):
                    return done
            except StorageUnavailable as error:  # what it was about is due later: there may be more
                errors.append(error)
            except Exception as error:  # noqa: BLE001 - whoever called says what it is
                errors.append(error)
                return False
            else:
                done = True

    await jobs.clear()
    while any(await asyncio.gather(*map(all_of, (*KINDS, *more)))):
        pass
    for error in errors:
        raise error


class Work:
    """One kind of work, as long as any is due, done by one task of the process at a time."""

    def __init__(self, kind: Kind, storage: Storage, stopping: asyncio.Event) -> None:
        self.kind = kind
        self._storage = storage
        self._stopping = stopping
        self._asked = False
        self.task: asyncio.Task[object] | None = None  # that does it

    async def do(self) -> None:
        """Returns at once where it is being done already: whoever does it looks once more before the end."""
        self._asked = True
        if self.task is not None:
            return
        self.task = asyncio.current_task()
        try:
            while self._asked and not self._stopping.is_set():
                self._asked = False
                await self._all()
        finally:
            self.task = None

    async def _all(self) -> None:
        while not self._stopping.is_set():
            try:
                done = await self.kind.batch(self._storage)
                if not done:
                    return
                if done >= self.kind.most:
                    await jobs.add(self.kind.name)  # for a worker that has nothing to do
            except Exception as error:  # noqa: BLE001 - the others go on, and it is tried again
                _failures.inc()
                note(_log, f"background work ({self.kind.name})", error)
                if not isinstance(error, StorageUnavailable):  # then what it was about is due later: there may be more
                    return
