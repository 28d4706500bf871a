"""Grant, and the lists of grants that things and users have."""

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, cast

import strawberry

from access import policy
from graph.context import Info
from graph.loads import NestedGrants
from graph.selection import parts_of_objects
from graph.types.connection import Connection
from graph.types.node import Node, global_id
from graph.types.people import User
from models import AccessLevel, grants, pages
from models.errors import NotFound
from models.grants import Thing
from models.pages import Row

if TYPE_CHECKING:
    from graph.types.objects import Batch, Object


@strawberry.type(description="Access of a user to a batch with all its objects, or to one object.")
class Grant(Node):
    row: strawberry.Private[Row]
    level: AccessLevel = strawberry.field(description="VIEW, EDIT or ADMIN.")
    created_at: datetime = strawberry.field(description="When it was given, or last changed.")

    @classmethod
    def of(cls, row: Row) -> "Grant":
        return cls(
            id=global_id("Grant", row["id"]), row=row, level=AccessLevel(row["level"]), created_at=row["created_at"]
        )

    @strawberry.field(description="Whose access it is.")
    async def user(self, info: Info) -> User:
        row = await info.context.users.load(self.row["user_id"])
        if row is None:
            raise NotFound
        return User.of(row)

    @strawberry.field(description="Who gave it; null where that user is not visible to you.")
    async def granted_by(self, info: Info) -> User | None:
        row = await info.context.users.load(self.row["granted_by_id"])
        return row and User.of(row)

    @strawberry.field(description="The batch, or that of the object.")
    async def batch(self, info: Info) -> Annotated["Batch", strawberry.lazy("graph.types.objects")]:
        from graph.types.objects import Batch  # noqa: PLC0415 - each of the two has the other

        return Batch.of(await info.context.batches.load(self.row["batch_pk"]))

    @strawberry.field(description="The object; null where it is the whole batch.")
    async def object(self, info: Info) -> Annotated["Object", strawberry.lazy("graph.types.objects")] | None:
        from graph.types.objects import Object  # noqa: PLC0415 - each of the two has the other

        if self.row["object_pk"] is None:
            return None
        return Object.of(await info.context.objects.load((self.row["object_pk"], parts_of_objects(info))))


def level_of(info: Info, thing: Thing) -> AccessLevel:
    """Without waiting, where nothing can make it higher."""
    level = info.context.viewer.access
    # The executor awaits what can be awaited; the schema knows the type only.
    return level if level is AccessLevel.ADMIN else cast("AccessLevel", info.context.levels.load(thing))


async def grants_on(
    info: Info, thing: Thing, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[Grant]:
    """Those on the thing itself: all of them for who may grant, else one's own."""
    context = info.context
    only_user = policy.listed_grants(context.viewer, await context.levels.load(thing))
    digest = pages.digest("grants on", thing)
    bounds = context.bounds(first, after, last, before, digest)
    return Connection(
        page=await context.grants.load(NestedGrants(thing, only_user, bounds)),
        digest=digest,
        make=Grant.of,
        count=partial(grants.count, context.viewer.tenant_id, thing, only_user),
    )


async def grants_of(
    info: Info, user_id: int, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[Grant]:
    """All of a user."""
    context = info.context
    tenant_id = context.viewer.tenant_id
    digest = pages.digest("grants of", user_id)
    bounds = context.bounds(first, after, last, before, digest)
    return Connection(
        page=await grants.of_user(tenant_id, user_id, bounds),
        digest=digest,
        make=Grant.of,
        count=partial(grants.count_of_user, tenant_id, user_id),
    )
