import strawberry

from access.policy import require_on
from graph.context import Info
from graph.file_input import FileInput, new_file
from graph.inputs import check_once, is_id
from graph.selection import selects
from graph.types.files import Upload
from models import AccessLevel, files, reads, writes
from models.errors import BadInput, short
from models.filters import HasObjectId
from models.grants import thing_of
from models.pages import Bounds
from models.reads import Parts

MOST_UPLOADS = 1_000


@strawberry.input(description="A file for an object.")
class ObjectFileInput:
    object_id: str = strawberry.field(description="The object; it must exist.")
    file: FileInput = strawberry.field(description="Its new file.")


@strawberry.input(description="Files for objects.")
class CreateUploadsInput:
    files: list[ObjectFileInput] = strawberry.field(description=f"At most {MOST_UPLOADS}, one for each object.")


@strawberry.type(description="What was made.")
class CreateUploadsPayload:
    uploads: list[Upload] = strawberry.field(description="In the order given.")


@strawberry.type
class CreateUploads:
    @strawberry.mutation(
        description="Announce files of objects, all or none, and get a URL for each. A complete file stays readable"
        " until the new one is complete."
    )
    async def create_uploads(self, info: Info, input: CreateUploadsInput) -> CreateUploadsPayload:  # noqa: A002
        context = info.context
        object_ids = [one.object_id for one in input.files]
        if len(object_ids) > MOST_UPLOADS:
            raise BadInput(f"{len(object_ids):,} files in one call; at most {MOST_UPLOADS:,} are allowed.")
        check_once(object_ids)
        possible = tuple(one for one in object_ids if is_id(one, context.limits))
        parts = Parts(data=selects(info, "data"), file=False)
        found = await reads.objects(context.scope, HasObjectId(possible), Bounds(len(object_ids)), parts)
        writes.require_all(object_ids, found.rows)
        await require_on(context.viewer, AccessLevel.EDIT, [thing_of(row) for row in found.rows])
        objects = {row["object_id"]: row for row in found.rows}
        new = await context.begin_parts(
            [new_file(one.file, f'Object "{short(one.object_id)}"', context) for one in input.files]
        )
        announced = [(objects[object_id]["id"], file) for object_id, file in zip(object_ids, new, strict=True)]
        made = await files.announce(context.viewer.tenant_id, announced)
        # Files of the objects are others from now on.
        known = dict.fromkeys(objects) if selects(info, "file") else objects
        return CreateUploadsPayload(
            uploads=[
                Upload.of({**row, "object_id": object_id, "batch_id": objects[object_id]["batch_id"]}, known[object_id])
                for row, object_id in zip(made, object_ids, strict=True)
            ]
        )
