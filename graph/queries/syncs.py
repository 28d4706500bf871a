from functools import partial

import strawberry

from access.policy import require
from graph.context import Info
from graph.types.connection import Connection
from graph.types.sync_sources import SyncSource
from graph.types.syncs import Sync, SyncStats, SyncWhere, which_of
from models import AccessLevel, pages, sources, syncs
from models.errors import NotFound, short
from models.pages import Page


@strawberry.type
class SyncQuery:
    @strawberry.field(description="Local copies of files of objects that you can read, newest first.")
    async def syncs(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        where: SyncWhere | None = None,
    ) -> Connection[Sync]:
        context = info.context
        digest = pages.digest("syncs", context.viewer.tenant_id, where)
        bounds = context.bounds(first, after, last, before, digest)
        which = await which_of(context, where)

        async def total() -> int:
            return 0 if which is None else await syncs.count(which)

        page = Page([], has_next=False, has_previous=False) if which is None else await syncs.page(which, bounds)
        return Connection(page=page, digest=digest, make=Sync.of, count=total)

    @strawberry.field(
        description="How many local copies the tenant has, or one of its sources. They are counted whether you can read"
        " each or not, so it takes VIEW access to everything in the tenant."
    )
    async def sync_stats(self, info: Info, source: str | None = None) -> SyncStats:
        viewer = info.context.viewer
        require(viewer, AccessLevel.VIEW)
        if source is None:
            return SyncStats.of((await sources.standings(viewer.tenant_id)).values())
        found = await sources.named(viewer.tenant_id, source)
        if found is None:
            raise _no_source(source)
        return SyncStats.of((await sources.standings(viewer.tenant_id, [found["id"]])).values())

    @strawberry.field(description="A sync source of your tenant by its name; NOT_FOUND when there is none.")
    async def sync_source(self, info: Info, name: str) -> SyncSource | None:
        found = await sources.named(info.context.viewer.tenant_id, name)
        if found is None:
            raise _no_source(name)
        return SyncSource.of(found)

    @strawberry.field(description="The sync sources of your tenant, newest first.")
    async def sync_sources(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[SyncSource]:
        tenant_id = info.context.viewer.tenant_id
        digest = pages.digest("sync sources", tenant_id)
        page = await sources.page(tenant_id, info.context.bounds(first, after, last, before, digest))
        return Connection(page=page, digest=digest, make=SyncSource.of, count=partial(sources.count, tenant_id))


def _no_source(name: str) -> NotFound:
    return NotFound(f'There is no source "{short(name)}".')
