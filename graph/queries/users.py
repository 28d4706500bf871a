from functools import partial

import strawberry

from graph.context import Info
from graph.types.connection import Connection
from graph.types.people import User
from models import pages, people


@strawberry.type
class UserQuery:
    @strawberry.field(
        description="The users of your tenant, newest first; only you where you can neither see nor grant anything."
    )
    async def users(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[User]:
        context = info.context
        tenant_id = context.viewer.tenant_id
        only = None if await context.sees_people() else context.viewer.user_id
        digest = pages.digest("users", tenant_id)
        bounds = context.bounds(first, after, last, before, digest)
        return Connection(
            page=await people.users(tenant_id, only, bounds),
            digest=digest,
            make=User.of,
            count=partial(people.count_users, tenant_id, only),
        )
