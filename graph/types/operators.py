"""What operators see: themselves and the tenants, without anything that is in them."""

from datetime import datetime

import strawberry

from graph.context import Info
from graph.types.connection import Connection
from graph.types.viewer import Usage
from models import AccessLevel, operators, pages
from models.pages import Row


@strawberry.type(description="A tenant as operators see it: who and how much, not what.")
class ManagedTenant:
    slug: str = strawberry.field(description="The tenant's name in addresses and commands.")
    member_access: AccessLevel = strawberry.field(description="What members may do with everything in the tenant.")
    created_at: datetime = strawberry.field(description="When it was made.")
    suspended_at: datetime | None = strawberry.field(description="Since when its credentials open nothing.")
    usage: Usage = strawberry.field(description="What it uses of its quotas.")

    @classmethod
    def of(cls, row: Row) -> "ManagedTenant":
        return cls(
            slug=row["slug"],
            member_access=AccessLevel(row["member_access"]),
            created_at=row["created_at"],
            suspended_at=row["revoked_at"],
            usage=Usage.of(row),
        )


@strawberry.type(description="Whoever stands above tenants.")
class Operator:
    name: str = strawberry.field(description="Unique among operators.")

    @strawberry.field(description="All tenants, newest first.")
    async def tenants(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[ManagedTenant]:
        digest = pages.digest("tenants")
        bounds = info.context.bounds(first, after, last, before, digest)
        return Connection(
            page=await operators.tenants(bounds), digest=digest, make=ManagedTenant.of, count=operators.count_tenants
        )

    @strawberry.field(description="One tenant; NOT_FOUND when there is none.")
    async def tenant(self, slug: str) -> ManagedTenant | None:
        return ManagedTenant.of(await operators.tenant(slug))
