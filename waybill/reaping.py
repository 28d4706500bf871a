"""What `waybill reap` does, with the database and the buckets themselves, and its report."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from models import OrphanState, database, lost, orphans, scans
from models.errors import WaybillError
from storage.client import Storage, connected
from storage.signing import Credentials
from waybill.app import database_config, storage_config
from waybill.settings import Settings
from worker.quarantine import act, restore
from worker.scanning import scan

_MOST_IN_JSON = 10_000
_HERE = (OrphanState.SEEN, OrphanState.QUARANTINING, OrphanState.QUARANTINED, OrphanState.RESTORING,
         OrphanState.RESTORED, OrphanState.DELETING)  # fmt: skip


async def reaped(
    settings: Settings, credentials: Credentials | None, keys: Sequence[str], *, scans_first: bool, acts: bool
) -> tuple[dict[str, Any], list[str]]:
    """The report afterwards, and what could not be done."""
    complaints: list[str] = []
    if await database.is_empty(str(settings.database_url)):
        await database.migrate(str(settings.database_url))
    async with (
        database.connected(database_config(settings)),
        connected(storage_config(settings, credentials)) as storage,
    ):
        for key in keys:
            try:
                await restore(storage, key)
            except WaybillError as error:
                complaints.append(str(error))
        if scans_first:
            complaints += await _scan(storage)
        if acts:
            try:
                await act(storage, timedelta(days=settings.quarantine_days))
            except WaybillError as error:
                complaints.append(str(error))
        return await _report(), complaints


async def _scan(storage: Storage) -> list[str]:
    complaints = []
    for bucket in await scans.buckets(storage.buckets):
        try:
            if not await scan(storage, bucket):
                complaints.append(f"bucket {bucket} is being scanned by somebody else, or was until just now")
        except WaybillError as error:
            complaints.append(f"bucket {bucket}: {error} The next scan goes on where this one was.")
    return complaints


async def _report() -> dict[str, Any]:
    tenants: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for row in await orphans.figures():
        of = tenants[row["bucket"], row["tenant"]]
        name = ("multiparts_" if row["in_parts"] else "") + row["state"].lower()
        of[name] = {"count": row["count"], "bytes": row["bytes"], "ripe": row["ripe"]}
    for row in await lost.figures():
        tenants[row["bucket"], row["tenant"]]["lost"] = {"count": row["count"], "bytes": row["bytes"]}
    return {
        "buckets": [dict(row) for row in await scans.newest()],
        "tenants": [{"bucket": bucket, "tenant": tenant, **of} for (bucket, tenant), of in sorted(tenants.items())],
        "orphans": [dict(row) for row in await orphans.listed(_HERE, _MOST_IN_JSON)],
        "lost": [dict(row) for row in await lost.listed(_MOST_IN_JSON)],
    }
