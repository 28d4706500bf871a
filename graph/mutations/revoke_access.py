import strawberry

from access.policy import require_on
from graph.context import Info
from graph.mutations.grant_access import thing_named
from graph.types.node import global_id, parse_global_id
from models import AccessLevel, Action, audit, grants
from models.audit import Entry
from models.errors import NotFound


@strawberry.input(description="A grant to take away, on a batch or on an object: pass one of `batchId` and `objectId`.")
class RevokeAccessInput:
    user_id: strawberry.ID = strawberry.field(description="The user's global id.")
    batch_id: str | None = strawberry.field(description="The batch.", default=None)
    object_id: str | None = strawberry.field(description="The object.", default=None)


@strawberry.type(description="What was taken away.")
class RevokeAccessPayload:
    revoked_grant_id: strawberry.ID = strawberry.field(description="The grant's global id.")


@strawberry.type
class RevokeAccess:
    @strawberry.mutation(
        description="Take away a grant. It takes ADMIN access to the thing. What the user may do by other grants, the"
        " role or the tenant stays."
    )
    async def revoke_access(self, info: Info, input: RevokeAccessInput) -> RevokeAccessPayload:  # noqa: A002
        context = info.context
        thing, row = await thing_named(context, input.batch_id, input.object_id)
        await require_on(context.viewer, AccessLevel.ADMIN, [thing])
        type_name, user_id = parse_global_id(input.user_id)
        grant = await grants.take(context.viewer.tenant_id, user_id, thing) if type_name == "User" else None
        if grant is None:
            raise NotFound("There is no such grant: the user may have access by another one, the role or the tenant.")
        user = await context.users.load(user_id)  # who may grant sees everybody
        details = {"userName": user["name"], "level": grant["level"]}
        await audit.record(
            context.viewer.actor, Entry(Action.GRANT_TAKEN, row["batch_id"], input.object_id, details=details)
        )
        return RevokeAccessPayload(revoked_grant_id=global_id("Grant", grant["id"]))
