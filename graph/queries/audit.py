from functools import partial

import strawberry

from graph.context import Info
from graph.types.audit import AuditEntry, AuditWhere, readable
from graph.types.connection import Connection
from models import audit, pages


@strawberry.type
class AuditQuery:
    @strawberry.field(
        description="Who was given URLs of files and who changed grants, keys, users and the tenant, newest first. This"
        " needs ADMIN access."
    )
    async def audit_log(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        where: AuditWhere | None = None,
    ) -> Connection[AuditEntry]:
        context = info.context
        which = readable(context.viewer, where)
        digest = pages.digest("audit log", which)
        bounds = context.bounds(first, after, last, before, digest)
        return Connection(
            page=await audit.page(which, bounds),
            digest=digest,
            make=AuditEntry.of,
            count=partial(audit.count, which),
        )
