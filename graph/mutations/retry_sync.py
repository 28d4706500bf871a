import strawberry

from access.policy import require_on
from graph.context import Info
from graph.types.node import parse_global_id
from graph.types.syncs import Sync
from models import AccessLevel, copying, database, syncs
from models.errors import BadInput, Conflict, NotFound
from models.grants import Thing

MOST_SYNCS = 1_000
_MOST_NAMED = 100


@strawberry.input(description="Local copies to try again.")
class RetrySyncInput:
    sync_ids: list[strawberry.ID] = strawberry.field(description=f"Global ids; at most {MOST_SYNCS}.")


@strawberry.type(description="What was queued.")
class RetrySyncPayload:
    syncs: list[Sync] = strawberry.field(description="In the order given.")


@strawberry.type
class RetrySync:
    @strawberry.mutation(
        description="Try local copies again that FAILED, all or none; CONFLICT names those that did not. It takes EDIT"
        " access to the objects."
    )
    async def retry_sync(self, info: Info, input: RetrySyncInput) -> RetrySyncPayload:  # noqa: A002
        context, viewer = info.context, info.context.viewer
        if len(input.sync_ids) > MOST_SYNCS:
            raise BadInput(f"{len(input.sync_ids):,} ids in one call; at most {MOST_SYNCS:,} are allowed.")
        of = {sync_id: _key(sync_id) for sync_id in input.sync_ids}
        found = {row["id"]: row for row in await syncs.some(context.scope, list(of.values()))}
        if missing := [sync_id for sync_id, key in of.items() if key not in found]:
            raise NotFound("There is no local copy with this id.", id=missing[0])
        things = {Thing(row["batch_pk"], row["object_pk"]) for row in found.values()}
        await require_on(viewer, AccessLevel.EDIT, list(things))
        async with database.transaction():
            queued = await copying.retry(viewer.tenant_id, list(found))
            if others := [sync_id for sync_id, key in of.items() if key not in queued]:
                raise Conflict(
                    f"{len(others):,} of them did not fail: there is nothing to try again.", ids=others[:_MOST_NAMED]
                )
            rows = {row["id"]: row for row in await syncs.some(context.scope, list(queued))}
        return RetrySyncPayload(syncs=[Sync.of(rows[of[sync_id]]) for sync_id in input.sync_ids])


def _key(sync_id: strawberry.ID) -> int:
    type_name, key = parse_global_id(sync_id)
    if type_name != "Sync":
        raise BadInput('"syncIds" has an id that is not of a local copy.')
    return key
