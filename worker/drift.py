"""Compares the copies of a source with their rows and with its bucket, all in pages, and has repaired what can be.

What is copied or deleted meanwhile is no drift: of rows only those count that were SYNCED when it was begun and still
are, and what seems to be lost is looked at once more.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from mimetypes import guess_type
from typing import TypeVar

from models import DriftKind, drifting, jobs, notices
from models.drifting import HELD, Entry, Held, Listed, ReportLost
from models.errors import QuotaExceeded
from models.locations import Location
from models.notices import Notice, Outcome
from models.pages import Row
from storage.locations import Trouble
from storage.places import Found, Place, opened
from worker.copier import Copier
from worker.drift_report import Item, Report
from worker.failures import note
from worker.shelves import Shelf, shelf

_ROWS = 2_000
_LOOKED_AT_ONCE = 4
_KEEP_SECONDS = HELD.total_seconds() / 4
_LONGEST_PATH = 1_000  # bytes: no copy's is longer, nor would an index take it
_UNKNOWN_TYPE = "application/octet-stream"

_T = TypeVar("_T")

# What is queued by a repair, beside files that nobody has told of.
_QUEUED = {DriftKind.MISSING, DriftKind.DAMAGED, DriftKind.CHANGED}

_log = logging.getLogger(__name__)


def _nobody(_: Item) -> None:
    pass


class _QuotaExceeded(Trouble):
    """The tenant's quota of objects does not allow for all files that nobody has told of."""

    code = QuotaExceeded.code


@dataclass(frozen=True, slots=True)
class Checker:
    """``max_id_characters`` is how long ids may be that come from keys."""

    copier: Copier
    max_id_characters: int

    async def check_due(self) -> int:
        """Make a report that somebody has asked for, or clear away some of what broken off ones have left; how much."""
        held = await drifting.take_asked(directories=self.copier.root is not None)
        if held is None:
            return await drifting.forget_broken_off()
        try:
            await self.check(held)
        except ReportLost:
            _log.warning("a drift report is somebody else's, or begins anew")
        return 1

    async def check(self, held: Held, tell: Callable[[Item], object] = _nobody) -> Report:
        """The report, which is kept then. One that S3 or the disk did not allow to be whole says why.

        Raises ReportLost and what the database does; whoever takes it then begins anew.
        """
        report = Report(held, tell)
        try:
            async with _kept(held):
                try:
                    await self._compare(held, report)
                except Trouble as trouble:
                    report.failed(trouble)
                if report.queued:
                    await jobs.add(jobs.SYNC)
                await drifting.finish(held, report.whole())
        finally:
            await drifting.let_go(held)
        report.log()
        return report

    async def _compare(self, held: Held, report: Report) -> None:
        origin, destination = self.copier.between(held.source)
        async with (
            opened(self.copier.places, origin, held.source["tenant_slug"]) as bucket,
            shelf(self.copier, held, destination) as copies,
        ):
            await drifting.begin(held)
            await self._list_keys(held, report, origin, bucket)
            await _list_copies(held, report, copies)
            await _compare_rows(held, report, origin, copies)

    async def _list_keys(self, held: Held, report: Report, origin: Location, bucket: Place) -> None:
        names = origin.names()
        async for page in bucket.listing(origin.common):
            if names is None:
                await drifting.add(held, Listed.KEY, [_entry(one) for one in page if _is_possible(one.key)])
            else:
                files = {one: file for one in page if (file := names.of(one.key)) and _is_possible(one.key)}
                await drifting.add(held, Listed.KEY, [_entry(one) for one in files])
                await self._note_unknown(held, report, {one.key: file for one, file in files.items()})
            await drifting.go_on(held)

    async def _note_unknown(self, held: Held, report: Report, files: dict[str, tuple[str, str, str]]) -> None:
        possible = {key: told for key, file in files.items() if (told := self._notice(*file)) is not None}
        if not possible:
            return
        listed = list(possible.items())
        unknown = [listed[place] for place in await drifting.untold(held, [told[:3] for told in possible.values()])]
        for key, told in unknown:
            report.add(Item(DriftKind.UNKNOWN, None, key, told.oeid, told.ref_id, told.file_name))
        if unknown and held.repair and report.problem is None:
            wanted = [told for _, told in unknown]
            try:
                answers = await notices.request(*held.of, wanted)
            except QuotaExceeded:
                report.failed(_QuotaExceeded())
            else:
                report.queued += sum(one.outcome is Outcome.QUEUED for one in answers)

    def _notice(self, oeid: str, ref_id: str, file_name: str) -> Notice | None:
        """What nobody could tell of is nothing to be told of."""
        told = Notice(oeid, ref_id, file_name, guess_type(file_name)[0] or _UNKNOWN_TYPE)
        fits = max(len(oeid), len(ref_id)) <= self.max_id_characters and not notices.problems(told)
        return told if fits else None


async def _list_copies(held: Held, report: Report, copies: Shelf) -> None:
    async with aclosing(copies.pages()) as pages:
        async for page in pages:
            possible = [one for one in page if _is_possible(one.name)]
            await drifting.add(held, Listed.COPY, possible)
            strangers = set(await drifting.strangers(held, [one.name for one in possible]))
            for one in page:
                # One that was a copy may have been deleted in the meantime, with its row.
                is_stranger = one.name in strangers or not _is_possible(one.name)
                if is_stranger and await copies.size(one.name) is not None:
                    report.add(Item(DriftKind.EXTRA, _shown(one.name)))
            await drifting.go_on(held)


async def _compare_rows(held: Held, report: Report, origin: Location, copies: Shelf) -> None:
    turns, after = asyncio.Semaphore(_LOOKED_AT_ONCE), (0, "")

    async def judged(row: Row) -> DriftKind | None:
        if row["copy_size"] != row["size_bytes"] or held.verify:
            async with turns:
                if (found := await _lost(row, copies, verify=held.verify)) is not None:
                    return found
        if row["key_size"] is None:
            return DriftKind.GONE
        is_other = row["key_etag"] != row["etag"] and row["key_etag"] and row["etag"]
        return DriftKind.CHANGED if is_other or row["key_size"] != row["size_bytes"] else None

    while rows := await drifting.compared(held, origin.prefix, after, _ROWS):
        settled = [row for row in rows if row["is_settled"]]
        kinds = await _all([judged(row) for row in settled])
        await drifting.go_on(held)  # before anything is made of it
        report.copies += len(settled)
        drifted = [(row, kind) for row, kind in zip(settled, kinds, strict=True) if kind is not None]
        for row, kind in drifted:
            key = origin.key(row["batch_id"], row["object_id"], row["file_name"])
            report.add(Item(kind, row["path"], key, row["batch_id"], row["object_id"], row["file_name"]))
        if held.repair:
            report.queued += await drifting.queue(held, [row["id"] for row, kind in drifted if kind in _QUEUED])
        after = rows[-1]["object_pk"], rows[-1]["file_name"]


async def _all(works: Sequence[Coroutine[object, object, _T]]) -> list[_T]:
    """All at once, none of which goes on when one has failed."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _lost(row: Row, copies: Shelf, *, verify: bool) -> DriftKind | None:
    size = await copies.size(row["path"])
    digest = await copies.sha256(row["path"]) if verify and size == row["size_bytes"] else row["sha256"]
    if size is None or digest is None:
        return DriftKind.MISSING
    return None if (size, digest) == (row["size_bytes"], row["sha256"]) else DriftKind.DAMAGED


@asynccontextmanager
async def _kept(held: Held) -> AsyncIterator[None]:
    """To read what was copied may take hours."""

    async def keep() -> None:
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            try:
                await drifting.keep(held)
            except Exception as error:  # noqa: BLE001 - at worst somebody else begins anew
                note(_log, "the keeping of a drift report", error)

    keeping = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeping.cancel()


def _entry(one: Found) -> Entry:
    return Entry(one.key, one.size, one.etag)


def _is_possible(name: str) -> bool:
    """Whether a row could have it; others PostgreSQL does not take."""
    try:
        return len(name.encode()) <= _LONGEST_PATH and "\0" not in name
    except UnicodeEncodeError:
        return False


def _shown(path: str) -> str:
    return path.encode(errors="surrogateescape").decode(errors="backslashreplace")
