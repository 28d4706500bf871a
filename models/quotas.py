"""Quotas of tenants. Triggers count what is used and refuse what is too much (``migrations/_quotas.py``)."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import orjson

from models.errors import QuotaExceeded

_QUOTAS = {"tenants_quota_bytes": "bytes", "tenants_quota_objects": "objects"}


@contextmanager
def refusing() -> Iterator[None]:
    """Around a transaction, which is refused when it is to be committed. Raises QuotaExceeded with what decided."""
    try:
        yield
    except asyncpg.CheckViolationError as error:
        quota = _QUOTAS.get(error.constraint_name or "")
        if quota is None:
            raise
        at = orjson.loads(error.detail or "{}")
        reserved = f", {at['reserved']:,} reserved by uploads under way or deleted" if at["reserved"] else ""
        raise QuotaExceeded(
            f"The tenant's quota does not allow for {at['requested']:,} {quota} more: {at['used']:,} used{reserved},"
            f" of {at['limit']:,}. Delete what is not needed, or ask the operator for more.",
            quota=quota,
            **at,
        ) from None
