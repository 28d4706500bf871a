from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum

import strawberry

from access.policy import require_on
from graph.context import Context, Info
from graph.types.files import Upload
from graph.types.node import parse_global_id
from models import AccessLevel, FileState, files
from models.errors import BadInput
from models.grants import Thing
from models.pages import Row
from storage.multipart import MOST_NAMED, cut_of
from storage.proof import Finding, Verdict

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
    PART_MISMATCH = strawberry.enum_value(
        "PART_MISMATCH", description="Parts are larger or smaller than announced, or have other ETags: send them again."
    )
    ABORTED = strawberry.enum_value("ABORTED", description="It was given up: make a new upload.")
    REPLACED = strawberry.enum_value("REPLACED", description="A newer file of the object took its place.")
    BATCH_SEALED = strawberry.enum_value(
        "BATCH_SEALED", description="Its batch was sealed before it was complete, with the file that was there."
    )
    UPLOAD_EXPIRED = strawberry.enum_value("UPLOAD_EXPIRED", description="Its URL is over: make a new upload.")


@strawberry.input(description="A part that was sent.")
class SentPartInput:
    number: int = strawberry.field(description="From 1.")
    etag: str = strawberry.field(description="As S3 answered, with or without quotation marks.")


@strawberry.input(description="The parts of an upload.")
class SentPartsInput:
    upload_id: strawberry.ID = strawberry.field(description="One of `uploadIds`, in parts.")
    parts: list[SentPartInput] = strawberry.field(description="All of them.")


@strawberry.input(description="Uploads whose bytes were sent.")
class CompleteUploadsInput:
    upload_ids: list[strawberry.ID] = strawberry.field(description=f"Their global ids; at most {MOST_UPLOADS}.")
    parts: list[SentPartsInput] | None = strawberry.field(
        description="What S3 answered to the parts. Without it the parts count that S3 has.", default=None
    )


@strawberry.type(description="How far one upload is.")
class CompletedUpload:
    upload_id: strawberry.ID = strawberry.field(description="As given.")
    upload: Upload | None = strawberry.field(description="Null where there is none.")
    state: FileState | None = strawberry.field(
        description="COMPLETE; VERIFYING while the bytes are still being read, which ends by itself."
    )
    problem: UploadProblem | None = strawberry.field(description="Why it is neither.")
    parts: list[int] = strawberry.field(
        description=f"Numbers of the parts that are missing or do not match, at most {MOST_NAMED} of them.",
        default_factory=list,
    )


@strawberry.type(description="What became of the uploads.")
class CompleteUploadsPayload:
    results: list[CompletedUpload] = strawberry.field(description="In the order given.")
    uploads: list[Upload] = strawberry.field(description="Those that are complete.")


@strawberry.type
class CompleteUploads:
    @strawberry.mutation(
        description="Have uploads proved: what was sent in parts is put together, S3 is asked for size and checksum."
        " What is right is its object's file from then on. Doing it twice is as once."
    )
    async def complete_uploads(self, info: Info, input: CompleteUploadsInput) -> CompleteUploadsPayload:  # noqa: A002
        context = info.context
        keys, rows = await uploads_to_change(context, input.upload_ids)
        etags = _etags(input.parts or (), keys, rows)
        pending = [row for row in rows.values() if row["file_state"] == FileState.PENDING]
        findings = dict(zip((row["file_pk"] for row in pending), await context.prove(pending, etags), strict=True))
        verdicts = {key: finding.verdict for key, finding in findings.items()}
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
            results.append(result(upload_id, row, findings.get(key)))
        complete = [one.upload for one in results if one.upload and one.state is FileState.COMPLETE]
        return CompleteUploadsPayload(results=results, uploads=complete)


async def uploads_to_change(context: Context, ids: Sequence[strawberry.ID]) -> tuple[list[int], dict[int, Row]]:
    """Their primary keys in this order, and the rows of those that exist. Raises BadInput, Forbidden."""
    if len(ids) > MOST_UPLOADS:
        raise BadInput(f"{len(ids):,} uploads in one call; at most {MOST_UPLOADS:,} are allowed.")
    keys = [_key(one) for one in ids]
    rows = {row["file_pk"]: row for row in await files.find(context.scope, set(keys))}
    things = [Thing(row["batch_pk"], row["object_pk"]) for row in rows.values()]
    await require_on(context.viewer, AccessLevel.EDIT, things)
    return keys, rows


def _key(upload_id: strawberry.ID) -> int:
    name, key = parse_global_id(upload_id)
    return key if name == "Upload" else 0


def _etags(given: Sequence[SentPartsInput], keys: Sequence[int], rows: Mapping[int, Row]) -> dict[int, dict[int, str]]:
    """By upload and number. Raises BadInput; parts of an upload that does not exist are as if they were not given."""
    etags: dict[int, dict[int, str]] = {}
    for one in given:
        key = _key(one.upload_id)
        if key not in keys:
            raise BadInput(f'"parts" has the upload {one.upload_id}, and "uploadIds" has it not.')
        if key in etags:
            raise BadInput(f'"parts" has the upload {one.upload_id} more than once.')
        etags[key] = {part.number: part.etag.strip('"') for part in one.parts}
        if (row := rows.get(key)) is None:
            continue
        if row["file_part_bytes"] is None:
            raise BadInput(f"The upload {one.upload_id} is one request: it has no parts.")
        count = cut_of(row).count
        for number in etags[key]:
            if not 1 <= number <= count:
                raise BadInput(f"The upload {one.upload_id} has parts 1 to {count:,}, and none of number {number}.")
        if len(etags[key]) < len(one.parts):
            raise BadInput(f'"parts" has a part of the upload {one.upload_id} more than once.')
    return etags


def result(upload_id: strawberry.ID, row: Row | None, finding: Finding | None = None) -> CompletedUpload:
    if row is None:
        return CompletedUpload(upload_id=upload_id, upload=None, state=None, problem=UploadProblem.NOT_FOUND)
    state, problem, parts = FileState(row["file_state"]), None, []
    if state is FileState.EXPIRED:
        problem = UploadProblem(row["file_problem"] or "UPLOAD_EXPIRED")
    elif state is FileState.PENDING and finding is not None:
        late = finding.verdict is Verdict.FILE_MISSING and row["file_expires_at"] <= datetime.now(UTC)
        problem = UploadProblem.UPLOAD_EXPIRED if late else UploadProblem(finding.verdict.value)
        parts = list(finding.parts)
    return CompletedUpload(upload_id=upload_id, upload=Upload.of(row), state=state, problem=problem, parts=parts)
