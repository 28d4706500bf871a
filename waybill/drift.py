"""What `waybill drift` does, with the database, the copies and S3 themselves."""

from collections.abc import Callable

from models import database, drifting, sources
from models.errors import Conflict, NotFound
from storage.signing import Credentials
from waybill.app import database_config
from waybill.copies import checking
from waybill.settings import Settings
from worker.drift_report import Item, Report


async def drift(
    settings: Settings,
    credentials: Credentials | None,
    source: str,
    tell: Callable[[Item], object],
    *,
    repair: bool,
    verify: bool,
) -> Report:
    """Of a source as ``tenant.name``. Raises NotFound, Conflict."""
    if await database.is_empty(str(settings.database_url)):
        await database.migrate(str(settings.database_url))
    async with database.connected(database_config(settings)), checking(settings, credentials) as checker:
        tenant, _, name = source.partition(".")
        found = await sources.addressed(tenant, name)
        if found is None:
            raise NotFound(f'there is no source "{source}"')
        held = await drifting.take(found, repair=repair, verify=verify)
        if held is None:
            raise Conflict(f"{source} is being compared by somebody else, or was until just now")
        try:
            return await checker.check(held, tell)
        except drifting.ReportLost as error:
            raise Conflict(f"{source} was broken off, or taken over by somebody else") from error
