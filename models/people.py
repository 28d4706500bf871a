"""Tenants, their users and the keys users authenticate with."""

import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import asyncpg
from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model

from models import database
from models.errors import AlreadyExists, BadInput, Forbidden, LastAdmin, NotFound, short
from models.pages import Bounds, Page, Row
from models.sql import Sql


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
        return _ACCESS[self] >= _ACCESS[other]

    def or_higher(self, other: "AccessLevel") -> "AccessLevel":
        return self if self.includes(other) else other

    def at_most(self, other: "AccessLevel") -> "AccessLevel":
        return other if self.includes(other) else self


class KeyScope(StrEnum):
    """How far a key lets its user go, each scope including the ones before."""

    READ = "READ"
    WRITE = "WRITE"
    ADMIN = "ADMIN"

    def includes(self, other: "KeyScope") -> bool:
        return _SCOPES[self] >= _SCOPES[other]


# Looked up, for to go through an enumeration takes longer than all else of an answer's access.
_ACCESS = {level: place for place, level in enumerate(AccessLevel)}
_SCOPES = {scope: place for place, scope in enumerate(KeyScope)}


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
    rotated_at = fields.DatetimeField(null=True)  # since when another one is to take its place
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
    return await _one(f"{_VIEWER} WHERE u.id = $2 AND u.tenant_id = $1 AND {VALID}", tenant_id, user_id)


async def with_oidc_subject(subject: str) -> Row | None:
    """The same by the name that the OIDC issuer has for the user."""
    return await _one(f"{_VIEWER} WHERE u.oidc_subject = $1 AND {VALID}", subject)


_VIEWER = (
    "SELECT u.id AS user_id, u.name, u.role, t.id AS tenant_id, t.slug, t.member_access,"
    " t.revoked_at IS NOT NULL AS suspended FROM users u JOIN tenants t ON t.id = u.tenant_id"
)
STAND_IN = "operator:"  # what names of users begin with whom only operators act as
# Those have no credentials: an operator's own would otherwise outlive him here.
VALID = f"u.revoked_at IS NULL AND NOT starts_with(u.name, '{STAND_IN}')"


async def _one(sql: str, *arguments: object) -> Row | None:
    rows = await database.fetch(sql, *arguments)
    return rows[0] if rows else None


LONGEST_NAME = 128
_USER = "u.id, u.name, u.role, u.created_at, u.revoked_at"


async def named(tenant_id: int, name: str) -> Row | None:
    return await _one(
        f"SELECT {_USER} FROM users u WHERE u.tenant_id = $1 AND u.name = $2 AND {VALID}", tenant_id, name
    )


async def some_users(tenant_id: int, user_ids: Sequence[int]) -> Sequence[Row]:
    return await database.fetch(
        f"SELECT {_USER} FROM users u WHERE u.tenant_id = $1 AND u.id = ANY($2::bigint[])", tenant_id, list(user_ids)
    )


async def users(tenant_id: int, only: int | None, bounds: Bounds) -> Page:
    """One page of the tenant's users, newest first; ``only`` one of them (primary key), if it is given."""
    sql = Sql(tenant_id)
    which = "true" if only is None else f"u.id = {sql.bind(only, 'bigint')}"
    where = f"u.tenant_id = {sql.tenant} AND {which} AND {bounds.narrow(sql)('u.id')}"
    text = f"SELECT {_USER} FROM users u WHERE {where} {bounds.order('u.id')}"
    return bounds.page(await database.fetch(sql.statement(text), *sql.arguments))


async def count_users(tenant_id: int, only: int | None) -> int:
    [row] = await database.fetch(
        "SELECT count(*) FROM users WHERE tenant_id = $1 AND id = coalesce($2, id)", tenant_id, only
    )
    return int(row["count"])


async def create_user(tenant_id: int, name: str, role: Role) -> Row:
    """Raises AlreadyExists, or BadInput for a name that no user may have."""
    check_name(name)
    async with database.transaction():
        try:
            [row] = await database.fetch(
                "INSERT INTO users AS u (tenant_id, name, role, created_at) VALUES ($1, $2, $3, now())"
                f" RETURNING {_USER}",
                *(tenant_id, name, role.value),
            )
        except asyncpg.UniqueViolationError:
            raise AlreadyExists(f'There is a user "{short(name)}" already.') from None
        return row


def check_name(name: str) -> None:
    if not 1 <= len(name) <= LONGEST_NAME:
        raise BadInput(f"A user's name has 1 to {LONGEST_NAME} characters, not {len(name)}.")
    if not name.isprintable() or name != name.strip():
        raise BadInput("A user's name has no control or format characters, and no spaces around it.")
    if unicodedata.normalize("NFKC", name).casefold().startswith(STAND_IN):
        raise BadInput(f'A name that begins with "{STAND_IN}" is an operator\'s.')


async def set_role(tenant_id: int, user_id: int, role: Role) -> Row:
    """Raises NotFound, LastAdmin."""
    async with database.transaction():
        if role is not Role.ADMIN:
            await _leave_an_admin(tenant_id, user_id)
        return await _changed(
            f"UPDATE users u SET role = $3 WHERE {_ONE} RETURNING {_USER}", tenant_id, user_id, role.value
        )


async def revoke_user(tenant_id: int, user_id: int) -> Row:
    """All credentials of the user are refused from now on; doing it twice keeps the first time.

    Raises NotFound, LastAdmin.
    """
    async with database.transaction():
        await _leave_an_admin(tenant_id, user_id)
        return await _changed(
            f"UPDATE users u SET revoked_at = coalesce(revoked_at, now()) WHERE {_ONE} RETURNING {_USER}",
            *(tenant_id, user_id),
        )


_ONE = "u.tenant_id = $1 AND u.id = $2"


async def _changed(text: str, *arguments: object) -> Row:
    rows = await database.fetch(text, *arguments)
    if not rows:
        raise NotFound
    if rows[0]["name"].startswith(STAND_IN):
        raise Forbidden("This user is an operator of the service, and changed by operators only.")
    return rows[0]


async def _leave_an_admin(tenant_id: int, user_id: int) -> None:
    """Raises LastAdmin where the user is the only one who is. Locks all of them: two at once cannot both leave."""
    admins = await database.fetch(
        "SELECT id FROM users WHERE tenant_id = $1 AND role = 'ADMIN' AND revoked_at IS NULL"
        " AND NOT starts_with(name, $2) ORDER BY id FOR UPDATE",
        *(tenant_id, STAND_IN),
    )
    if [row["id"] for row in admins] == [user_id]:
        raise LastAdmin


async def set_member_access(tenant_id: int, level: AccessLevel) -> None:
    """What the tenant's members may do with everything in it, present and future."""
    async with database.transaction():
        await database.execute("UPDATE tenants SET member_access = $2 WHERE id = $1", tenant_id, level.value)


USAGE = (
    "t.id, t.slug, t.member_access, t.created_at, t.revoked_at, t.quota_bytes, t.quota_objects,"
    " t.used_bytes + coalesce(c.used_bytes, 0)::bigint AS used_bytes,"
    " t.reserved_bytes + coalesce(c.reserved_bytes, 0)::bigint AS reserved_bytes,"
    " t.used_objects + coalesce(c.objects, 0)::bigint AS used_objects"
    " FROM tenants t CROSS JOIN LATERAL (SELECT sum(objects) AS objects, sum(used_bytes) AS used_bytes,"
    " sum(reserved_bytes + kept_bytes) AS reserved_bytes FROM usage_changes WHERE tenant_id = t.id) AS c"
)


async def usage(tenant_id: int) -> Row:
    """What a tenant is and uses: its columns with ``used_bytes``, ``reserved_bytes`` and ``used_objects``."""
    [row] = await database.fetch(f"SELECT {USAGE} WHERE t.id = $1", tenant_id)
    return row


async def usage_of_all() -> Sequence[Row]:
    """The same of all tenants, in the order of their slugs."""
    return await database.fetch(f"SELECT {USAGE} ORDER BY t.slug")
