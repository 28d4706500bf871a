"""Who is in the tenant, and what its members may do. All of it takes ADMIN access to the tenant."""

import strawberry

from access.policy import require
from graph.context import Info
from graph.types.node import parse_global_id
from graph.types.people import User
from graph.types.viewer import Tenant
from models import AccessLevel, Action, Role, audit, people
from models.audit import Entry
from models.errors import BadInput, NotFound
from models.pages import Row
from models.people import LONGEST_NAME


@strawberry.input(description="A user to make.")
class CreateUserInput:
    name: str = strawberry.field(description=f"Unique in the tenant, 1 to {LONGEST_NAME} characters.")
    role: Role = strawberry.field(description="MEMBER if absent.", default=Role.MEMBER)


@strawberry.input(description="A change of a user.")
class UpdateUserInput:
    user_id: strawberry.ID = strawberry.field(description="The user's global id.")
    role: Role = strawberry.field(description="The new role.")


@strawberry.input(description="A user whose credentials are to be refused.")
class RevokeUserInput:
    user_id: strawberry.ID = strawberry.field(description="The user's global id.")


@strawberry.input(description="A change of your tenant.")
class UpdateTenantInput:
    member_access: AccessLevel = strawberry.field(
        description="What members may do with everything in it, present and future: NONE, VIEW or EDIT."
    )


@strawberry.type(description="The user as it is now.")
class UserPayload:
    user: User = strawberry.field(description="The user.")


@strawberry.type(description="The tenant as it is now.")
class UpdateTenantPayload:
    tenant: Tenant = strawberry.field(description="Your tenant.")


@strawberry.type
class People:
    @strawberry.mutation(description="Make a user of your tenant; it needs a key to do anything.")
    async def create_user(self, info: Info, input: CreateUserInput) -> UserPayload:  # noqa: A002
        require(info.context.viewer, AccessLevel.ADMIN)
        row = await people.create_user(_tenant(info), input.name, input.role)
        return await _recorded(info, Action.USER_CREATED, row, role=row["role"])

    @strawberry.mutation(description="Change a user's role. LAST_ADMIN where the tenant would have no admin.")
    async def update_user(self, info: Info, input: UpdateUserInput) -> UserPayload:  # noqa: A002
        require(info.context.viewer, AccessLevel.ADMIN)
        row = await people.set_role(_tenant(info), _user(input.user_id), input.role)
        return await _recorded(info, Action.USER_CHANGED, row, role=row["role"])

    @strawberry.mutation(
        description="Refuse all credentials of a user from now on; what the user made stays. LAST_ADMIN where the"
        " tenant would have no admin."
    )
    async def revoke_user(self, info: Info, input: RevokeUserInput) -> UserPayload:  # noqa: A002
        require(info.context.viewer, AccessLevel.ADMIN)
        row = await people.revoke_user(_tenant(info), _user(input.user_id))
        return await _recorded(info, Action.USER_REVOKED, row)

    @strawberry.mutation(description="Change what the members of your tenant may do with everything in it.")
    async def update_tenant(self, info: Info, input: UpdateTenantInput) -> UpdateTenantPayload:  # noqa: A002
        viewer = info.context.viewer
        require(viewer, AccessLevel.ADMIN)
        if input.member_access is AccessLevel.ADMIN:
            raise BadInput("Members cannot have ADMIN access to everything: give them the role ADMIN.")
        await people.set_member_access(viewer.tenant_id, input.member_access)
        details = {"memberAccess": input.member_access.value}
        await audit.record(viewer.actor, Entry(Action.TENANT_CHANGED, details=details))
        return UpdateTenantPayload(
            tenant=Tenant(pk=viewer.tenant_id, slug=viewer.tenant_slug, member_access=input.member_access)
        )


async def _recorded(info: Info, action: Action, user: Row, **details: str) -> UserPayload:
    await audit.record(info.context.viewer.actor, Entry(action, details={"userName": user["name"], **details}))
    return UserPayload(user=User.of(user))


def _tenant(info: Info) -> int:
    return info.context.viewer.tenant_id


def _user(user_id: strawberry.ID) -> int:
    type_name, key = parse_global_id(user_id)
    if type_name != "User":
        raise NotFound("There is no such user.")
    return key
