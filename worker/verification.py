"""Reads the bytes of uploads that were too large to be read while somebody waited."""

from models import files
from storage.client import Storage
from storage.proof import Claim, Verdict, prove

_AT_ONCE = 4


async def verify_waiting(storage: Storage) -> int:
    """How many uploads were settled: complete, or given up where the bytes are others than announced."""
    rows = await files.unread(_AT_ONCE)
    claims = [Claim(row["file_bucket"], row["file_key"], row["file_size"], row["file_sha256"]) for row in rows]
    verdicts = await prove(storage, claims, most_read_bytes=sum(claim.size_bytes for claim in claims))
    for row, verdict in zip(rows, verdicts, strict=True):
        if verdict is Verdict.RIGHT:
            await files.settle(row["tenant_id"], [row["file_pk"]])
        else:
            await files.give_up([row["file_pk"]])
    return len(rows)
