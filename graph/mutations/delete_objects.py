import strawberry

from access.policy import require_on
from graph.context import Info
from graph.inputs import is_id
from models import AccessLevel, reads, writes
from models.errors import BadInput
from models.grants import thing_of


@strawberry.input(description="Objects to delete.")
class DeleteObjectsInput:
    object_ids: list[str] = strawberry.field(description="Their ids; each must exist.")


@strawberry.type(description="What was deleted.")
class DeleteObjectsPayload:
    deleted_object_ids: list[str] = strawberry.field(description="The ids as given, each once.")


@strawberry.type
class DeleteObjects:
    @strawberry.mutation(description="Delete objects, all or none. NOT_FOUND names those that are not there.")
    async def delete_objects(self, info: Info, input: DeleteObjectsInput) -> DeleteObjectsPayload:  # noqa: A002
        context = info.context
        object_ids = list(dict.fromkeys(input.object_ids))
        if len(object_ids) > context.limits.max_objects_per_call:
            raise BadInput(
                f"{len(object_ids):,} ids in one call; at most {context.limits.max_objects_per_call:,} are allowed."
            )
        possible = [one for one in object_ids if is_id(one, context.limits)]
        rows = await reads.visible_object_ids(context.scope, possible)
        writes.require_all(object_ids, rows)
        await require_on(context.viewer, AccessLevel.ADMIN, [thing_of(row) for row in rows])
        await writes.delete_objects(context.scope, object_ids)
        return DeleteObjectsPayload(deleted_object_ids=object_ids)
