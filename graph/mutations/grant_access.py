import strawberry

from access.policy import require_on
from graph import lookups
from graph.context import Context, Info
from graph.types.grants import Grant
from graph.types.node import parse_global_id
from models import AccessLevel, grants
from models.errors import BadInput, CrossTenantGrant
from models.grants import Thing, thing_of


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
        thing = await thing_named(context, input.batch_id, input.object_id)
        await require_on(context.viewer, AccessLevel.ADMIN, [thing])
        user_id = await _user(context, input.user_id)
        viewer = context.viewer
        return GrantAccessPayload(
            grant=Grant.of(await grants.give(viewer.tenant_id, user_id, thing, input.level, by_id=viewer.user_id))
        )


async def thing_named(context: Context, batch_id: str | None, object_id: str | None) -> Thing:
    """Raises BadInput unless exactly one is given, NotFound where there is none that the viewer can read."""
    if batch_id is not None and object_id is None:
        return Thing((await lookups.batch(context, batch_id))["id"])
    if object_id is not None and batch_id is None:
        return thing_of(await lookups.object_(context, object_id))
    raise BadInput('Pass either "batchId" or "objectId".')


async def _user(context: Context, user_id: strawberry.ID) -> int:
    """Raises CrossTenantGrant, whether it is a user of another tenant or none at all."""
    type_name, key = parse_global_id(user_id)
    if type_name != "User" or await context.users.load(key) is None:
        raise CrossTenantGrant
    return key
