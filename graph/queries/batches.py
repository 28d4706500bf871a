from functools import partial

import strawberry

from graph import lookups
from graph.context import Info
from graph.types.connection import Connection
from graph.types.filters import BatchWhere, filter_of
from graph.types.objects import Batch
from models import pages, reads


@strawberry.type
class BatchQuery:
    @strawberry.field(description="A batch by your id; NOT_FOUND when there is none that you can read.")
    async def batch(self, info: Info, batch_id: str) -> Batch | None:
        return Batch.of(await lookups.batch(info.context, batch_id))

    @strawberry.field(description="Batches, newest first.")
    async def batches(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        where: BatchWhere | None = None,
    ) -> Connection[Batch]:
        context = info.context
        wanted = filter_of(where, context)
        digest = pages.digest("batches", context.viewer.tenant_id, wanted.digest)
        return Connection(
            page=await reads.batches(
                context.scope, wanted.condition, context.bounds(first, after, last, before, digest)
            ),
            digest=digest,
            make=Batch.of,
            count=partial(reads.count_batches, context.scope, wanted.condition),
        )
