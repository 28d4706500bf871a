import strawberry

from access.policy import require_on
from graph import lookups
from graph.context import Info
from graph.inputs import ObjectInput, new_objects
from graph.mutations.made import MadeObjects
from models import AccessLevel, writes
from models.grants import Thing


@strawberry.input(description="Objects to add to a batch.")
class CreateObjectsInput:
    batch_id: str = strawberry.field(description="The batch; it must exist.")
    objects: list[ObjectInput] = strawberry.field(description="The objects to make.")


@strawberry.type(description="What was made.")
class CreateObjectsPayload(MadeObjects):
    pass


@strawberry.type
class CreateObjects:
    @strawberry.mutation(description="Make objects in a batch, all or none. ALREADY_EXISTS names ids that are taken.")
    async def create_objects(self, info: Info, input: CreateObjectsInput) -> CreateObjectsPayload:  # noqa: A002
        viewer = info.context.viewer
        batch = await lookups.batch(info.context, input.batch_id)
        await require_on(viewer, AccessLevel.EDIT, [Thing(batch["id"])])
        objects = await new_objects(input.objects, info.context)
        made = await writes.create_objects(viewer.tenant_id, viewer.user_id, batch, objects, info.context.scope.within)
        return CreateObjectsPayload(made=made)
