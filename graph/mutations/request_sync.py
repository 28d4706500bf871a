from collections.abc import Sequence

import orjson
import strawberry

from access.policy import Viewer, require, require_on, sees_everything
from graph.context import Context, Info
from graph.inputs import check_id
from graph.types.syncs import Sync
from models import AccessLevel, database, jobs, notices, reads, sources, syncs
from models.errors import BadInput, BatchSealed, Conflict, Forbidden, NotFound, short
from models.filters import HasBatchId
from models.grants import Thing
from models.locations import location
from models.notices import Answer, Notice, Outcome
from models.pages import Bounds, Row

MOST_FILES = 1_000
_MOST_NAMED = 100
_FIELDS = {"oeid": "batchId", "ref_id": "objectId", "file_name": "fileName", "file_type": "fileType"}
_SAYS = {
    Outcome.ALREADY: "is queued, being copied or copied already",
    Outcome.OTHER_BATCH: "is of an object in another batch",
    Outcome.GONE: "is of what was just deleted",
}


@strawberry.input(description="A file to copy. What is made of names and ids must be one part of a path.")
class SyncFileInput:
    batch_id: str = strawberry.field(description="The batch of the object; it is made if there is none.")
    object_id: str = strawberry.field(description="The object; it is made if there is none.")
    file_name: str = strawberry.field(description="Of the file, without a path: the last part of its key.")
    file_type: str = strawberry.field(description="Such as image/png.")


@strawberry.input(description="Files to copy from a source.")
class RequestSyncInput:
    source: str = strawberry.field(description="Name of the source.")
    files: list[SyncFileInput] = strawberry.field(description=f"At most {MOST_FILES}.")


@strawberry.type(description="What was queued.")
class RequestSyncPayload:
    syncs: list[Sync] = strawberry.field(description="In the order given.")


@strawberry.type
class RequestSync:
    @strawberry.mutation(
        description="Have files copied from a source, all or none, as its application does by a notice. CONFLICT names"
        " those that are queued, being copied or copied already; one that FAILED is queued again. It takes EDIT access"
        " to the batches."
    )
    async def request_sync(self, info: Info, input: RequestSyncInput) -> RequestSyncPayload:  # noqa: A002
        context, viewer = info.context, info.context.viewer
        wanted = _notices(input.files, context)
        there, absent = await _batches(context, list(dict.fromkeys(one.oeid for one in wanted)))
        source = await _source(viewer, input.source)
        async with database.transaction():
            answers = await notices.request_as(viewer.tenant_id, viewer.user_id, source["id"], absent, wanted)
            _require_all(wanted, answers)
            await jobs.add(jobs.SYNC)
            rows = await syncs.some(context.scope, [one.sync_id for one in answers if one.sync_id is not None])
            others = [row for row in rows if there.get(row["batch_id"], row["batch_pk"]) != row["batch_pk"]]
            if others or len(rows) < len(answers):
                raise Conflict("A batch has just been deleted.")  # and made anew by this call, for whoever may do so
        of = {row["id"]: row for row in rows}
        return RequestSyncPayload(syncs=[Sync.of(of[one.sync_id]) for one in answers])


def _notices(given: Sequence[SyncFileInput], context: Context) -> list[Notice]:
    """Raises BadInput naming the file by its position, counted from 0 as in the request."""
    if not 1 <= len(given) <= MOST_FILES:
        raise BadInput(f"{len(given):,} files in one call; from 1 to {MOST_FILES:,} are allowed.")
    made = [Notice(one.batch_id, one.object_id, one.file_name, one.file_type) for one in given]
    for index, one in enumerate(made):
        if found := notices.problems(one):
            field, problem = next(iter(found.items()))
            raise BadInput(f'files[{index}]: "{_FIELDS[field]}" {problem}.')
        check_id(f"files[{index}].batchId", one.oeid, context.limits)
        check_id(f"files[{index}].objectId", one.ref_id, context.limits)
    return made


async def _batches(context: Context, batch_ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
    """Those that are there, with their keys, and those that are to be made.

    Raises NotFound and Forbidden, as for the making of batches and of objects.
    """
    viewer = context.viewer
    found = (await reads.batches(context.scope, HasBatchId(tuple(batch_ids)), Bounds(len(batch_ids)))).rows
    there = {row["batch_id"]: row["id"] for row in found}
    absent = [one for one in batch_ids if one not in there]
    if absent and not viewer.own_access.includes(AccessLevel.VIEW):  # there may be one that he does not see
        raise NotFound("There is no batch with this batchId.", batchId=absent[0])
    await require_on(viewer, AccessLevel.EDIT, [Thing(row["id"]) for row in found])
    if absent:
        require(viewer, AccessLevel.EDIT)
    return there, absent


async def _source(viewer: Viewer, name: str) -> Row:
    """Raises NotFound, Conflict, and Forbidden where who asks could read files of batches that he does not see."""
    found = await sources.named(viewer.tenant_id, name)
    if found is None:
        raise NotFound(f'There is no source "{short(name)}".')
    if found["paused_at"] is not None:
        raise Conflict(f'The source "{name}" is paused: ask an admin of the tenant.', source=name)
    if not sees_everything(viewer) and not location(orjson.loads(found["origin"])).tells_batches_apart:
        raise Forbidden(f'Files of "{name}" are not told apart by their batch: ask who sees everything in the tenant.')
    return found


def _require_all(wanted: Sequence[Notice], answers: Sequence[Answer]) -> None:
    """Raises BatchSealed and Conflict, which name what is refused."""
    refused = [(one, answer.outcome) for one, answer in zip(wanted, answers, strict=True) if answer.outcome in _SAYS]
    sealed = [one.oeid for one, answer in zip(wanted, answers, strict=True) if answer.outcome is Outcome.SEALED]
    if sealed:
        raise BatchSealed(
            f'The batch "{short(sealed[0])}" is sealed: nothing in it changes any more.',
            batchIds=list(dict.fromkeys(sealed))[:_MOST_NAMED],
        )
    if refused:
        (first, outcome), more = refused[0], len(refused) - 1
        raise Conflict(
            f'"{short(first.file_name)}" of "{short(first.ref_id)}" {_SAYS[outcome]}'
            + (f", and {more:,} more cannot be queued." if more else "."),
            files=[
                {"objectId": one.ref_id, "fileName": one.file_name, "problem": outcome.value}
                for one, outcome in refused[:_MOST_NAMED]
            ],
        )
