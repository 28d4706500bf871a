"""Tenants, made, suspended, resumed and bounded by operators."""

import re
from collections.abc import Awaitable, Mapping
from typing import Any

import strawberry

from access import credentials
from access.policy import Operator, as_operator
from graph.context import Info
from graph.scalars import Count, Size
from graph.types.operators import ManagedTenant
from models import AccessLevel, Action, Role, audit, database, operators, people
from models.audit import Entry
from models.errors import BadInput
from models.pages import Row

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FIRST_KEY = "first key"


@strawberry.input(description="A tenant to make.")
class CreateTenantInput:
    slug: str = strawberry.field(description="Its name in addresses and commands: 1 to 63 of a-z, 0-9 and -.")
    admin_name: str = strawberry.field(description="A user to make in it, its first admin, who gets a key.")
    member_access: AccessLevel = strawberry.field(
        description="What members may do with everything in it: NONE, VIEW or EDIT.", default=AccessLevel.NONE
    )
    quota_bytes: Size | None = strawberry.field(
        description="Most bytes of files; null for no limit, absent for the default.", default=strawberry.UNSET
    )
    quota_objects: Count | None = strawberry.field(
        description="Most objects; null for no limit, absent for the default.", default=strawberry.UNSET
    )


@strawberry.input(description="A tenant.")
class TenantInput:
    slug: str = strawberry.field(description="Which one.")


@strawberry.input(description="Quotas to set.")
class SetQuotasInput:
    slug: str = strawberry.field(description="Of which tenant.")
    quota_bytes: Size | None = strawberry.field(
        description="Most bytes of files; null for no limit, absent to leave it.", default=strawberry.UNSET
    )
    quota_objects: Count | None = strawberry.field(
        description="Most objects; null for no limit, absent to leave it.", default=strawberry.UNSET
    )


@strawberry.type(description="The tenant as it is now.")
class ManagedTenantPayload:
    tenant: ManagedTenant = strawberry.field(description="The tenant.")


@strawberry.type(description="What was made.")
class CreateTenantPayload:
    tenant: ManagedTenant = strawberry.field(description="The tenant.")
    key: str = strawberry.field(description="The admin's API key, whole. It cannot be shown again.")


@strawberry.type
class Tenants:
    @strawberry.mutation(description="Make a tenant with its first admin. For operators.")
    async def create_tenant(self, info: Info, input: CreateTenantInput) -> CreateTenantPayload:  # noqa: A002
        operator = as_operator(info.context.caller)
        if not _SLUG.fullmatch(input.slug):
            raise BadInput("The slug must be 1 to 63 of a-z, 0-9 and -, and begin with a letter or digit.")
        if input.member_access is AccessLevel.ADMIN:
            raise BadInput("Members cannot have ADMIN access to everything: give them the role ADMIN.")
        quotas = {**info.context.limits.default_quotas, **_quotas(input.quota_bytes, input.quota_objects)}
        async with database.transaction():
            row = await operators.create_tenant(input.slug, input.member_access, quotas)
            await _record(operator, row, Action.TENANT_CREATED, quotas)
            actor = operator.actor_on(row["id"])
            user = await people.create_user(row["id"], input.admin_name, Role.ADMIN)
            details = {"userName": user["name"], "role": user["role"]}
            await audit.record(actor, Entry(Action.USER_CREATED, details=details))
            key = await credentials.create_key_of(actor, user["id"], user["name"], _FIRST_KEY)
            return CreateTenantPayload(tenant=ManagedTenant.of(row), key=key)

    @strawberry.mutation(
        description="Let none of a tenant's credentials open anything until it is resumed. For operators."
    )
    async def suspend_tenant(self, info: Info, input: TenantInput) -> ManagedTenantPayload:  # noqa: A002
        operator = as_operator(info.context.caller)
        return await _changed(operator, Action.TENANT_SUSPENDED, operators.suspend_tenant(input.slug))

    @strawberry.mutation(description="Let a suspended tenant's credentials work again. For operators.")
    async def resume_tenant(self, info: Info, input: TenantInput) -> ManagedTenantPayload:  # noqa: A002
        operator = as_operator(info.context.caller)
        return await _changed(operator, Action.TENANT_RESUMED, operators.resume_tenant(input.slug))

    @strawberry.mutation(
        description="Change a tenant's quotas, from now on: below what is used, nothing new is taken. For operators."
    )
    async def set_quotas(self, info: Info, input: SetQuotasInput) -> ManagedTenantPayload:  # noqa: A002
        operator = as_operator(info.context.caller)
        quotas = _quotas(input.quota_bytes, input.quota_objects)
        if not quotas:
            raise BadInput('Pass "quotaBytes", "quotaObjects" or both: there is nothing to change.')
        return await _changed(operator, Action.QUOTAS_SET, operators.set_quotas(input.slug, quotas), quotas)


async def _changed(
    operator: Operator, action: Action, change: Awaitable[Row], quotas: Mapping[str, int | None] | None = None
) -> ManagedTenantPayload:
    async with database.transaction():
        row = await change
        await _record(operator, row, action, quotas or {})
        return ManagedTenantPayload(tenant=ManagedTenant.of(row))


async def _record(operator: Operator, row: Row, action: Action, quotas: Mapping[str, int | None]) -> None:
    names = {"quota_bytes": "quotaBytes", "quota_objects": "quotaObjects"}
    details = {names[name]: "none" if most is None else str(most) for name, most in quotas.items()}
    await audit.record(operator.actor_on(row["id"]), Entry(action, details=details))


def _quotas(quota_bytes: Any, quota_objects: Any) -> dict[str, int | None]:
    """Those given, by their columns."""
    given = {"quota_bytes": quota_bytes, "quota_objects": quota_objects}
    for name, most in given.items():
        if most not in (None, strawberry.UNSET) and most < 0:
            raise BadInput(f'"{name}" must not be negative.')
    return {name: most for name, most in given.items() if most is not strawberry.UNSET}
