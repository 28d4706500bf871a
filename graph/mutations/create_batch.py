import strawberry

from access.policy import require
from graph.context import Info
from graph.inputs import ObjectInput, check_id, new_objects
from graph.mutations.made import MadeObjects
from models import AccessLevel, writes


@strawberry.input(description="A batch to make, with its first objects.")
class CreateBatchInput:
    batch_id: str = strawberry.field(description="Your id for it, unique in the tenant.")
    objects: list[ObjectInput] | None = strawberry.field(description="Objects to make in it.", default=None)


@strawberry.type(description="What was made.")
class CreateBatchPayload(MadeObjects):
    pass


@strawberry.type
class CreateBatch:
    @strawberry.mutation(
        description="Make a batch and its objects, all or none. ALREADY_EXISTS names ids that are taken."
    )
    async def create_batch(self, info: Info, input: CreateBatchInput) -> CreateBatchPayload:  # noqa: A002
        viewer, limits = info.context.viewer, info.context.limits
        require(viewer, AccessLevel.EDIT)
        check_id("batchId", input.batch_id, limits)
        objects = await new_objects(input.objects or (), info.context)
        seen = info.context.scope.within
        made = await writes.create_batch(viewer.tenant_id, viewer.user_id, input.batch_id, objects, seen)
        return CreateBatchPayload(made=made)
