"""User, Tenant and Viewer."""

from datetime import datetime

import strawberry

from graph.types.node import Node, global_id
from models import AccessLevel, Role
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


@strawberry.type(description="Isolates users, batches, objects and keys from those of others.")
class Tenant:
    slug: str = strawberry.field(description="The tenant's name in addresses and commands.")
    member_access: AccessLevel = strawberry.field(description="What members may do with everything in the tenant.")


@strawberry.type(description="Whoever sent this request.")
class Viewer:
    user: User = strawberry.field(description="The user whose key it was.")
    tenant: Tenant = strawberry.field(description="The tenant of the user.")
    access: AccessLevel = strawberry.field(description="What the user may do with everything in the tenant.")
