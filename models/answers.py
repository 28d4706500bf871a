"""Answers of mutations that may be asked for again with the same key; sealed by whoever gives them, and kept for a day.

A row is made when the mutation's transaction begins, and has its answer before that is committed, so that whoever sees
a row sees an answer, and a mutation that failed has left nothing.
"""

import asyncio
from datetime import timedelta
from typing import NamedTuple

import asyncpg

from models import database
from models.errors import InProgress

_KEPT = timedelta(days=1)
_WAIT_SECONDS = 5.0


class Place(NamedTuple):
    """Where an answer is: a tenant's (0 for operators), by the hash of all that tells it from others."""

    tenant_id: int
    key_sha256: bytes


class Answer(NamedTuple):
    """What was asked, as a hash, and what was answered to it."""

    request_sha256: bytes
    sealed: bytes


async def find(place: Place) -> Answer | None:
    rows = await database.fetch(
        "SELECT request_sha256, answer FROM idempotent_answers WHERE tenant_id = $1 AND key_sha256 = $2", *place
    )
    return Answer(*rows[0]) if rows else None


async def claim(place: Place, request_sha256: bytes) -> bool:
    """Whether the current transaction may go on; not if another one has answered already.

    Waits for one that is about to. Raises InProgress where that takes longer.
    """
    try:
        async with asyncio.timeout(_WAIT_SECONDS):
            rows = await database.fetch(
                "INSERT INTO idempotent_answers (tenant_id, key_sha256, request_sha256, created_at)"
                " VALUES ($1, $2, $3, now()) ON CONFLICT DO NOTHING RETURNING true",
                *(*place, request_sha256),
            )
    except (TimeoutError, asyncpg.QueryCanceledError):
        raise InProgress(retryAfter=1) from None
    return bool(rows)


async def keep(place: Place, sealed: bytes) -> None:
    """The answer, in the transaction that has claimed the place."""
    await database.execute(
        "UPDATE idempotent_answers SET answer = $3 WHERE tenant_id = $1 AND key_sha256 = $2", *place, sealed
    )


async def forget(most: int) -> int:
    """Of what was answered a day ago; returns how many."""
    return await database.execute(
        "DELETE FROM idempotent_answers WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotent_answers"
        " WHERE created_at < now() - $2::interval ORDER BY created_at LIMIT $1 FOR UPDATE SKIP LOCKED))",
        *(most, _KEPT),
    )
