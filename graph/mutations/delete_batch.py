import strawberry

from access.policy import require_on
from graph import lookups
from graph.context import Info
from models import AccessLevel, writes
from models.grants import Thing


@strawberry.input(description="A batch to delete.")
class DeleteBatchInput:
    batch_id: str = strawberry.field(description="The batch.")
    cascade: bool = strawberry.field(
        description="Delete its objects with it; otherwise it must be empty.", default=False
    )


@strawberry.type(description="What was deleted.")
class DeleteBatchPayload:
    deleted_batch_id: str = strawberry.field(description="The batch's id.")
    deleted_object_count: int = strawberry.field(description="How many objects went with it.")


@strawberry.type
class DeleteBatch:
    @strawberry.mutation(description="Delete a batch. BATCH_NOT_EMPTY when it has objects and `cascade` is not true.")
    async def delete_batch(self, info: Info, input: DeleteBatchInput) -> DeleteBatchPayload:  # noqa: A002
        batch = await lookups.batch(info.context, input.batch_id)
        await require_on(info.context.viewer, AccessLevel.ADMIN, [Thing(batch["id"])])
        count = await writes.delete_batch(info.context.viewer.tenant_id, batch["id"], cascade=input.cascade)
        return DeleteBatchPayload(deleted_batch_id=batch["batch_id"], deleted_object_count=count)
