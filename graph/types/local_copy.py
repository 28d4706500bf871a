"""LocalCopy: the file of an object that the service keeps itself, from its row of syncs."""

from datetime import datetime

import strawberry

from graph.scalars import Size
from graph.types.copy_urls import ReadableCopy
from models import SyncState

strawberry.enum(
    SyncState, description="How far a local copy is: to be made, being made, there and verified, or given up."
)


@strawberry.type(description="The copy of an object's file that the service keeps: the newest that is there.")
class LocalCopy(ReadableCopy):
    @strawberry.field(description="How far it is; of several SYNCED, if there is one.")
    def state(self) -> SyncState:
        return SyncState(self.row["state"])

    @strawberry.field(description="As the notice named it.")
    def file_name(self) -> str:
        return str(self.row["file_name"])

    @strawberry.field(description="As the notice said.")
    def file_type(self) -> str:
        return str(self.row["file_type"])

    @strawberry.field(description="Name of the source it comes from.")
    def source(self) -> str:
        return str(self.row["source"])

    @strawberry.field(description="Where it is: below the root of local copies, or its key in another bucket.")
    def path(self) -> str | None:
        path: str | None = self.row["path"]
        return path

    @strawberry.field(description="In bytes.")
    def size(self) -> Size | None:
        size: Size | None = self.row["size_bytes"]
        return size

    @strawberry.field(description="Of the bytes, in hexadecimal, computed while they were copied.")
    def sha256(self) -> str | None:
        digest = self.row["sha256"]
        return digest and str(digest.hex())

    @strawberry.field(description="When it was copied and verified.")
    def synced_at(self) -> datetime | None:
        moment: datetime | None = self.row["synced_at"]
        return moment

    @strawberry.field(description="The code of what went wrong at the last try; null if nothing did.")
    def problem(self) -> str | None:
        problem: str | None = self.row["problem"]
        return problem
