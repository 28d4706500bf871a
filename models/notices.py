"""Asking for local copies: what another application tells of, or a user, becomes a row, and an object if need be."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from models import database
from models.quotas import refusing


class Notice(NamedTuple):
    """That there is a file. ``oeid`` is the batch, ``ref_id`` the object; the signature is of a signed one."""

    oeid: str
    ref_id: str
    file_name: str
    file_type: str
    signature: bytes | None = None


class Outcome(StrEnum):
    """What became of a notice; only the first changes anything."""

    QUEUED = "QUEUED"
    ALREADY = "ALREADY"  # it is queued, running or synced
    SEALED = "SEALED"  # the batch is sealed, and has no such object
    OTHER_BATCH = "OTHER_BATCH"  # the object is in another batch
    GONE = "GONE"  # the batch or the object was deleted at the same time: to be tried again


class Answer(NamedTuple):
    outcome: Outcome
    sync_id: int | None  # the row's


async def request(tenant_id: int, source_id: int, notices: Sequence[Notice]) -> list[Answer]:
    """In one statement, in the current transaction if there is one. Raises QuotaExceeded, by which none is accepted.

    One that FAILED is queued again. The worker is not woken: ``jobs.add(jobs.SYNC)`` does that, for many at once.
    """
    columns = zip(*notices, strict=True)
    with refusing():
        rows = await database.fetch(
            "SELECT outcome, sync_id FROM syncs_request($1, $2, $3, $4, $5, $6, $7)",
            *(tenant_id, source_id, *map(list, columns)),
        )
    return [Answer(Outcome(row["outcome"]), row["sync_id"]) for row in rows]
