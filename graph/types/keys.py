"""Key: an API key without its secret."""

from datetime import datetime, timedelta
from functools import partial

import strawberry

from graph.context import Context, Info
from graph.types.connection import Connection
from graph.types.node import Node, global_id
from graph.types.people import User
from models import KeyScope, keys, pages
from models.keys import Whose
from models.pages import Row

strawberry.enum(KeyScope, description="How far a key lets its user go, each scope including the ones before.")


@strawberry.type(description="An API key, without its secret.")
class Key(Node):
    user_pk: strawberry.Private[int]
    key_id: str = strawberry.field(description="Its public part, which logs and lists name it by.")
    name: str = strawberry.field(description="What it is for.")
    scope: KeyScope = strawberry.field(description="How far it lets its user go.")
    created_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime | None = strawberry.field(description="From when on it is refused; null: never.")
    last_used_at: datetime | None = strawberry.field(description="When it was last used, to the minute; null: never.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked; null while it was not.")

    @strawberry.field(description="Whose it is.")
    async def user(self, info: Info) -> User:
        return User.of(await info.context.users.load(self.user_pk))

    @classmethod
    def of(cls, row: Row) -> "Key":
        return cls(
            id=global_id("Key", row["id"]),
            user_pk=row["user_id"],
            key_id=row["public_id"],
            name=row["name"],
            scope=KeyScope(row["scope"]),
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            last_used_at=row["used_at"],
            revoked_at=row["revoked_at"],
        )


async def page_of_keys(
    context: Context, whose: Whose, first: int | None, after: str | None, last: int | None, before: str | None
) -> Connection[Key]:
    digest = pages.digest("keys", whose)
    page = await keys.page(whose, context.bounds(first, after, last, before, digest))
    return Connection(page=page, digest=digest, make=Key.of, count=partial(keys.count, whose))


def seconds(given: int | None) -> timedelta | None:
    return None if given is None else timedelta(seconds=given)
