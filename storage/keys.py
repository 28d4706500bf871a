"""Where an object's bytes go. The key is ours and says nothing about the file; its name and type are data."""

import re
import secrets
from collections.abc import Sequence
from uuid import UUID

QUARANTINE = "quarantine/"  # before the keys of bytes that no row knows, until they are deleted for good
_OURS = re.compile(r"[0-9a-f]{16}/[a-z0-9][a-z0-9-]{0,62}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def new_key(tenant: str, upload: UUID) -> str:
    """``<16 hex digits, uniform>/<tenant>/<upload>``: never reused, as each upload has an id of its own.

    S3 splits its partitions by prefix, so a uniform one spreads the load, and makes keys impossible to guess.
    """
    return f"{secrets.token_hex(8)}/{tenant}/{upload}"


def is_ours(key: str) -> bool:
    """Whether ``new_key`` could have made it."""
    return _OURS.fullmatch(key) is not None


def bucket_of(key: str, buckets: Sequence[str]) -> str:
    """One of the buckets, each equally likely. The row remembers it: more buckets later change the choice."""
    return buckets[int(key[:16], 16) % len(buckets)]
