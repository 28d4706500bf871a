"""AuditEntry, and the filter of the list of them."""

from datetime import datetime

import orjson
import strawberry

from access.policy import Viewer, require
from graph.context import Info
from graph.types.node import Node, global_id, parse_global_id
from graph.types.objects import Datum
from graph.types.people import User
from models import AccessLevel, Action
from models.audit import Which
from models.errors import BadInput
from models.pages import Row

strawberry.enum(Action, name="AuditAction", description="What was done.")


@strawberry.type(description="What somebody did. It stays, whatever becomes of what it is about.")
class AuditEntry(Node):
    row: strawberry.Private[Row]
    at: datetime = strawberry.field(description="When it was done.")
    action: Action = strawberry.field(description="What was done.")
    key_id: str | None = strawberry.field(
        description="The public part of the key it was done with, or `token:` or `oidc:` and a number for a token."
    )
    batch_id: str | None = strawberry.field(description="Of the batch it is about, as it was.")
    object_id: str | None = strawberry.field(description="Of the object it is about, as it was.")
    until: datetime | None = strawberry.field(description="Until when a URL works.")

    @classmethod
    def of(cls, row: Row) -> "AuditEntry":
        return cls(
            id=global_id("AuditEntry", row["id"]),
            row=row,
            at=row["at"],
            action=Action(row["action"]),
            key_id=row["key_id"],
            batch_id=row["batch_id"],
            object_id=row["object_id"],
            until=row["until_at"],
        )

    @strawberry.field(
        description="Who did it, or whom an operator acted as; null where it was done by an operator as such or from"
        " the command line."
    )
    async def user(self, info: Info) -> User | None:
        key = self.row["user_id"]
        row = None if key is None else await info.context.users.load(key)
        return row and User.of(row)

    @strawberry.field(description="Whether an operator of the service did it.")
    def by_operator(self) -> bool:
        return self.row["operator_id"] is not None

    @strawberry.field(description="Global id of the upload whose bytes a URL reads or writes.")
    def upload_id(self) -> strawberry.ID | None:
        key = self.row["upload_pk"]
        return None if key is None else global_id("Upload", key)

    @strawberry.field(description="More about it: who is given access and which, which key, the new role and the like.")
    def details(self) -> list[Datum]:
        text = self.row["details"]
        return [Datum(key=key, value=value) for key, value in orjson.loads(text or "{}").items()]


@strawberry.input(description="Which entries. All that is given must hold.")
class AuditWhere:
    actions: list[Action] | None = strawberry.field(description="One of these was done.", default=None)
    user_id: strawberry.ID | None = strawberry.field(description="By this user (global id).", default=None)
    batch_id: str | None = strawberry.field(description="About this batch, or an object in it.", default=None)
    object_id: str | None = strawberry.field(description="About this object.", default=None)
    after: datetime | None = strawberry.field(description="Done later than this.", default=None)
    before: datetime | None = strawberry.field(description="Done earlier than this.", default=None)


def readable(viewer: Viewer, where: AuditWhere | None) -> Which:
    """Raises Forbidden for all but admins with a key of the scope ADMIN."""
    require(viewer, AccessLevel.ADMIN)
    given = where or AuditWhere()
    return Which(
        viewer.tenant_id,
        actions=None if given.actions is None else tuple(given.actions),
        user_id=None if given.user_id is None else _user(given.user_id),
        batch_id=given.batch_id,
        object_id=given.object_id,
        after=given.after,
        before=given.before,
    )


def _user(user_id: strawberry.ID) -> int:
    type_name, key = parse_global_id(user_id)
    if type_name != "User":
        raise BadInput('"userId" is not the id of a user.')
    return key
