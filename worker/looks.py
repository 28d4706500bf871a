"""Finishes what clients have forgotten: looks whether bytes are there that nobody has said to be."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from models import files, looks
from models.errors import StorageUnavailable
from models.pages import Row
from storage.client import Storage
from storage.proof import Verdict, claim_of, prove

LOOKED_AT_ONCE = 200


async def look(storage: Storage) -> int:
    """How many uploads were looked at: complete then, to be read, given up or waited for. S3 is asked once for each.

    Raises StorageUnavailable where S3 did not say of some, after the others; those are looked at again.
    """
    rows = await looks.due(LOOKED_AT_ONCE)
    verdicts = await prove(storage, [claim_of(row) for row in rows], most_read_bytes=0)
    unsaid = await judge(zip(rows, verdicts, strict=True))
    if unsaid:
        await looks.later(_keys(unsaid))
        raise StorageUnavailable
    return len(rows)


async def judge(found: Iterable[tuple[Row, Verdict | None]]) -> list[Row]:
    """Does what follows from what S3 said of uploads, which have ``tenant_id`` and ``over``; returns the others."""
    by_verdict: defaultdict[Verdict | None, list[Row]] = defaultdict(list)
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
    return by_verdict[None]


def _keys(uploads: Sequence[Row]) -> list[int]:
    return [row["file_pk"] for row in uploads]
