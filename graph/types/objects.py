"""Batch, Object and Datum, made straight from the rows that a page read."""

from datetime import datetime
from functools import partial

import orjson
import strawberry

from graph.context import Info
from graph.limits import too_complex
from graph.loads import NestedCount, NestedPage
from graph.selection import parts_of_objects
from graph.types.batch_state import BatchProgress
from graph.types.connection import Connection
from graph.types.files import File, Upload
from graph.types.filters import ObjectWhere, filter_of
from graph.types.grants import Grant, grants_on, level_of
from graph.types.local_copy import LocalCopy
from graph.types.node import Node, global_id
from graph.types.people import User
from models import AccessLevel, BatchState, batches, ids, pages, reads
from models.grants import Thing, thing_of
from models.pages import Row


@strawberry.type(description="A key and its value.")
class Datum:
    key: str = strawberry.field(description="May occur more than once in an object.")
    value: str = strawberry.field(description="Always text; filters compare it as a number where it is one.")


@strawberry.type(description="A named group of objects.")
class Batch(Node):
    pk: strawberry.Private[int]
    created_by_pk: strawberry.Private[int]
    batch_id: str = strawberry.field(description="The client's id, unique in the tenant.")
    created_at: datetime = strawberry.field(description="When the batch was made.")

    @classmethod
    def of(cls, row: Row, key: str = "id") -> "Batch":
        """From a row of batches, or with ``key="batch_pk"`` from a row of objects."""
        pk = row[key]
        return cls(
            id=global_id("Batch", pk),
            pk=pk,
            created_by_pk=row["created_by_id"],
            batch_id=row["batch_id"],
            created_at=ids.created_at(pk),
        )

    @strawberry.field(description="Who made the batch.")
    async def created_by(self, info: Info) -> User | None:
        row = await info.context.users.load(self.created_by_pk)
        return row and User.of(row)

    @strawberry.field(description="How far the files in it are that you can read.")
    async def state(self, info: Info) -> BatchState:
        return batches.state_of(await info.context.standings.load(self.pk))

    @strawberry.field(description="How many files it has, and how far they are. It is linear in the files.")
    async def progress(self, info: Info) -> BatchProgress:
        return BatchProgress.of(await info.context.progress.load(self.pk))

    @strawberry.field(description="Since when nothing in it changes any more; null where it may.")
    async def sealed_at(self, info: Info) -> datetime | None:
        moment: datetime | None = (await info.context.standings.load(self.pk))["sealed_at"]
        return moment

    @strawberry.field(description="Who sealed it.")
    async def sealed_by(self, info: Info) -> User | None:
        key = (await info.context.standings.load(self.pk))["sealed_by_id"]
        row = None if key is None else await info.context.users.load(key)
        return row and User.of(row)

    @strawberry.field(
        description="Of a sealed batch, the SHA-256 in hexadecimal of all that is in it, as the manual defines it; null"
        " for those who can read only some of it."
    )
    async def digest(self, info: Info) -> str | None:
        digest = (await info.context.standings.load(self.pk))["digest"]
        return digest and str(digest.hex())

    @strawberry.field(description="What you may do with it and with the objects in it.")
    def access(self, info: Info) -> AccessLevel:
        return level_of(info, Thing(self.pk))

    @strawberry.field(description="Grants on the batch, newest first: all with ADMIN access to it, else your own.")
    async def grants(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Grant]:
        return await grants_on(info, Thing(self.pk), first, after, last, before)

    @strawberry.field(
        description="The batch's objects, newest first. For all batches of a page it is one SQL statement."
    )
    async def objects(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        where: ObjectWhere | None = None,
    ) -> Connection["Object"]:
        context = info.context
        wanted = filter_of(where, context)
        digest = pages.digest("objects of a batch", self.pk, wanted.digest)
        bounds = context.bounds(first, after, last, before, digest)
        nested = NestedPage(self.pk, wanted, bounds, parts_of_objects(info))
        return Connection(
            page=await context.pages.load(nested),
            digest=digest,
            make=Object.of,
            count=partial(context.counts.load, NestedCount(self.pk, wanted)),
        )


@strawberry.type(description="Something with an id of the client's, in one batch, with data that can be filtered.")
class Object(Node):
    row: strawberry.Private[Row]
    object_id: str = strawberry.field(description="The client's id, unique in the tenant.")
    created_at: datetime = strawberry.field(description="When the object was made.")
    updated_at: datetime = strawberry.field(description="When its data last changed; pass it as `ifUpdatedAt`.")

    @classmethod
    def of(cls, row: Row) -> "Object":
        pk = row["id"]
        return cls(
            id=global_id("Object", pk),
            row=row,
            object_id=row["object_id"],
            created_at=ids.created_at(pk),
            updated_at=row["updated_at"],
        )

    @strawberry.field(description="The pairs in the order given.")
    def data(self) -> list[Datum]:
        if (text := self.row["data"]) is None:
            raise too_complex("characters", reads.MOST_CHARACTERS)
        pairs: list[Datum] = orjson.loads(text)  # plain dicts: the schema's default resolver reads both
        return pairs

    @strawberry.field(description="Its file, if one was announced: the complete one, until a newer one is complete.")
    def file(self) -> File | None:
        return None if self.row["file_pk"] is None else File(row=self.row)

    @strawberry.field(
        description="The copy of its file that the service keeps: the newest that is there, else the newest of all;"
        " null where none was asked for."
    )
    async def local_copy(self, info: Info) -> LocalCopy | None:
        row = await info.context.copies.load(self.row["id"])
        return row and LocalCopy(row=row, object_row=self.row)

    @strawberry.field(
        description="Its newest upload that still waits for its bytes, to go on with; for those with EDIT access, null"
        " for all others."
    )
    async def pending_upload(self, info: Info) -> Upload | None:
        level = await info.context.levels.load(thing_of(self.row))
        if not level.includes(AccessLevel.EDIT):
            return None
        row = await info.context.pending.load(self.row["id"])
        return row and Upload.of(row, self.row)

    @strawberry.field(description="The batch it is in.")
    def batch(self) -> Batch:
        return Batch.of(self.row, key="batch_pk")

    @strawberry.field(description="What you may do with it.")
    def access(self, info: Info) -> AccessLevel:
        return level_of(info, thing_of(self.row))

    @strawberry.field(
        description="Grants on the object itself, newest first: all with ADMIN access to it, else your own. Those on"
        " its batch count for it too."
    )
    async def grants(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Grant]:
        return await grants_on(info, thing_of(self.row), first, after, last, before)
