"""Tenants, their users and the keys users authenticate with."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model

from models import database
from models.pages import Row


class Role(StrEnum):
    """What a user is in the tenant."""

    ADMIN = "ADMIN"
    MEMBER = "MEMBER"


class AccessLevel(StrEnum):
    """How far someone may go, each level including the ones before."""

    NONE = "NONE"
    VIEW = "VIEW"
    EDIT = "EDIT"
    ADMIN = "ADMIN"

    def includes(self, other: "AccessLevel") -> bool:
        order = list(AccessLevel)
        return order.index(self) >= order.index(other)

    def at_most(self, other: "AccessLevel") -> "AccessLevel":
        return other if self.includes(other) else self


class KeyScope(StrEnum):
    """How far a key lets its user go, each scope including the ones before."""

    READ = "READ"
    WRITE = "WRITE"
    ADMIN = "ADMIN"

    def includes(self, other: "KeyScope") -> bool:
        order = list(KeyScope)
        return order.index(self) >= order.index(other)


class Tenant(Model):
    """Isolates users, batches, objects and keys. A revoked tenant's users cannot authenticate."""

    id = fields.BigIntField(primary_key=True)
    slug = fields.CharField(max_length=63)
    member_access = fields.CharEnumField(AccessLevel, max_length=5, default=AccessLevel.NONE)
    created_at = fields.DatetimeField(auto_now_add=True)
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "tenants"
        table_description = "isolate users, batches, objects and keys"
        constraints = (
            UniqueConstraint(("slug",), name="tenants_slug_unique"),
            CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="tenants_slug_form"),
            CheckConstraint("member_access IN ('NONE', 'VIEW', 'EDIT')", name="tenants_member_access_known"),
        )


class User(Model):
    id = fields.BigIntField(primary_key=True)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="users", on_delete=fields.RESTRICT
    )
    name = fields.CharField(max_length=128)
    role = fields.CharEnumField(Role, max_length=6, default=Role.MEMBER)
    oidc_subject = fields.CharField(max_length=255, null=True)
    created_at = fields.DatetimeField(auto_now_add=True)
    revoked_at = fields.DatetimeField(null=True)

    tenant_id: int

    class Meta:
        table = "users"
        table_description = "people and programs of a tenant"
        constraints = (
            UniqueConstraint(("tenant", "name"), name="users_name_unique"),
            UniqueConstraint(("tenant", "id"), name="users_tenant_id_unique"),
            CheckConstraint("name <> ''", name="users_name_not_empty"),
            CheckConstraint("role IN ('ADMIN', 'MEMBER')", name="users_role_known"),
            # One subject is one user, so that a token of the issuer never chooses between tenants.
            UniqueConstraint(("oidc_subject",), name="users_oidc_subject_unique"),
            CheckConstraint("oidc_subject <> ''", name="users_oidc_subject_not_empty"),
        )


class ApiKey(Model):
    """``wb_<public_id>_<secret>``; only the SHA-256 of the secret is kept.

    ``used_at`` is when it was last used, to the minute.
    """

    id = fields.BigIntField(primary_key=True)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="api_keys", on_delete=fields.RESTRICT, db_constraint=False
    )
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="api_keys", on_delete=fields.RESTRICT, db_constraint=False
    )
    name = fields.CharField(max_length=128)
    public_id = fields.CharField(max_length=32)
    secret_sha256: Any = fields.BinaryField()
    scope = fields.CharEnumField(KeyScope, max_length=5)
    created_at = fields.DatetimeField(auto_now_add=True)
    expires_at = fields.DatetimeField(null=True)
    used_at = fields.DatetimeField(null=True)
    revoked_at = fields.DatetimeField(null=True)

    tenant_id: int
    user_id: int

    class Meta:
        table = "api_keys"
        table_description = "what users authenticate with"
        indexes = (Index(fields=("tenant_id", "user_id"), name="api_keys_user"),)
        constraints = (
            UniqueConstraint(("public_id",), name="api_keys_public_id_unique"),
            CheckConstraint("octet_length(secret_sha256) = 32", name="api_keys_secret_is_sha256"),
            CheckConstraint("scope IN ('READ', 'WRITE', 'ADMIN')", name="api_keys_scope_known"),
        )


async def with_id(tenant_id: int, user_id: int) -> Row | None:
    """What a viewer is made of: a user who may authenticate, with the tenant."""
    return await _one(f"{_VIEWER} WHERE u.id = $2 AND u.tenant_id = $1 AND {_VALID}", tenant_id, user_id)


async def with_oidc_subject(subject: str) -> Row | None:
    """The same by the name that the OIDC issuer has for the user."""
    return await _one(f"{_VIEWER} WHERE u.oidc_subject = $1 AND {_VALID}", subject)


_VIEWER = (
    "SELECT u.id AS user_id, u.name, u.role, t.id AS tenant_id, t.slug, t.member_access"
    " FROM users u JOIN tenants t ON t.id = u.tenant_id"
)
_VALID = "u.revoked_at IS NULL AND t.revoked_at IS NULL"


async def _one(sql: str, *arguments: object) -> Row | None:
    rows = await database.fetch(sql, *arguments)
    return rows[0] if rows else None


async def named(tenant_id: int, name: str) -> Row | None:
    return await _one(
        "SELECT id, name, role, created_at FROM users WHERE tenant_id = $1 AND name = $2 AND revoked_at IS NULL",
        *(tenant_id, name),
    )


async def some_users(tenant_id: int, user_ids: Sequence[int]) -> Sequence[Row]:
    return await database.fetch(
        "SELECT id, name, role, created_at FROM users WHERE tenant_id = $1 AND id = ANY($2::bigint[])",
        *(tenant_id, list(user_ids)),
    )
