"""Moves bytes that no row knows out of the way, deletes them after a while, and brings them back when asked.

The intent is written first, S3 is asked before each step and believed, and each step can be done twice: whoever dies
anywhere leaves something that the next round finishes.
"""

import asyncio
import logging
from datetime import timedelta

from prometheus_client import Counter

from models import orphans
from models.errors import Conflict, NotFound, StorageUnavailable
from models.pages import Row
from models.reaper import OrphanState
from storage import inventory
from storage.client import Storage
from storage.inventory import Entry
from storage.keys import QUARANTINE

_AT_ONCE = 16

_log = logging.getLogger(__name__)
_done = Counter("waybill_reaped_total", "Keys without a row by what was done with them", ["state"])


async def act(storage: Storage, window: timedelta) -> int:
    """Quarantine what was seen long enough, and delete what was in quarantine for longer than ``window``; how many.

    Raises StorageUnavailable where something could not be done, after the rest; it is tried again later.
    """
    await orphans.bring_back_known()
    done, failure = 0, None
    while claimed := await orphans.claim(_AT_ONCE, window):
        outcomes = await asyncio.gather(*(_settle(storage, orphan) for orphan in claimed), return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for error in failures:
            if not isinstance(error, StorageUnavailable | Conflict):
                raise error
            failure = error
        done += len(claimed) - len(failures)
        if len(failures) == len(claimed):  # S3 is away, for all that anybody knows
            break
    if failure is not None:
        raise failure
    return done


async def restore(storage: Storage, key: str) -> int:
    """Bring back from quarantine what had the key, in each bucket; how many. It is never taken again.

    Raises NotFound where there is none, and Conflict where something else has its place, or nothing is left.
    """
    claimed = await orphans.restore(key)
    if not claimed:
        raise NotFound(f"{key} is not in quarantine")
    for orphan in claimed:
        await _settle(storage, orphan)
    return len(claimed)


async def _settle(storage: Storage, orphan: Row) -> None:
    """What an orphan's state says is to be done; it is tried again later where that raises."""
    try:
        match OrphanState(orphan["state"]):
            case OrphanState.QUARANTINING:
                await _quarantine(storage, orphan)
            case OrphanState.RESTORING:
                await _restore(storage, orphan)
            case OrphanState.DELETING if orphan["multipart_id"]:
                await _abort(storage, orphan)
            case OrphanState.DELETING:
                await _delete(storage, orphan)
    except (StorageUnavailable, Conflict) as error:
        await orphans.later(orphan, error.code)
        raise


async def _quarantine(storage: Storage, orphan: Row) -> None:
    bucket, seen, place = orphan["bucket"], _as_seen(orphan), QUARANTINE + orphan["key"]
    there = await inventory.found(storage, bucket, seen.key)
    if there is None:
        copied = await inventory.found(storage, bucket, place)
        if copied is not None and copied.size == seen.size:  # whoever began this had only to say so
            await _became(orphan, OrphanState.QUARANTINED)
        else:
            await orphans.forget(orphan)
        return
    if (
        there == seen
        and await inventory.copy(storage, bucket, seen, place, lambda: orphans.hold(orphan))
        and await orphans.is_still_unknown(orphan)
        and await inventory.delete(storage, bucket, seen)
    ):
        await _became(orphan, OrphanState.QUARANTINED)
        return
    # It is somebody's, or is something else than what was seen twice: it stays where it is.
    await _remove(storage, bucket, place)
    await orphans.forget(orphan)


async def _restore(storage: Storage, orphan: Row) -> None:
    bucket, key, place = orphan["bucket"], orphan["key"], QUARANTINE + orphan["key"]
    kept, there = await inventory.found(storage, bucket, place), await inventory.found(storage, bucket, key)
    if there is not None and (there.size != orphan["size_bytes"] or (kept and _differ(kept, there))):
        raise Conflict(f"there is something else at {key} now, which stays: what is in quarantine is at {place}")
    if kept is None and there is None:
        raise Conflict(f"{key} is not in quarantine any more: somebody else has deleted it")
    if kept is not None:
        if there is None and not await inventory.copy(storage, bucket, kept, key, lambda: orphans.hold(orphan)):
            raise StorageUnavailable
        await inventory.delete(storage, bucket, kept)
    await _became(orphan, OrphanState.RESTORED)


async def _delete(storage: Storage, orphan: Row) -> None:
    await _remove(storage, orphan["bucket"], QUARANTINE + orphan["key"])
    await _became(orphan, OrphanState.DELETED)


async def _abort(storage: Storage, orphan: Row) -> None:
    """The id of an upload in parts is never another's: there is nothing to compare."""
    if await orphans.is_still_unknown(orphan):
        await inventory.abort(storage, orphan["bucket"], orphan["key"], orphan["multipart_id"])
        await _became(orphan, OrphanState.DELETED)
    else:
        await orphans.forget(orphan)


async def _remove(storage: Storage, bucket: str, key: str) -> None:
    if errors := await storage.delete_many(bucket, [key]):
        _log.error("%s of bucket %s cannot be deleted and is tried again: %s", key, bucket, errors[key])
        raise StorageUnavailable


async def _became(orphan: Row, state: OrphanState) -> None:
    await orphans.became(orphan, state)
    _done.labels(state.value).inc()
    _log.info("%s of bucket %s, which no row knows: %s", orphan["key"], orphan["bucket"], state.value)


def _differ(one: Entry, other: Entry) -> bool:
    """An ETag of parts says nothing: the same bytes in other parts have another."""
    return one.etag != other.etag and "-" not in one.etag + other.etag


def _as_seen(orphan: Row) -> Entry:
    return Entry(orphan["key"], orphan["size_bytes"], orphan["etag"], orphan["modified_at"])
