"""The background work of a process, with all that the settings say of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from storage.client import Storage
from storage.events import event_queue
from storage.signing import Credentials
from waybill.copies import copies
from waybill.settings import Settings
from worker import reaper
from worker.copies import Copies
from worker.events import consuming
from worker.queue import working


@asynccontextmanager
async def background(
    settings: Settings, storage: Storage, embedded: Credentials | None = None
) -> AsyncIterator[Copies]:
    """Does it meanwhile, with the credentials of the embedded server where it runs."""
    async with AsyncExitStack() as stack:
        copying = await stack.enter_async_context(copies(settings, embedded))
        await stack.enter_async_context(working(storage, str(settings.database_url), copying.kinds()))
        await stack.enter_async_context(copying.working())
        if (schedule := reaping(settings)) is not None:
            stack.callback(asyncio.create_task(reaper.run(storage, schedule)).cancel)
        if url := settings.s3_events_queue_url:
            queue = await stack.enter_async_context(event_queue(url, settings.s3_region))
            await stack.enter_async_context(consuming(storage, queue))
        yield copying


def reaping(settings: Settings) -> reaper.Schedule | None:
    """None where it is off."""
    if not settings.reap_hours:
        return None
    return reaper.Schedule(
        timedelta(hours=settings.reap_hours), settings.reap_acts, timedelta(days=settings.quarantine_days)
    )
