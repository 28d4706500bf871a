from functools import partial

import strawberry

from graph import lookups
from graph.context import Info
from graph.selection import parts_of_objects
from graph.types.connection import Connection
from graph.types.filters import ObjectWhere, filter_of
from graph.types.objects import Object
from models import pages, reads


@strawberry.type
class ObjectQuery:
    @strawberry.field(description="An object by your id; NOT_FOUND when there is none that you can read.")
    async def object(self, info: Info, object_id: str) -> Object | None:
        return Object.of(await lookups.object_(info.context, object_id))

    @strawberry.field(description="Objects of all batches, newest first.")
    async def objects(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        where: ObjectWhere | None = None,
    ) -> Connection[Object]:
        context = info.context
        wanted = filter_of(where, context)
        digest = pages.digest("objects", context.viewer.tenant_id, wanted.digest)
        bounds = context.bounds(first, after, last, before, digest)
        return Connection(
            page=await reads.objects(context.scope, wanted.condition, bounds, parts_of_objects(info)),
            digest=digest,
            make=Object.of,
            count=partial(reads.count_objects, context.scope, wanted.condition),
        )
