"""Viewer and Tenant."""

import strawberry

from access.policy import own_keys, readable_keys, require
from graph.context import Info
from graph.scalars import Count, Size
from graph.types.connection import Connection
from graph.types.keys import Key, page_of_keys
from graph.types.people import User
from models import AccessLevel, KeyScope, people
from models.pages import Row


@strawberry.type(description="What a tenant uses, and the most that it may: nothing new is taken beyond that.")
class Usage:
    bytes_used: Size = strawberry.field(description="Of complete files.")
    bytes_reserved: Size = strawberry.field(
        description="Of uploads under way, as announced, and of those deleted or replaced whose URLs still work."
    )
    bytes_limit: Size | None = strawberry.field(description="Of both together; null where there is no limit.")
    objects_used: Count = strawberry.field(description="How many objects there are.")
    objects_limit: Count | None = strawberry.field(description="Null where there is no limit.")

    @classmethod
    def of(cls, row: Row) -> "Usage":
        return cls(
            bytes_used=row["used_bytes"],
            bytes_reserved=row["reserved_bytes"],
            bytes_limit=row["quota_bytes"],
            objects_used=row["used_objects"],
            objects_limit=row["quota_objects"],
        )


@strawberry.type(description="Isolates users, batches, objects and keys from those of others.")
class Tenant:
    pk: strawberry.Private[int]
    slug: str = strawberry.field(description="The tenant's name in addresses and commands.")
    member_access: AccessLevel = strawberry.field(description="What members may do with everything in the tenant.")

    @strawberry.field(description="What it uses of its quotas.")
    async def usage(self) -> Usage:
        row = await people.usage(self.pk)
        return Usage.of(row)

    @strawberry.field(description="The API keys of all its users, newest first. This needs ADMIN access.")
    async def keys(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Key]:
        require(info.context.viewer, AccessLevel.ADMIN)
        return await page_of_keys(info.context, readable_keys(info.context.viewer), first, after, last, before)


@strawberry.type(description="Whoever sent this request.")
class Viewer:
    user: User = strawberry.field(description="The user whose key or token it was.")
    tenant: Tenant = strawberry.field(description="The tenant of the user.")
    access: AccessLevel = strawberry.field(
        description="What the user may do with everything in the tenant, with this key."
    )
    scope: KeyScope = strawberry.field(description="How far this key lets its user go; tokens have ADMIN.")

    @strawberry.field(description="The user's own API keys, newest first.")
    async def keys(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[Key]:
        return await page_of_keys(info.context, own_keys(info.context.viewer), first, after, last, before)
