import strawberry

from access.policy import require_on
from graph import lookups
from graph.context import Context, Info
from graph.types.grants import Grant
from graph.types.node import parse_global_id
from models import AccessLevel, Action, audit, grants
from models.audit import Entry
from models.errors import BadInput, CrossTenantGrant
from models.grants import Thing, thing_of
from models.pages import Row


@strawberry.input(description="Access to give, to a batch or to an object: pass one of `batchId` and `objectId`.")
class GrantAccessInput:
    user_id: strawberry.ID = strawberry.field(description="The user's global id.")
    level: AccessLevel = strawberry.field(description="VIEW, EDIT or ADMIN; it takes the place of another level.")
    batch_id: str | None = strawberry.field(
        description="The batch, with all objects it has and will have.", default=None
    )
    object_id: str | None = strawberry.field(description="The object.", default=None)


@strawberry.type(description="What was given.")
class GrantAccessPayload:
    grant: Grant = strawberry.field(description="As it is now.")


@strawberry.type
class GrantAccess:
    @strawberry.mutation(
        description="Give a user of your tenant access to a batch or an object. It takes ADMIN access to it."
    )
    async def grant_access(self, info: Info, input: GrantAccessInput) -> GrantAccessPayload:  # noqa: A002
        context = info.context
        if input.level is AccessLevel.NONE:
            raise BadInput("NONE cannot be granted: take a grant away with revokeAccess.")
        thing, row = await thing_named(context, input.batch_id, input.object_id)
        await require_on(context.viewer, AccessLevel.ADMIN, [thing])
        user = await _user(context, input.user_id)
        viewer = context.viewer
        given = await grants.give(viewer.tenant_id, user["id"], thing, input.level, by_id=viewer.user_id)
        details = {"userName": user["name"], "level": input.level.value}
        await audit.record(viewer.actor, Entry(Action.GRANT_GIVEN, row["batch_id"], input.object_id, details=details))
        return GrantAccessPayload(grant=Grant.of(given))


async def thing_named(context: Context, batch_id: str | None, object_id: str | None) -> tuple[Thing, Row]:
    """With its row. Raises BadInput unless exactly one is given, NotFound where the viewer can read none."""
    if batch_id is not None and object_id is None:
        row = await lookups.batch(context, batch_id)
        return Thing(row["id"]), row
    if object_id is not None and batch_id is None:
        row = await lookups.object_(context, object_id)
        return thing_of(row), row
    raise BadInput('Pass either "batchId" or "objectId".')


async def _user(context: Context, user_id: strawberry.ID) -> Row:
    """Raises CrossTenantGrant, whether it is a user of another tenant or none at all."""
    type_name, key = parse_global_id(user_id)
    row = await context.users.load(key) if type_name == "User" else None
    if row is None:
        raise CrossTenantGrant
    return row
