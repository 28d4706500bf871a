from datetime import UTC, datetime
from enum import Enum

import strawberry

from access.policy import require_on
from graph.context import Info
from graph.types.files import Upload
from graph.types.node import parse_global_id
from models import AccessLevel, FileState, files
from models.errors import BadInput
from models.grants import Thing
from models.pages import Row
from storage.proof import Verdict

MOST_UPLOADS = 1_000


@strawberry.enum(description="Why an upload is not complete.")
class UploadProblem(Enum):
    NOT_FOUND = strawberry.enum_value("NOT_FOUND", description="There is no such upload, or it is not visible to you.")
    FILE_MISSING = strawberry.enum_value("FILE_MISSING", description="The bytes are not there: send them.")
    SIZE_MISMATCH = strawberry.enum_value(
        "SIZE_MISMATCH", description="There are more or fewer bytes than announced: make a new upload."
    )
    CHECKSUM_MISMATCH = strawberry.enum_value(
        "CHECKSUM_MISMATCH", description="The bytes are others than announced: make a new upload."
    )
    REPLACED = strawberry.enum_value("REPLACED", description="A newer file of the object took its place.")
    BATCH_SEALED = strawberry.enum_value(
        "BATCH_SEALED", description="Its batch was sealed before it was complete, with the file that was there."
    )
    UPLOAD_EXPIRED = strawberry.enum_value("UPLOAD_EXPIRED", description="Its URL is over: make a new upload.")


@strawberry.input(description="Uploads whose bytes were sent.")
class CompleteUploadsInput:
    upload_ids: list[strawberry.ID] = strawberry.field(description=f"Their global ids; at most {MOST_UPLOADS}.")


@strawberry.type(description="How far one upload is.")
class CompletedUpload:
    upload_id: strawberry.ID = strawberry.field(description="As given.")
    upload: Upload | None = strawberry.field(description="Null where there is none.")
    state: FileState | None = strawberry.field(
        description="COMPLETE; VERIFYING while the bytes are still being read, which ends by itself."
    )
    problem: UploadProblem | None = strawberry.field(description="Why it is neither.")


@strawberry.type(description="What became of the uploads.")
class CompleteUploadsPayload:
    results: list[CompletedUpload] = strawberry.field(description="In the order given.")
    uploads: list[Upload] = strawberry.field(description="Those that are complete.")


@strawberry.type
class CompleteUploads:
    @strawberry.mutation(
        description="Have uploads proved: S3 is asked for size and checksum. What is right is its object's file from"
        " then on. Doing it twice is as once."
    )
    async def complete_uploads(self, info: Info, input: CompleteUploadsInput) -> CompleteUploadsPayload:  # noqa: A002
        context = info.context
        if len(input.upload_ids) > MOST_UPLOADS:
            raise BadInput(f"{len(input.upload_ids):,} uploads in one call; at most {MOST_UPLOADS:,} are allowed.")
        keys = [key if name == "Upload" else 0 for name, key in map(parse_global_id, input.upload_ids)]
        rows = {row["file_pk"]: row for row in await files.find(context.scope, set(keys))}
        things = [Thing(row["batch_pk"], row["object_pk"]) for row in rows.values()]
        await require_on(context.viewer, AccessLevel.EDIT, things)
        pending = [row for row in rows.values() if row["file_state"] == FileState.PENDING]
        verdicts = dict(zip((row["file_pk"] for row in pending), await context.prove(pending), strict=True))
        right = [key for key, verdict in verdicts.items() if verdict is Verdict.RIGHT]
        right += [
            key for key, row in rows.items() if row["file_state"] == FileState.COMPLETE
        ]  # one may be replaced now
        unread = [key for key, verdict in verdicts.items() if verdict is Verdict.UNREAD]
        settled = {*right, *unread}
        states = await files.settle(context.viewer.tenant_id, right, unread)
        results = []
        for upload_id, key in zip(input.upload_ids, keys, strict=True):
            row = rows.get(key)
            if row is not None and key in settled:
                row = {**row, **states[key]} if key in states else None  # deleted while S3 was asked
            results.append(_result(upload_id, row, verdicts.get(key)))
        complete = [one.upload for one in results if one.upload and one.state is FileState.COMPLETE]
        return CompleteUploadsPayload(results=results, uploads=complete)


def _result(upload_id: strawberry.ID, row: Row | None, verdict: Verdict | None) -> CompletedUpload:
    if row is None:
        return CompletedUpload(upload_id=upload_id, upload=None, state=None, problem=UploadProblem.NOT_FOUND)
    state, problem = FileState(row["file_state"]), None
    if state is FileState.EXPIRED:
        problem = UploadProblem(row["file_problem"] or "UPLOAD_EXPIRED")
    elif state is FileState.PENDING and verdict is not None:
        late = verdict is Verdict.FILE_MISSING and row["file_expires_at"] <= datetime.now(UTC)
        problem = UploadProblem.UPLOAD_EXPIRED if late else UploadProblem(verdict.value)
    return CompletedUpload(upload_id=upload_id, upload=Upload.of(row), state=state, problem=problem)
