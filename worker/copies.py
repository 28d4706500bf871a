"""Local copies as they come up: taken as there are slots for them, kept while they go on, settled when they end."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from uuid import uuid4

import orjson
from prometheus_client import Counter, Gauge

from models import copying, faults, jobs
from models.copying import Lost
from models.pages import Row
from storage.locations import Misconfigured, Trouble
from worker.attempts import MOST_ATTEMPTS, DiskFull, Fault, again
from worker.copier import DELETED_AT_ONCE, Copier
from worker.drift import Checker
from worker.failures import note
from worker.root import Unusable
from worker.work import Kind

_SLOTS = 64
_MANY = 8  # of which another worker may want some
_LOOK_SECONDS = 10.0
_KEEP_SECONDS = 10.0  # a third of a lease
_RESTING_SECONDS = 30.0  # after a source was found to be wrongly configured
_PAUSE_SECONDS = 1.0  # after a failure, as of the database
_DELETE_SECONDS = 60.0
_STOP_SECONDS = 5.0
_SWEEP_SECONDS = 3600.0

_log = logging.getLogger(__name__)
_outcomes = Counter("waybill_copies_total", "files that were taken to be copied, by what became of them", ["outcome"])
_running = Gauge("waybill_copies_running", "files that this process copies")
_oldest = Gauge("waybill_copies_oldest_seconds", "how long the file has waited that waits longest, of all sources")
_stopped = Gauge("waybill_copies_stopped", "1 while nothing can be copied to directories")


class _Slot(NamedTuple):
    sync: Row
    task: asyncio.Task[None]
    to_directory: bool


class Copies:
    """Those that one process makes. Any number of processes share the work."""

    def __init__(self, copier: Copier, checker: Checker) -> None:
        self._copier = copier
        self._checker = checker
        self._token = uuid4()
        self._slots: dict[int, _Slot] = {}
        self._resting: dict[int, float] = {}  # until when, by source
        self._woken = asyncio.Event()
        self._ending = False
        self._checked_at = self._swept_at = -math.inf
        self._full_until = -math.inf
        self.problem = ""  # why nothing is copied to directories; none without a root

    def kinds(self, *, drained: bool = False) -> Sequence[Kind]:
        """For the queue: a job wakes who is ``working``; or for what is to be ``drained`` without that."""
        copier = self._copier
        return (
            Kind(jobs.SYNC, lambda _: self.drain() if drained else self._wake(), _SLOTS),
            Kind(jobs.DELETE_COPIES, lambda _: copier.delete_due(), DELETED_AT_ONCE),
            Kind(jobs.DRIFT, lambda _: self._checker.check_due(), 1),
        )

    async def _wake(self) -> int:
        self._woken.set()
        return 0

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Meanwhile. What is under way at the end is finished within seconds, or put back for others."""
        looking, *others = (
            asyncio.create_task(work) for work in (self._look_again(), self._keep(), self._delete_again())
        )
        try:
            yield
        finally:
            self._ending = True
            self._woken.set()
            # Not cancelled at once: what is just being taken would be nobody's until its lease is over.
            await asyncio.wait([looking], timeout=_STOP_SECONDS)
            await self._stop(_STOP_SECONDS)
            for task in (looking, *others):
                task.cancel()
            await asyncio.wait([looking, *others])

    async def drain(self) -> int:
        """Until nothing is left that is due now; how much there was."""
        keeping, taken = asyncio.create_task(self._keep()), 0
        try:
            await self._check_root()
            while (some := await self._take()) or self._slots:
                taken += some
                if self._slots:
                    await asyncio.wait([slot.task for slot in self._slots.values()], return_when="FIRST_COMPLETED")
        finally:
            keeping.cancel()
            await self._stop(0)
        return taken

    async def _look_again(self) -> None:
        while not self._ending:
            self._woken.clear()
            try:
                if time.monotonic() - self._checked_at >= _LOOK_SECONDS:
                    self._checked_at = time.monotonic()
                    await self._check_root()
                    await self._tell()
                    await self._copier.places.close_idle()
                await self._take()
            except Exception as error:  # noqa: BLE001 - nothing may end the work
                note(_log, "the copying of files", error)
                await asyncio.sleep(_PAUSE_SECONDS)  # whatever wakes it would do so again
            if not self._ending:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._woken.wait(), _LOOK_SECONDS)

    async def _delete_again(self) -> None:
        """What no job has told of, or told a worker that has not this root."""
        while True:
            try:
                while await self._copier.delete_due():
                    pass
            except Exception as error:  # noqa: BLE001 - nothing may end the work
                note(_log, "the deletion of copies", error)
            await asyncio.sleep(_DELETE_SECONDS)

    async def _check_root(self) -> None:
        root, run = self._copier.root, self._copier.transfers.threads.run
        if root is None:
            return
        try:
            if self._full_until > time.monotonic():  # a quota, of which the file system does not tell
                raise Unusable(f"the disk of {root.path} is full")  # noqa: TRY301
            await run(root.check)
        except Unusable as error:
            if not self.problem:
                _log.error("nothing is copied to directories, and it is looked at again: %s", error)
            self.problem = str(error)
            await self._put_back([key for key, slot in self._slots.items() if slot.to_directory])
        else:
            if self.problem:
                _log.info("files are copied to directories again")
            self.problem = ""
            if time.monotonic() - self._swept_at >= _SWEEP_SECONDS:
                self._swept_at = time.monotonic()
                if removed := await run(root.sweep):
                    _log.info("%d temporary files were removed that nobody has gone on with", removed)
        _stopped.set(bool(self.problem))

    async def _tell(self) -> None:
        age = await copying.oldest_age()
        _oldest.set(age.total_seconds() if age else 0)

    async def _take(self) -> int:
        """How many more are copied now."""
        free = _SLOTS - len(self._slots)
        if free <= 0:
            return 0
        now = time.monotonic()
        self._resting = {source: until for source, until in self._resting.items() if until > now}
        rows = await copying.take(
            self._token,
            free,
            here=[slot.sync["source_id"] for slot in self._slots.values()],
            resting=list(self._resting),
            directories=self._copier.root is not None and not self.problem,
        )
        for row in rows:
            task = asyncio.create_task(self._copy(row))
            self._slots[row["id"]] = _Slot(row, task, "directory" in orjson.loads(row["destination"]))
        _running.set(len(self._slots))
        if len(rows) >= _MANY:
            await jobs.add(jobs.SYNC)  # for a worker that has slots left
        return len(rows)

    async def _copy(self, sync: Row) -> None:
        """One slot's task. A cancelled one is somebody else's, or is put back by whoever cancels it."""
        try:
            if sync["attempts"] > MOST_ATTEMPTS:  # nobody has said how the last one ended
                raise Fault("its workers ended")  # noqa: TRY301 - settled as the others are
            await self._copier.copy(self._token, sync)
            self._ended("synced")
        except Lost:
            self._ended("lost")
        except Trouble as error:
            await self._settle(sync, error)
        except Exception as error:  # noqa: BLE001 - the others go on
            if faults.translate(error) is not None:
                note(_log, f"the copy of {_named(sync)}", error)  # its lease ends, and another takes it
                self._ended("lost")
            else:
                _log.exception("the copy of %s failed", _named(sync))
                await self._settle(sync, Fault())
        finally:
            self._slots.pop(sync["id"], None)
            _running.set(len(self._slots))
            self._woken.set()

    async def _settle(self, sync: Row, error: Trouble) -> None:
        verdict = again(error, sync["attempts"], sync["age"])
        if isinstance(error, Misconfigured):
            if sync["source_id"] not in self._resting:
                _log.error("source %s.%s rests: %s", sync["tenant_slug"], sync["source"], error)
            self._resting[sync["source_id"]] = time.monotonic() + _RESTING_SECONDS
        try:
            if verdict is None:
                await copying.fail(self._token, sync["id"], error.code, str(error))
                _log.error("the copy of %s failed for good: %s: %s", _named(sync), error.code, error)
                self._ended("failed")
                return
            await copying.again(
                *(self._token, sync["id"], verdict.after, error.code, str(error)), counted=verdict.counted
            )
        except Exception as failure:  # noqa: BLE001 - its lease ends, and another takes it
            note(_log, f"the copy of {_named(sync)}", failure)
            self._ended("lost")
            return
        seconds = verdict.after.total_seconds()
        _log.info("the copy of %s is tried again in %.1f s: %s: %s", _named(sync), seconds, error.code, error)
        self._ended("again")
        if isinstance(error, DiskFull):
            self._full_until, self._checked_at = time.monotonic() + _LOOK_SECONDS / 2, -math.inf  # looked at next

    async def _keep(self) -> None:
        """Says that all goes on. What is somebody else's meanwhile is given up."""
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            try:
                held = list(self._slots)
                ours = await copying.going_on(self._token, held)
                for key in set(held) - ours:
                    if key in self._slots:
                        self._slots[key].task.cancel()
                        self._ended("lost")
            except Exception as error:  # noqa: BLE001 - nothing may end the work
                note(_log, "the keeping of files that are copied", error)

    async def _stop(self, seconds: float) -> None:
        if self._slots:
            await asyncio.wait([slot.task for slot in self._slots.values()], timeout=seconds)
        await self._put_back(list(self._slots))

    async def _put_back(self, keys: Sequence[int]) -> None:
        """Another goes on with them, where these have come."""
        if not keys:
            return
        tasks = [self._slots[key].task for key in keys]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        try:
            await copying.put_back(self._token, keys)
        except Exception as error:  # noqa: BLE001 - their leases end
            note(_log, "the putting back of files that were copied", error)
        for _ in keys:
            self._ended("put_back")

    def _ended(self, outcome: str) -> None:
        _outcomes.labels(outcome).inc()


def _named(sync: Row) -> str:
    return f"{sync['batch_id']!r}/{sync['object_id']!r}/{sync['file_name']!r} of {sync['tenant_slug']}.{sync['source']}"
