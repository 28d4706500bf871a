"""Finishes what clients have forgotten: looks whether bytes are there that nobody has said to be."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

from models import files, looks
from models.errors import StorageUnavailable
from models.pages import Row
from storage.client import Storage
from storage.proof import Verdict, claim_of, prove

LOOKED_AT_ONCE = 200

_bucket = itemgetter("file_bucket")


async def look(storage: Storage) -> int:
    """How many uploads were looked at: complete then, to be read, given up or waited for. S3 is asked once for each.

    Raises StorageUnavailable where S3 did not say, after the uploads of other buckets; those are looked at again.
    """
    rows = sorted(await looks.due(LOOKED_AT_ONCE), key=_bucket)
    away: StorageUnavailable | None = None
    for _, group in groupby(rows, key=_bucket):
        uploads = list(group)
        try:
            verdicts = await prove(storage, [claim_of(row) for row in uploads], most_read_bytes=0)
        except StorageUnavailable as error:
            away = error
            await looks.later(_keys(uploads))
        else:
            await judge(zip(uploads, verdicts, strict=True))
    if away:
        raise away
    return len(rows)


async def judge(found: Iterable[tuple[Row, Verdict]]) -> None:
    """What follows from what S3 said of uploads, which have ``tenant_id`` and ``over``."""
    by_verdict: defaultdict[Verdict, list[Row]] = defaultdict(list)
    for row, verdict in found:
        by_verdict[verdict].append(row)
    there = [*by_verdict[Verdict.RIGHT], *by_verdict[Verdict.UNREAD]]
    for tenant_id in sorted({row["tenant_id"] for row in there}):
        right, unread = (
            _keys([row for row in by_verdict[verdict] if row["tenant_id"] == tenant_id])
            for verdict in (Verdict.RIGHT, Verdict.UNREAD)
        )
        await files.settle(tenant_id, right, unread)
    for problem in (Verdict.SIZE_MISMATCH, Verdict.CHECKSUM_MISMATCH, Verdict.ABORTED):
        await files.give_up(_keys(by_verdict[problem]), problem)
    missing = [*by_verdict[Verdict.FILE_MISSING], *by_verdict[Verdict.PART_MISMATCH]]  # which can be sent, or again
    await files.give_up(_keys([row for row in missing if row["over"]]), None)
    await looks.again(_keys([row for row in missing if not row["over"]]))


def _keys(uploads: Sequence[Row]) -> list[int]:
    return [row["file_pk"] for row in uploads]
