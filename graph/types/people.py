"""User."""

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
