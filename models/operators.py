"""Operators, who stand above tenants: they make, suspend and resume them and set their quotas.

An operator who acts as a tenant is a user of it there, named ``operator:`` and the operator's name, so that what he
makes has a maker, and everybody in the tenant sees whose hand it was.
"""

from typing import Any

import asyncpg
from tortoise import fields
from tortoise.migrations.constraints import CheckConstraint, UniqueConstraint
from tortoise.models import Model

from models import database
from models.errors import AlreadyExists, NotFound, TenantSuspended, short
from models.keys import Secret
from models.pages import Bounds, Page, Row
from models.people import STAND_IN, USAGE, AccessLevel
from models.sql import Sql


class Operator(Model):
    """Each has one key, of the form that all keys have."""

    id = fields.BigIntField(primary_key=True)
    name = fields.CharField(max_length=64)
    public_id = fields.CharField(max_length=32)
    secret_sha256: Any = fields.BinaryField()
    created_at = fields.DatetimeField(auto_now_add=True)
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "operators"
        table_description = "who stand above tenants"
        constraints = (
            UniqueConstraint(("name",), name="operators_name_unique"),
            UniqueConstraint(("public_id",), name="operators_public_id_unique"),
            CheckConstraint("name ~ '^[a-z0-9][a-z0-9-]{0,63}$'", name="operators_name_form"),
            CheckConstraint("octet_length(secret_sha256) = 32", name="operators_secret_is_sha256"),
        )


SUSPENDED = "The tenant is suspended: resume it first."  # as operators are told
_COLUMNS = "id, name, public_id, created_at, revoked_at"


async def stranger(public_id: str) -> Row | None:
    """Who has a key that no user has: an operator, with ``secret_sha256`` and ``valid``, or a canary (``id`` is null).

    One statement for both, so that nobody can tell a canary by the time it takes.
    """
    rows = await database.fetch(
        "SELECT id, name, secret_sha256, revoked_at IS NULL AS valid FROM operators WHERE public_id = $1"
        " UNION ALL SELECT NULL, NULL, NULL, false FROM canary_keys WHERE public_id = $1 AND revoked_at IS NULL",
        public_id,
    )
    return rows[0] if rows else None


async def still(public_id: str, tenant_id: int) -> Row | None:
    """Whether the tenant that the operator acts as is ``suspended``; None where the key is an operator's no longer."""
    rows = await database.fetch(
        "SELECT EXISTS (SELECT FROM tenants WHERE id = $2 AND revoked_at IS NOT NULL) AS suspended"
        " FROM operators WHERE public_id = $1 AND revoked_at IS NULL",
        *(public_id, tenant_id),
    )
    return rows[0] if rows else None


async def create(name: str, secret: Secret) -> Row:
    """Raises AlreadyExists."""
    async with database.transaction():
        try:
            [row] = await database.fetch(
                "INSERT INTO operators (name, public_id, secret_sha256, created_at) VALUES ($1, $2, $3, now())"
                f" RETURNING {_COLUMNS}",
                *(name, secret.public_id, secret.sha256),
            )
        except asyncpg.UniqueViolationError:
            raise AlreadyExists(f'There is an operator "{short(name)}" already.') from None
        return row


async def set_key(name: str, secret: Secret) -> Row:
    """From now on this is the operator's key, and the one before is none. Raises NotFound."""
    return await _changed("SET public_id = $2, secret_sha256 = $3", name, secret.public_id, secret.sha256)


async def revoke(name: str) -> Row:
    """Revoking twice keeps the first time. Raises NotFound."""
    return await _changed("SET revoked_at = coalesce(revoked_at, now())", name)


async def _changed(change: str, name: str, *arguments: object) -> Row:
    async with database.transaction():
        rows = await database.fetch(f"UPDATE operators {change} WHERE name = $1 RETURNING {_COLUMNS}", name, *arguments)
        if not rows:
            raise NotFound(f'There is no operator "{short(name)}".')
        return rows[0]


async def everybody() -> list[Row]:
    return await database.fetch(f"SELECT {_COLUMNS} FROM operators ORDER BY name")


async def stand_in(slug: str, name: str) -> Row:
    """The tenant, and the user that the operator is in it, made the first time. Raises NotFound, TenantSuspended."""
    text = (
        "SELECT t.id AS tenant_id, t.slug, t.member_access, t.revoked_at, u.id AS user_id, u.name FROM tenants t"
        " LEFT JOIN users u ON u.tenant_id = t.id AND u.name = $2 WHERE t.slug = $1"
    )
    rows = await database.fetch(text, slug, STAND_IN + name)
    if not rows:
        raise NotFound(f'There is no tenant "{short(slug)}".')
    if rows[0]["revoked_at"] is not None:
        raise TenantSuspended(SUSPENDED)
    if rows[0]["user_id"] is None:
        await database.execute(
            "INSERT INTO users (tenant_id, name, role, created_at) VALUES ($1, $2, 'MEMBER', now())"
            " ON CONFLICT (tenant_id, name) DO NOTHING",
            *(rows[0]["tenant_id"], STAND_IN + name),
        )
        rows = await database.fetch(text, slug, STAND_IN + name)
    return rows[0]


# -- tenants, as operators see them --------------------------------------------------------------------------------


async def tenants(bounds: Bounds) -> Page:
    """With what they use of their quotas, newest first."""
    sql = Sql(0)
    where = bounds.narrow(sql)("t.id")
    return bounds.page(await database.fetch(f"SELECT {USAGE} WHERE {where} {bounds.order('t.id')}", *sql.arguments))


async def count_tenants() -> int:
    [row] = await database.fetch("SELECT count(*) FROM tenants")
    return int(row["count"])


async def tenant(slug: str) -> Row:
    """Raises NotFound."""
    rows = await database.fetch(f"SELECT {USAGE} WHERE t.slug = $1", slug)
    if not rows:
        raise NotFound(f'There is no tenant "{short(slug)}".')
    return rows[0]


async def create_tenant(slug: str, member_access: AccessLevel, quotas: dict[str, int | None]) -> Row:
    """Raises AlreadyExists."""
    async with database.transaction():
        try:
            await database.execute(
                "INSERT INTO tenants (slug, member_access, quota_bytes, quota_objects, created_at)"
                " VALUES ($1, $2, $3, $4, now())",
                *(slug, member_access.value, quotas["quota_bytes"], quotas["quota_objects"]),
            )
        except asyncpg.UniqueViolationError:
            raise AlreadyExists(f'There is a tenant "{short(slug)}" already.') from None
        return await tenant(slug)


async def suspend_tenant(slug: str) -> Row:
    """None of its credentials opens anything until it is resumed; twice keeps the first time. Raises NotFound."""
    return await _change_tenant("revoked_at = coalesce(revoked_at, now())", slug)


async def resume_tenant(slug: str) -> Row:
    """Raises NotFound."""
    return await _change_tenant("revoked_at = NULL", slug)


async def set_quotas(slug: str, quotas: dict[str, int | None]) -> Row:
    """Those given by their columns; None is no limit. Raises NotFound."""
    change = ", ".join(f"{column} = ${number}" for number, column in enumerate(quotas, 2))
    return await _change_tenant(change, slug, *quotas.values())


async def _change_tenant(change: str, slug: str, *arguments: object) -> Row:
    async with database.transaction():
        await database.execute(f"UPDATE tenants SET {change} WHERE slug = $1", slug, *arguments)
        return await tenant(slug)
