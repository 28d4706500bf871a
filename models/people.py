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


class Tenant(Model):
    """Isolates users, batches, objects and keys. A revoked tenant's users cannot authenticate.

    What it uses stands beside its quotas in columns that the model has not: nothing but triggers writes them
    (``migrations/_quotas.py``), and ``save()`` would.
    """

    id = fields.BigIntField(primary_key=True)
    slug = fields.CharField(max_length=63)
    member_access = fields.CharEnumField(AccessLevel, max_length=5, default=AccessLevel.NONE)
    created_at = fields.DatetimeField(auto_now_add=True)
    revoked_at = fields.DatetimeField(null=True)
    quota_bytes = fields.BigIntField(null=True)  # null: as many as may be
    quota_objects = fields.BigIntField(null=True)

    class Meta:
        table = "tenants"
        table_description = "isolate users, batches, objects and keys"
        constraints = (
            UniqueConstraint(("slug",), name="tenants_slug_unique"),
            CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name="tenants_slug_form"),
            CheckConstraint("member_access IN ('NONE', 'VIEW', 'EDIT')", name="tenants_member_access_known"),
            CheckConstraint("quota_bytes >= 0 AND quota_objects >= 0", name="tenants_quotas_not_negative"),
            CheckConstraint(
                "used_bytes >= 0 AND reserved_bytes >= 0 AND used_objects >= 0", name="tenants_usage_not_negative"
            ),
        )


class User(Model):
    id = fields.BigIntField(primary_key=True)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="users", on_delete=fields.RESTRICT
    )
    name = fields.CharField(max_length=128)
    role = fields.CharEnumField(Role, max_length=6, default=Role.MEMBER)
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
        )


class ApiKey(Model):
    """``wb_<public_id>_<secret>``; only the SHA-256 of the secret is kept."""

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
    created_at = fields.DatetimeField(auto_now_add=True)
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
        )


async def holder_of_key(public_id: str) -> Row | None:
    """What authenticating takes, in one statement; ``valid`` is false once key, user or tenant is revoked."""
    rows = await database.fetch(
        "SELECT k.secret_sha256, u.id AS user_id, u.name, u.role, t.id AS tenant_id, t.slug, t.member_access,"
        " coalesce(k.revoked_at, u.revoked_at, t.revoked_at) IS NULL AS valid"
        " FROM api_keys k JOIN users u ON u.id = k.user_id JOIN tenants t ON t.id = k.tenant_id WHERE k.public_id = $1",
        public_id,
    )
    return rows[0] if rows else None


async def some_users(tenant_id: int, user_ids: Sequence[int]) -> Sequence[Row]:
    return await database.fetch(
        "SELECT id, name, role, created_at FROM users WHERE tenant_id = $1 AND id = ANY($2::bigint[])",
        *(tenant_id, list(user_ids)),
    )


async def usage(tenant_id: int | None = None) -> Sequence[Row]:
    """What a tenant is and uses: its columns with ``used_bytes``, ``reserved_bytes`` and ``used_objects``.

    All tenants, in the order of their slugs, if none is given.
    """
    return await database.fetch(
        "SELECT t.slug, t.member_access, t.created_at, t.revoked_at, t.quota_bytes, t.quota_objects,"
        " t.used_bytes + coalesce(c.used_bytes, 0)::bigint AS used_bytes,"
        " t.reserved_bytes + coalesce(c.reserved_bytes, 0)::bigint AS reserved_bytes,"
        " t.used_objects + coalesce(c.objects, 0)::bigint AS used_objects"
        " FROM tenants t CROSS JOIN LATERAL (SELECT sum(objects) AS objects, sum(used_bytes) AS used_bytes,"
        " sum(reserved_bytes) AS reserved_bytes FROM usage_changes WHERE tenant_id = t.id) AS c"
        " WHERE $1::bigint IS NULL OR t.id = $1 ORDER BY t.slug",
        tenant_id,
    )
