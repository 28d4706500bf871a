"""What a tenant uses of its quotas. Triggers count it and refuse what is too much (``migrations/_quotas.py``)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import asyncpg
import orjson

from models import database
from models.errors import QuotaExceeded
from models.pages import Row

_QUOTAS = {"tenants_quota_bytes": "bytes", "tenants_quota_objects": "objects"}


async def usage(tenant_ids: Sequence[int] | None = None) -> list[Row]:
    """``tenant_id``, ``used_bytes``, ``reserved_bytes``, ``used_objects``, ``quota_bytes`` and ``quota_objects``.

    Of all tenants if none are given.
    """
    return await database.fetch(
        "SELECT t.id AS tenant_id, t.quota_bytes, t.quota_objects,"
        " t.used_bytes + coalesce(c.used_bytes, 0)::bigint AS used_bytes,"
        " t.reserved_bytes + coalesce(c.reserved_bytes, 0)::bigint AS reserved_bytes,"
        " t.used_objects + coalesce(c.objects, 0)::bigint AS used_objects"
        " FROM tenants t CROSS JOIN LATERAL (SELECT sum(used_bytes) AS used_bytes,"
        " sum(reserved_bytes) AS reserved_bytes, sum(objects) AS objects"
        " FROM usage_changes WHERE tenant_id = t.id) AS c WHERE t.id = ANY($1::bigint[]) OR $1 IS NULL",
        tenant_ids,
    )


@contextmanager
def refusing() -> Iterator[None]:
    """Around what may take more than a quota has left. Raises QuotaExceeded with the figures that decided."""
    try:
        yield
    except asyncpg.CheckViolationError as error:
        quota = _QUOTAS.get(error.constraint_name or "")
        if quota is None:
            raise
        at = orjson.loads(error.detail or "{}")
        reserved = f", {at['reserved']:,} reserved by uploads under way" if at["reserved"] else ""
        raise QuotaExceeded(
            f"The tenant's quota does not allow for {at['requested']:,} {quota} more: {at['used']:,} are used{reserved},"
            f" {at['limit']:,} is the limit. Delete what is not needed, or ask the operator for more.",
            quota=quota,
            **at,
        ) from None
