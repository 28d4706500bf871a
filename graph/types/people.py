"""User, Tenant and Viewer."""

from datetime import datetime

import strawberry

from graph.scalars import Count, Size
from graph.types.node import Node, global_id
from models import AccessLevel, Role, people
from models.pages import Row

strawberry.enum(Role, description="What a user is in the tenant.")
strawberry.enum(AccessLevel, description="How far someone may go, each level including the ones before.")


@strawberry.type(description="A person or a program of the tenant.")
class User(Node):
    name: str = strawberry.field(description="Unique in the tenant.")
    role: Role = strawberry.field(description="ADMIN may do everything in the tenant.")
    created_at: datetime = strawberry.field(description="When the user was made.")

    @classmethod
    def of(cls, row: Row) -> "User":
        return cls(
            id=global_id("User", row["id"]), name=row["name"], role=Role(row["role"]), created_at=row["created_at"]
        )


@strawberry.type(description="What a tenant uses, and the most that it may: nothing new is taken beyond that.")
class Usage:
    bytes_used: Size = strawberry.field(description="Of complete files.")
    bytes_reserved: Size = strawberry.field(description="Of uploads under way, as announced.")
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
    key: strawberry.Private[int]
    slug: str = strawberry.field(description="The tenant's name in addresses and commands.")
    member_access: AccessLevel = strawberry.field(description="What members may do with everything in the tenant.")

    @strawberry.field(description="What it uses of its quotas.")
    async def usage(self) -> Usage:
        [row] = await people.usage(self.key)
        return Usage.of(row)


@strawberry.type(description="Whoever sent this request.")
class Viewer:
    user: User = strawberry.field(description="The user whose key it was.")
    tenant: Tenant = strawberry.field(description="The tenant of the user.")
    access: AccessLevel = strawberry.field(description="What the user may do with everything in the tenant.")
