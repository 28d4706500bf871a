"""Sync, the filter of the list of them, and how many there are."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from graph.context import Context, Info
from graph.inputs import is_id
from graph.scalars import Count, Size
from graph.selection import parts_of_objects
from graph.types.node import Node, global_id
from models import SyncState, ids, sources
from models.pages import Row
from models.syncs import Which

if TYPE_CHECKING:
    from graph.types.objects import Batch, Object


@strawberry.type(description="The local copy of a file of an object: to be made, made, or given up.")
class Sync(Node):
    row: strawberry.Private[Row]
    source: str = strawberry.field(description="Name of the source it comes from.")
    file_name: str = strawberry.field(description="As the notice named it.")
    file_type: str = strawberry.field(description="As the notice said.")
    state: SyncState = strawberry.field(description="How far it is.")
    created_at: datetime = strawberry.field(description="When it was first asked for.")
    queued_at: datetime = strawberry.field(description="When it was last asked for.")
    attempts: int = strawberry.field(description="Tries since then, the present one included.")
    problem: str | None = strawberry.field(description="The code of what went wrong at the last try.")
    error: str | None = strawberry.field(description="The same in words.")
    path: str | None = strawberry.field(
        description="Where the copy is: below the root of local copies, or its key in another bucket."
    )
    size: Size | None = strawberry.field(description="In bytes.")
    synced_at: datetime | None = strawberry.field(description="When it was copied and verified.")

    @classmethod
    def of(cls, row: Row) -> "Sync":
        return cls(
            id=global_id("Sync", row["id"]),
            row=row,
            source=row["source"],
            file_name=row["file_name"],
            file_type=row["file_type"],
            state=SyncState(row["state"]),
            created_at=ids.created_at(row["id"]),
            queued_at=row["queued_at"],
            attempts=row["attempts"],
            problem=row["problem"],
            error=row["error"],
            path=row["path"],
            size=row["size_bytes"],
            synced_at=row["synced_at"],
        )

    @strawberry.field(description="When it is tried next; null unless it is QUEUED.")
    def next_try_at(self) -> datetime | None:
        moment: datetime = self.row["due_at"]
        return moment if self.state is SyncState.QUEUED else None

    @strawberry.field(description="Of the bytes, in hexadecimal, computed while they were copied.")
    def sha256(self) -> str | None:
        digest = self.row["sha256"]
        return digest and str(digest.hex())

    @strawberry.field(description="Whose file it is.")
    async def object(self, info: Info) -> Annotated["Object", strawberry.lazy("graph.types.objects")]:
        from graph.types.objects import Object  # noqa: PLC0415 - each of the two has the other

        return Object.of(await info.context.objects.load((self.row["object_pk"], parts_of_objects(info))))

    @strawberry.field(description="The batch the object is in.")
    def batch(self) -> Annotated["Batch", strawberry.lazy("graph.types.objects")]:
        from graph.types.objects import Batch  # noqa: PLC0415 - each of the two has the other

        return Batch.of(self.row, key="batch_pk")


@strawberry.input(description="Which local copies. All that is given must hold.")
class SyncWhere:
    states: list[SyncState] | None = strawberry.field(description="In one of these states.", default=None)
    source: str | None = strawberry.field(description="From this source, by its name.", default=None)
    batch_id: str | None = strawberry.field(description="Of objects in this batch.", default=None)
    object_id: str | None = strawberry.field(description="Of this object.", default=None)
    created_after: datetime | None = strawberry.field(description="First asked for later than this.", default=None)
    created_before: datetime | None = strawberry.field(description="First asked for earlier than this.", default=None)


async def which_of(context: Context, where: SyncWhere | None) -> Which | None:
    """None where there can be none: nothing has such an id, or there is no such source."""
    given = where or SyncWhere()
    if not all(one is None or is_id(one, context.limits) for one in (given.batch_id, given.object_id)):
        return None
    source = None if given.source is None else await sources.named(context.viewer.tenant_id, given.source)
    if given.source is not None and source is None:
        return None
    return Which(
        context.scope,
        states=None if given.states is None else tuple(given.states),
        source_id=source and source["id"],
        batch_id=given.batch_id,
        object_id=given.object_id,
        after=given.created_after,
        before=given.created_before,
    )


@strawberry.type(description="How many local copies there are, by how far they are.")
class SyncStats:
    queued: Count = strawberry.field(description="To be made, or tried again.")
    running: Count = strawberry.field(description="Being made.")
    synced: Count = strawberry.field(description="There and verified.")
    failed: Count = strawberry.field(description="Given up.")
    oldest_queued_at: datetime | None = strawberry.field(
        description="Since when the one is queued that waits longest; null if none waits."
    )

    @classmethod
    def of(cls, rows: Iterable[Row]) -> "SyncStats":
        """The sum of those of sources."""
        rows = list(rows)
        waiting = [row["oldest_queued_at"] for row in rows if row["oldest_queued_at"] is not None]
        counts = {name: Count(sum(row[name] for row in rows)) for name in ("queued", "running", "synced", "failed")}
        return cls(**counts, oldest_queued_at=min(waiting, default=None))
