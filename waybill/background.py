"""The background work of a process, with all that the settings say of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from storage.client import Storage
from storage.events import event_queue
from waybill.settings import Settings
from worker.events import consuming
from worker.queue import working


@asynccontextmanager
async def background(settings: Settings, storage: Storage) -> AsyncIterator[None]:
    """Does it meanwhile."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(working(storage, str(settings.database_url)))
        if url := settings.s3_events_queue_url:
            queue = await stack.enter_async_context(event_queue(url, settings.s3_region))
            await stack.enter_async_context(consuming(storage, queue))
        yield
