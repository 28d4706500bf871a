"""Asking for local copies: what another application tells of, or a user, becomes a row, and an object if need be."""

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from models import database, grants, ids, writes
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
        shown = f'"{unfit[0]}"' if unfit[0].isprintable() else f"U+{ord(unfit[0]):04X}"
        return f"must not contain {shown}"
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


async def request_as(
    tenant_id: int, user_id: int, source_id: int, new_batches: Sequence[str], wanted: Sequence[Notice]
) -> list[Answer]:
    """As ``request``, in a transaction; the batches (ids) and objects that it makes are the user's.

    ``new_batches`` are those of the notices that were not there a moment ago.
    """
    async with database.transaction():
        if new_batches:
            await writes.create_batches(tenant_id, user_id, new_batches)
        answers = await request(tenant_id, source_id, wanted)
        keys = [one.sync_id for one in answers if one.outcome is Outcome.QUEUED]
        rows = await database.fetch(
            "SELECT id, batch_pk, object_pk, queued_at FROM syncs WHERE tenant_id = $1 AND id = ANY($2::bigint[])",
            *(tenant_id, keys),
        )
        made: dict[int, list[int]] = {}
        for row in rows:
            # Of the very call that queued the copy; one that had failed was made by an earlier one.
            is_new = ids.created_at(row["id"]) == row["queued_at"]
            if is_new and ids.call_of(row["object_pk"]) == ids.call_of(row["id"]):
                made.setdefault(row["batch_pk"], []).append(row["object_pk"])
        for batch_pk in sorted(made):
            await grants.give_creator(tenant_id, user_id, batch_pk, list(dict.fromkeys(made[batch_pk])))
        return answers
