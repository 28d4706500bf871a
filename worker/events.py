"""Completes uploads within seconds of their bytes' arrival, where S3 tells of it.

Nothing depends on it: messages that are late, lost, repeated or forged change nothing, as S3 is asked about each key,
and what no message tells of is found by looking (looks.py).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from prometheus_client import Counter

from models import FileState, looks
from models.errors import StorageUnavailable
from storage.client import Storage
from storage.events import Created, EventQueue, Malformed, Message, created
from storage.proof import Verdict, claim_of, prove
from worker.failures import note
from worker.looks import judge

_PAUSE_SECONDS = 5.0  # when the queue, S3 or PostgreSQL does not answer
_SHOWN = 500  # characters of a message in the log

EVENTS = Counter("waybill_s3_events", "Events of S3 that were received, by what became of them.", ["outcome"])
_OUTCOMES = {
    Verdict.RIGHT: "complete",
    Verdict.UNREAD: "verifying",
    Verdict.SIZE_MISMATCH: "wrong",
    Verdict.CHECKSUM_MISMATCH: "wrong",
    Verdict.ABORTED: "wrong",
    Verdict.FILE_MISSING: "missing",
    Verdict.PART_MISMATCH: "missing",
}
_TO_COME = (Verdict.FILE_MISSING, Verdict.PART_MISMATCH)  # of what can still be sent S3 tells when it is there

_log = logging.getLogger(__name__)


@asynccontextmanager
async def consuming(storage: Storage, queue: EventQueue) -> AsyncIterator[None]:
    """Takes messages meanwhile, whatever fails. What is not done at the end comes again."""
    task = asyncio.create_task(_consume(storage, queue))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _consume(storage: Storage, queue: EventQueue) -> None:
    known, redriven = False, False
    while True:
        try:
            if not known:
                known, redriven = True, await queue.has_redrive_policy()
                if not redriven:
                    _log.warning("the queue of S3 events has no redrive policy: what cannot be read is deleted")
            await take(storage, queue, await queue.receive(), redriven=redriven)
        except Exception as error:  # noqa: BLE001 - the next ones may be better
            note(_log, "the queue of S3 events", error)
            await asyncio.sleep(_PAUSE_SECONDS)


async def take(storage: Storage, queue: EventQueue, messages: Sequence[Message], *, redriven: bool) -> None:
    """Do what follows from the messages, and delete them.

    One that cannot be read is left: it comes again, until the queue's redrive policy puts it away. Where there is none
    (``redriven``) it would come for days, so it is deleted. Raises StorageUnavailable and leaves all.
    """
    keys: list[Created] = []
    done: list[Message] = []
    for message in messages:
        try:
            found = created(message.body)
        except Malformed as error:
            EVENTS.labels("malformed").inc()
            _log.error("a message is no event of S3 (%s): %s", error, message.body[:_SHOWN])
            if redriven:
                continue
        else:
            EVENTS.labels("test" if found is None else "ignored").inc(0 if found else 1)
            keys += found or ()
        done.append(message)
    await _finish(storage, keys)
    await queue.delete(done)


async def _finish(storage: Storage, keys: Sequence[Created]) -> None:
    found = await looks.at(sorted(set(keys)))
    rows = [row for row in found if row["file_state"] == FileState.PENDING]
    verdicts = await prove(storage, [claim_of(row) for row in rows], most_read_bytes=0)
    # What is missing stays as it is: a forged event must not even put off when it is looked for.
    if await judge(pair for pair in zip(rows, verdicts, strict=True) if pair[1] not in _TO_COME):
        raise StorageUnavailable
    for verdict in filter(None, verdicts):
        EVENTS.labels(_OUTCOMES[verdict]).inc()
    EVENTS.labels("unknown").inc(len(set(keys)) - len(found))
    EVENTS.labels("repeated").inc(len(keys) - len(set(keys)) + len(found) - len(rows))
