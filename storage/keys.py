"""Where an object's bytes go. The key is ours and says nothing about the file; its name and type are data."""

import secrets
from collections.abc import Sequence
from uuid import UUID


def new_key(tenant: str, upload: UUID) -> str:
    """``<16 hex digits, uniform>/<tenant>/<upload>``: never reused, as each upload has an id of its own.

    S3 splits its partitions by prefix, so a uniform one spreads the load, and makes keys impossible to guess.
    """
    return f"{secrets.token_hex(8)}/{tenant}/{upload}"


def bucket_of(key: str, buckets: Sequence[str]) -> str:
    """One of the buckets, each equally likely. The row remembers it: more buckets later change the choice."""
    return buckets[int(key[:16], 16) % len(buckets)]
