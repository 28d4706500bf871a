"""Grants: access of one user to one batch with all its objects, or to one object."""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint
from tortoise.models import Model

from models import database
from models.errors import NotFound
from models.pages import Bounds, Page, Row
from models.people import AccessLevel, Tenant, User
from models.sql import Sql

_COLUMNS = "g.id, g.user_id, g.level, g.granted_by_id, g.created_at, g.batch_pk, g.object_pk"


class Grant(Model):
    """``batch_pk`` is the object's batch where ``object_pk`` names one, else the batch is what is granted."""

    id = fields.BigIntField(primary_key=True)
    tenant: fields.ForeignKeyRelation[Tenant] = fields.ForeignKeyField(
        "models.Tenant", related_name="grants", on_delete=fields.RESTRICT, db_constraint=False
    )
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="grants", on_delete=fields.RESTRICT, db_constraint=False
    )
    batch_pk = fields.BigIntField()  # references Batch within the tenant; goes with it
    object_pk = fields.BigIntField(null=True)  # references Object within the tenant; goes with it
    level = fields.CharEnumField(AccessLevel, max_length=5)
    granted_by: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "models.User", related_name="granted", on_delete=fields.RESTRICT, db_constraint=False
    )
    created_at = fields.DatetimeField(auto_now_add=True)

    class Meta:
        table = "grants"
        table_description = "access of users to batches and objects"
        indexes = (
            Index(fields=("tenant_id", "batch_pk", "id"), name="grants_batch"),
            Index(fields=("tenant_id", "object_pk", "id"), name="grants_object"),
        )
        constraints = (CheckConstraint("level IN ('VIEW', 'EDIT', 'ADMIN')", name="grants_level_known"),)


class Thing(NamedTuple):
    """What access is to, by primary keys: a batch, or an object and the batch it is in."""

    batch_pk: int
    object_pk: int | None = None


def thing_of(row: Row) -> Thing:
    """From an object's row."""
    return Thing(row["batch_pk"], row["id"])


# What is looked up by the user is of the tenant, too; as an expression, so that no index of the tenant's is tempting.
_OF_USER = "tenant_id + 0 = $1 AND user_id = $2"


async def levels(tenant_id: int, user_id: int, things: Sequence[Thing]) -> list[AccessLevel]:
    """The highest that grants give the user to each; NONE where there is none."""
    rows = await database.fetch(
        f"SELECT (SELECT level FROM grants WHERE {_OF_USER} AND batch_pk = k.batch_pk AND object_pk IS NULL) AS batch,"
        f" (SELECT level FROM grants WHERE {_OF_USER} AND object_pk = k.object_pk) AS object"
        " FROM unnest($3::bigint[], $4::bigint[]) WITH ORDINALITY AS k (batch_pk, object_pk, place) ORDER BY place",
        *(tenant_id, user_id, [thing.batch_pk for thing in things], [thing.object_pk for thing in things]),
    )
    return [AccessLevel(row["batch"] or "NONE").or_higher(AccessLevel(row["object"] or "NONE")) for row in rows]


async def has_any(tenant_id: int, user_id: int, level: AccessLevel) -> bool:
    """Whether the user has exactly this level somewhere."""
    return bool(
        await database.fetch(
            f"SELECT FROM grants WHERE {_OF_USER} AND level = $3 LIMIT 1", tenant_id, user_id, level.value
        )
    )


async def give(tenant_id: int, user_id: int, thing: Thing, level: AccessLevel, by_id: int) -> Row:
    """The user's grant to the thing is of this level from now on. Raises NotFound where the thing has just gone."""
    async with database.transaction():
        try:
            [row] = await database.fetch(
                "INSERT INTO grants AS g (tenant_id, user_id, batch_pk, object_pk, level, granted_by_id, created_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, now())"
                " ON CONFLICT (user_id, batch_pk, object_pk) DO UPDATE"
                " SET level = excluded.level, granted_by_id = excluded.granted_by_id, created_at = excluded.created_at"
                f" RETURNING {_COLUMNS}",
                *(tenant_id, user_id, thing.batch_pk, thing.object_pk, level.value, by_id),
            )
        except asyncpg.ForeignKeyViolationError as error:
            if error.constraint_name not in ("grants_batch_fkey", "grants_object_fkey"):
                raise
            raise NotFound("It has just been deleted.") from None
        return row


async def take(tenant_id: int, user_id: int, thing: Thing) -> Row | None:
    """Ends the grant of the user to the thing and returns its ``id`` and ``level``; None where there was none."""
    async with database.transaction():
        rows = await database.fetch(
            f"DELETE FROM grants WHERE {_OF_USER} AND batch_pk = $3 AND object_pk IS NOT DISTINCT FROM $4"
            " RETURNING id, level",
            *(tenant_id, user_id, thing.batch_pk, thing.object_pk),
        )
        return rows[0] if rows else None


async def give_creator(tenant_id: int, user_id: int, batch_pk: int, objects: Sequence[int]) -> None:
    """ADMIN to the objects (primary keys) for whoever made them in the batch, unless the batch gives that."""
    [level] = await levels(tenant_id, user_id, [Thing(batch_pk)])
    if level is not AccessLevel.ADMIN:
        await give_each(tenant_id, user_id, [Thing(batch_pk, key) for key in objects])


async def give_each(tenant_id: int, user_id: int, things: Sequence[Thing]) -> None:
    """ADMIN to things that the user has just made."""
    columns = ("tenant_id", "user_id", "batch_pk", "object_pk", "level", "granted_by_id", "created_at")
    [row] = await database.fetch("SELECT now() AS now")
    records = [(tenant_id, user_id, *thing, AccessLevel.ADMIN, user_id, row["now"]) for thing in things]
    await database.copy("grants", columns, records)


async def of_things(tenant_id: int, things: Sequence[Thing], only_user: int | None, bounds: Bounds) -> list[Page]:
    """The same page of the grants on each thing itself, newest first: all of them, or those of one user."""
    sql = Sql(tenant_id)
    batches = sql.bind(tuple(thing.batch_pk for thing in things), "bigint[]")
    objects = sql.bind(tuple(thing.object_pk for thing in things), "bigint[]")
    whose = "true" if only_user is None else f"g.user_id = {sql.bind(only_user, 'bigint')}"
    where = f"g.tenant_id = {sql.tenant} AND {whose} AND {bounds.narrow(sql)('g.id')}"
    end = bounds.order("g.id")
    text = (
        f"SELECT k.place, l.* FROM unnest({batches}, {objects}) WITH ORDINALITY AS k (batch_pk, object_pk, place)"
        f" CROSS JOIN LATERAL ((SELECT {_COLUMNS} FROM grants g WHERE k.object_pk IS NULL AND g.batch_pk = k.batch_pk"
        f" AND g.object_pk IS NULL AND {where} {end}) UNION ALL"
        f" (SELECT {_COLUMNS} FROM grants g WHERE g.object_pk = k.object_pk AND {where} {end})) AS l"
        f" ORDER BY k.place, l.id {bounds.direction}"
    )
    rows = await database.fetch(sql.statement(text), *sql.arguments)
    listed: list[list[Row]] = [[] for _ in things]
    for row in rows:
        listed[row["place"] - 1].append(row)
    return [bounds.page(one) for one in listed]


async def of_user(tenant_id: int, user_id: int, bounds: Bounds) -> Page:
    """One page of all grants to the user, newest first."""
    sql = Sql(tenant_id)
    where = f"g.tenant_id = {sql.tenant} AND g.user_id = {sql.bind(user_id, 'bigint')}"
    text = f"SELECT {_COLUMNS} FROM grants g WHERE {where} AND {bounds.narrow(sql)('g.id')} {bounds.order('g.id')}"
    return bounds.page(await database.fetch(sql.statement(text), *sql.arguments))


async def count(tenant_id: int, thing: Thing, only_user: int | None) -> int:
    """Of the grants on the thing itself: all of them, or those of one user."""
    sql = Sql(tenant_id)
    if thing.object_pk is None:
        where = f"batch_pk = {sql.bind(thing.batch_pk, 'bigint')} AND object_pk IS NULL"
    else:
        where = f"object_pk = {sql.bind(thing.object_pk, 'bigint')}"
    whose = "true" if only_user is None else f"user_id = {sql.bind(only_user, 'bigint')}"
    [row] = await database.fetch(
        f"SELECT count(*) FROM grants WHERE tenant_id = {sql.tenant} AND {where} AND {whose}", *sql.arguments
    )
    return int(row["count"])


async def count_of_user(tenant_id: int, user_id: int) -> int:
    [row] = await database.fetch(
        "SELECT count(*) FROM grants WHERE tenant_id = $1 AND user_id = $2", tenant_id, user_id
    )
    return int(row["count"])


async def some(tenant_id: int, keys: Sequence[int]) -> list[Row]:
    """By primary keys, in no order."""
    return await database.fetch(
        f"SELECT {_COLUMNS} FROM grants g WHERE g.tenant_id = $1 AND g.id = ANY($2::bigint[])", tenant_id, list(keys)
    )
