import strawberry

from graph.context import Info
from graph.mutations.complete_uploads import CompletedUpload, result, uploads_to_change
from models import files


@strawberry.input(description="Uploads that nobody wants any more.")
class AbortUploadsInput:
    upload_ids: list[strawberry.ID] = strawberry.field(description="Their global ids; at most 1,000.")


@strawberry.type(description="What became of the uploads.")
class AbortUploadsPayload:
    results: list[CompletedUpload] = strawberry.field(
        description="In the order given: EXPIRED and ABORTED, or what they were before."
    )


@strawberry.type
class AbortUploads:
    @strawberry.mutation(
        description="Give up uploads: what was sent of them is deleted. One that is complete stays what it is. Doing it"
        " twice is as once."
    )
    async def abort_uploads(self, info: Info, input: AbortUploadsInput) -> AbortUploadsPayload:  # noqa: A002
        keys, rows = await uploads_to_change(info.context, input.upload_ids)
        states = await files.abort(info.context.viewer.tenant_id, list(rows))
        # One that is not among the states was deleted meanwhile.
        now = {key: {**rows[key], **state} for key, state in states.items()}
        return AbortUploadsPayload(
            results=[result(upload_id, now.get(key)) for upload_id, key in zip(input.upload_ids, keys, strict=True)]
        )
