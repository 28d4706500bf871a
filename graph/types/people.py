"""User."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from access.policy import require
from graph.context import Info
from graph.types.connection import Connection
from graph.types.node import Node, global_id
from models import AccessLevel, Role
from models.pages import Row

if TYPE_CHECKING:
    from graph.types.grants import Grant

strawberry.enum(Role, description="What a user is in the tenant.")
strawberry.enum(AccessLevel, description="How far someone may go, each level including the ones before.")


@strawberry.type(description="A person or a program of the tenant.")
class User(Node):
    name: str = strawberry.field(description="Unique in the tenant.")
    role: Role = strawberry.field(description="ADMIN may do everything in the tenant.")
    pk: strawberry.Private[int]
    created_at: datetime = strawberry.field(description="When the user was made.")
    revoked_at: datetime | None = strawberry.field(description="Since when the user's credentials are refused.")

    @classmethod
    def of(cls, row: Row) -> "User":
        return cls(
            id=global_id("User", row["id"]),
            pk=row["id"],
            name=row["name"],
            role=Role(row["role"]),
            created_at=row["created_at"],
            revoked_at=row["revoked_at"],
        )

    @strawberry.field(
        description="The user's grants, newest first. They are the user's own and the admins' business: FORBIDDEN else."
    )
    async def grants(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Annotated["Grant", strawberry.lazy("graph.types.grants")]] | None:
        from graph.types.grants import grants_of  # noqa: PLC0415 - each of the two has the other

        if self.pk != info.context.viewer.user_id:
            require(info.context.viewer, AccessLevel.ADMIN)
        return await grants_of(info, self.pk, first, after, last, before)
