import strawberry

from access.policy import require_on
from graph import lookups
from graph.context import Info
from graph.types.objects import Batch
from models import AccessLevel, Action, audit, sealing
from models.audit import Entry
from models.grants import Thing


@strawberry.input(description="A batch to seal.")
class SealBatchInput:
    batch_id: str = strawberry.field(description="The batch.")


@strawberry.type(description="What was sealed.")
class SealBatchPayload:
    batch: Batch = strawberry.field(description="The batch, with its digest.")


@strawberry.type
class SealBatch:
    @strawberry.mutation(
        description="Seal a batch for good: nothing in it changes any more (BATCH_SEALED), and its digest says what it"
        " is. BATCH_NOT_COMPLETE as long as a file is not complete; what was to take the place of a complete one is"
        " given up. Doing it twice is as once. It takes ADMIN access, for it takes from everybody what EDIT gives."
    )
    async def seal_batch(self, info: Info, input: SealBatchInput) -> SealBatchPayload:  # noqa: A002
        viewer = info.context.viewer
        batch = await lookups.batch(info.context, input.batch_id)
        await require_on(viewer, AccessLevel.ADMIN, [Thing(batch["id"])])
        sealed = await sealing.seal(viewer.tenant_id, viewer.user_id, batch["id"])
        if sealed is not None:
            count, digest = sealed
            details = {"objects": str(count), "digest": digest.hex()}
            await audit.record(viewer.actor, Entry(Action.BATCH_SEALED, batch["batch_id"], details=details))
        return SealBatchPayload(batch=Batch.of(batch))
