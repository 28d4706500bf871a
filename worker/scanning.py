"""Compares a bucket with the rows, both ways, in pages: whoever goes on with a scan begins where the last one ended."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from prometheus_client import Counter, Gauge

from models import lost, orphans, scans
from models.reaper import ScanStep
from models.scans import Held, Listing, ScanLost
from storage import inventory
from storage.client import Storage
from storage.inventory import Entry
from storage.keys import QUARANTINE, is_ours

_COMPARED = 20_000  # keys in one statement
_FORGOTTEN = 50_000  # rows of a listing in one statement
_ASKED_AT_ONCE = 32

_log = logging.getLogger(__name__)
_scans = Counter("waybill_reaper_scans_total", "Scans of buckets that were finished", ["bucket"])
_found = Gauge("waybill_reaper_orphans", "Keys without a row that the last scan saw, not in quarantine", ["bucket"])
_found_bytes = Gauge("waybill_reaper_orphan_bytes", "Their bytes", ["bucket"])
_lost = Gauge("waybill_reaper_lost_files", "Complete files whose bytes the last scan did not find", ["bucket"])


async def scan(storage: Storage, bucket: str, every: timedelta | None = None) -> bool:
    """Begin or go on with a scan of the bucket; whether it is finished, for nobody else held it.

    With ``every`` no new one begins before so long after the last. Raises StorageUnavailable and what the database
    does; somebody else, or the next call, goes on then.
    """
    await _forget_listings()
    held = await scans.take(bucket, every)
    if held is None:
        return False
    try:
        while held.step is not ScanStep.DONE:
            await _STEPS[held.step](storage, held)
    except ScanLost:
        _log.warning("the scan of bucket %s is somebody else's, or begins anew", bucket)
        return False
    finally:
        if held.step is not ScanStep.DONE:
            await scans.let_go(held)
    await _forget_listings()
    await _tell(bucket)
    return True


async def _list_keys(storage: Storage, held: Held) -> None:
    page = await inventory.objects(storage, held.bucket, held.cursor)
    ours = [one for one in page.entries if is_ours(one.key)]
    quarantined = [one for one in page.entries if _is_quarantined(one.key)]
    bytes_ = sum(one.size for one in page.entries)
    figures = {
        "keys": len(page.entries),
        "bytes": bytes_,
        "quarantine_keys": len(quarantined),
        "quarantine_bytes": sum(one.size for one in quarantined),
        "foreign_keys": len(page.entries) - len(ours) - len(quarantined),
        "foreign_bytes": bytes_ - sum(one.size for one in (*ours, *quarantined)),
    }
    step = ScanStep.MULTIPARTS if page.after is None else ScanStep.KEYS
    await scans.keep(held, _listings(ours), step, page.after or "", figures)


async def _list_multiparts(storage: Storage, held: Held) -> None:
    page = await inventory.multiparts(storage, held.bucket, held.cursor)
    ours = [one for one in page.entries if is_ours(one.key)]
    # Those in the quarantine are the reaper's own copies under way.
    foreign = sum(not is_ours(one.key) and not _is_quarantined(one.key) for one in page.entries)
    step = ScanStep.ROWS if page.after is None else ScanStep.MULTIPARTS
    figures = {"multiparts": len(page.entries), "foreign_multiparts": foreign}
    await scans.keep(held, _listings(ours), step, page.after or "", figures)


def _is_quarantined(key: str) -> bool:
    return key.startswith(QUARANTINE) and is_ours(key.removeprefix(QUARANTINE))


def _listings(entries: Sequence[Entry]) -> list[Listing]:
    return [Listing(one.key, one.multipart_id, one.size, one.etag, one.modified_at) for one in entries]


async def _find_orphans(_: Storage, held: Held) -> None:
    if await orphans.note(held, _COMPARED):
        return
    await orphans.forget_gone(held)
    await scans.go_on(held, ScanStep.FILES)


async def _find_lost(storage: Storage, held: Held) -> None:
    last = await lost.last_of_range(held, _COMPARED)
    suspected = await lost.suspected(held, last)
    for begin in range(0, len(suspected), _ASKED_AT_ONCE):
        some = suspected[begin : begin + _ASKED_AT_ONCE]
        there = await asyncio.gather(*(inventory.found(storage, held.bucket, row["key"]) for row in some))
        await lost.note(
            held,
            [
                (row["id"], None if entry is None else entry.size)
                for row, entry in zip(some, there, strict=True)
                if entry is None or entry.size != row["size_bytes"]
            ],
        )
        await scans.go_on(held, ScanStep.FILES, some[-1]["key"])
    if last is not None:
        await scans.go_on(held, ScanStep.FILES, last)
        return
    await lost.forget_found(held)
    await scans.go_on(held, ScanStep.DONE)


_STEPS: dict[ScanStep, Callable[[Storage, Held], Awaitable[None]]] = {
    ScanStep.KEYS: _list_keys,
    ScanStep.MULTIPARTS: _list_multiparts,
    ScanStep.ROWS: _find_orphans,
    ScanStep.FILES: _find_lost,
}


async def _forget_listings() -> None:
    while await scans.forget_listings(_FORGOTTEN):
        pass
    await scans.forget_old()


async def _tell(bucket: str) -> None:
    """What the scan has found, to whoever watches the log or the metrics."""
    seen = [row for row in await orphans.figures() if (row["bucket"], row["state"]) == (bucket, "SEEN")]
    missing = [row for row in await lost.figures() if row["bucket"] == bucket]
    count, bytes_ = sum(row["count"] for row in seen), sum(row["bytes"] for row in seen)
    files = sum(row["count"] for row in missing)
    _scans.labels(bucket).inc()
    _found.labels(bucket).set(count)
    _found_bytes.labels(bucket).set(bytes_)
    _lost.labels(bucket).set(files)
    _log.info("bucket %s: %d keys or unfinished uploads without a row, %d bytes", bucket, count, bytes_)
    if files:
        _log.error(
            "bucket %s: %d complete files have lost their bytes; `waybill reap --report` names them", bucket, files
        )
