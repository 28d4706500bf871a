"""The copying of files and the comparing of copies, with all that the settings say of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from storage.locations import Locations
from storage.signing import Credentials
from waybill.seaweedfs import PROFILE
from waybill.settings import Settings
from waybill.syncing import sync_sources
from worker.copier import Copier
from worker.copies import Copies
from worker.drift import Checker
from worker.root import Root
from worker.threads import Threads
from worker.transfers import Transfers

_THREADS = 8


@asynccontextmanager
async def copies(settings: Settings, embedded: Credentials | None) -> AsyncIterator[Copies]:
    """``embedded`` are those of the embedded server, where it runs. Without a root there are none in directories."""
    async with checking(settings, embedded) as checker:
        yield Copies(checker.copier, checker)


@asynccontextmanager
async def checking(settings: Settings, embedded: Credentials | None) -> AsyncIterator[Checker]:
    """What compares copies with their rows and buckets, likewise."""
    places = Locations(settings.s3_region, {PROFILE: embedded} if embedded else {})
    root = Root(settings.sync_root, settings.sync_reserve_bytes) if settings.sync_root else None
    threads = Threads(_THREADS)
    try:
        copier = Copier(places, sync_sources(settings).allowed, root, Transfers(threads))
        yield Checker(copier, settings.max_id_characters)
    finally:
        threads.close()
        await places.close()
