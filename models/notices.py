"""Asking for local copies: what another application tells of, or a user, becomes a row, and an object if need be."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from models import database
from models.media_types import is_media_type
from models.quotas import refusing

_MOST_NAME_BYTES = 255  # which file systems and the parts of S3's keys have at most
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff/\\\\]")  # controls, half characters, what separates


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


def problems(notice: Notice) -> dict[str, str]:
    """What is wrong with it, by its field, as the rest of a sentence about that; empty if nothing is."""
    names = {"oeid": notice.oeid, "ref_id": notice.ref_id, "file_name": notice.file_name}
    found = {field: problem for field, name in names.items() if (problem := _of_name(name)) is not None}
    if not is_media_type(notice.file_type):
        found["file_type"] = 'must be like "image/jpeg" or "text/plain; charset=utf-8"'
    return found


def _of_name(name: str) -> str | None:
    """Of what becomes one part of a path, and of a key in S3."""
    if not name:
        return "must not be empty"
    if name in (".", ".."):
        return f'must not be "{name}"'
    if unfit := _UNFIT.search(name):
        return f"must not contain U+{ord(unfit[0]):04X}"
    if (count := len(name.encode())) > _MOST_NAME_BYTES:
        return f"has {count} bytes in UTF-8; at most {_MOST_NAME_BYTES} are allowed"
    return None


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
