"""The audit log: who was given a URL, who changed grants, keys, people, tenants and sync sources, who sealed batches.
It is only ever added to.

Each entry is written in the transaction of what it records. It refers to nothing, so that it outlives what it is about
and costs little: a URL is an entry.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import orjson
from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import CheckConstraint
from tortoise.models import Model

from models import database, ids
from models.pages import Bounds, Page, Row
from models.sql import Sql


class Action(StrEnum):
    """What was done."""

    READ_URL = "READ_URL"
    WRITE_URL = "WRITE_URL"
    GRANT_GIVEN = "GRANT_GIVEN"
    GRANT_TAKEN = "GRANT_TAKEN"
    KEY_CREATED = "KEY_CREATED"
    KEY_ROTATED = "KEY_ROTATED"
    KEY_REVOKED = "KEY_REVOKED"
    USER_CREATED = "USER_CREATED"
    USER_CHANGED = "USER_CHANGED"
    USER_REVOKED = "USER_REVOKED"
    TENANT_CREATED = "TENANT_CREATED"
    TENANT_CHANGED = "TENANT_CHANGED"
    TENANT_SUSPENDED = "TENANT_SUSPENDED"
    TENANT_RESUMED = "TENANT_RESUMED"
    QUOTAS_SET = "QUOTAS_SET"
    OPERATOR_ACTED = "OPERATOR_ACTED"
    OPERATOR_CREATED = "OPERATOR_CREATED"
    OPERATOR_REVOKED = "OPERATOR_REVOKED"
    BATCH_SEALED = "BATCH_SEALED"
    SOURCE_CREATED = "SOURCE_CREATED"
    SOURCE_CHANGED = "SOURCE_CHANGED"
    SOURCE_ROTATED = "SOURCE_ROTATED"


class AuditEntry(Model):
    """``id`` is ordered by time as other keys are (``ids.py``), so that a filter on time is a range of keys."""

    id = fields.BigIntField(primary_key=True, generated=False)
    tenant_id = fields.BigIntField(null=True)  # null: of no tenant
    at = fields.DatetimeField()
    action = fields.CharEnumField(Action, max_length=16)
    user_id = fields.BigIntField(null=True)
    operator_id = fields.BigIntField(null=True)  # neither: the command line
    key_id = fields.TextField(null=True)
    batch_id = fields.TextField(null=True)  # this and the object's are the clients' ids, as they were
    object_id = fields.TextField(null=True)
    upload_pk = fields.BigIntField(null=True)  # which of the object's files a URL is for
    until_at = fields.DatetimeField(null=True)
    details: Any = fields.JSONField(null=True)

    class Meta:
        table = "audit_log"
        table_description = "who did what; only ever added to"
        indexes = (
            Index(fields=("tenant_id", "id"), name="audit_log_tenant"),
            Index(fields=("tenant_id", "action", "id"), name="audit_log_action"),
            Index(fields=("tenant_id", "user_id", "id"), name="audit_log_user"),
        )
        constraints = (
            CheckConstraint(
                "action IN (" + ", ".join(f"'{action}'" for action in Action) + ")", name="audit_log_action_known"
            ),
        )


class Actor(NamedTuple):
    """Who did something to a tenant, or to none. Neither user nor operator is whoever has the command line.

    An operator who acts as a tenant has both: the user is whom he acts as.
    """

    tenant_id: int | None
    user_id: int | None = None
    operator_id: int | None = None
    key_id: str | None = None


class Entry(NamedTuple):
    """What was done. ``details`` are few and short."""

    action: Action
    batch_id: str | None = None
    object_id: str | None = None
    upload_pk: int | None = None
    until: datetime | None = None
    details: Mapping[str, str] | None = None


def about_key(action: Action, key: Row, user_name: str, **more: str) -> Entry:
    """``key`` is its row, ``user_name`` whose it is."""
    details = {"keyId": key["public_id"], "name": key["name"], "scope": key["scope"], "userName": user_name}
    return Entry(action, details=details | more)


def reading(row: Row, until: datetime) -> Entry:
    """That the file of a row of an object can be read until then."""
    return Entry(Action.READ_URL, row["batch_id"], row["object_id"], row["file_pk"], until)


# As ids.py makes keys, but the numbers below the time are counted here: entries are made in every kind of transaction.
# The time is computed once, in a query of its own.
_KEY = (
    f"(SELECT (extract(epoch FROM date_trunc('milliseconds', now()) - '{ids.EPOCH.isoformat()}'::timestamptz) * 1000)"
    f"::bigint << {ids.TIME_SHIFT}) | (nextval('audit_entries') & {(1 << ids.TIME_SHIFT) - 1})"
)
_RECORD = (
    "INSERT INTO audit_log (id, at, tenant_id, user_id, operator_id, key_id, action, until_at, details, batch_id,"
    f" object_id, upload_pk) SELECT {_KEY}, date_trunc('milliseconds', now()), $1, $2, $3, $4, {{}}"
)
_RECORD_ALIKE = _RECORD.format("$5, $6, $7, e.* FROM unnest($8::text[], $9::text[], $10::bigint[]) AS e")
_RECORD_EACH = _RECORD.format(
    "e.* FROM unnest($5::text[], $6::timestamptz[], $7::jsonb[], $8::text[], $9::text[], $10::bigint[]) AS e"
)


async def record(actor: Actor, *entries: Entry) -> None:
    """All in one statement, in the current transaction if there is one."""
    actions, batches, objects, uploads, untils, details = zip(*entries, strict=True)
    if not any(details) and len(set(actions)) == len(set(untils)) == 1:  # as URLs of one page are
        await database.execute(_RECORD_ALIKE, *actor, actions[0], untils[0], None, batches, objects, uploads)
        return
    texts = [None if one is None else orjson.dumps(one).decode() for one in details]
    await database.execute(_RECORD_EACH, *actor, actions, untils, texts, batches, objects, uploads)


async def record_readings(actor: Actor, rows: Sequence[Row], until: datetime) -> None:
    """The same of ``reading`` of each of the rows."""
    batches = [row["batch_id"] for row in rows]
    objects = [row["object_id"] for row in rows]
    uploads = [row["file_pk"] for row in rows]
    await database.execute(_RECORD_ALIKE, *actor, Action.READ_URL, until, None, batches, objects, uploads)


@dataclass(frozen=True, slots=True)
class Which:
    """Which entries of a tenant. All that is given must hold."""

    tenant_id: int
    actions: tuple[Action, ...] | None = None
    user_id: int | None = None
    batch_id: str | None = None
    object_id: str | None = None
    after: datetime | None = None
    before: datetime | None = None

    def tests(self, sql: Sql) -> Iterator[str]:
        yield f"tenant_id = {sql.tenant}"
        if self.user_id is not None:
            yield f"user_id = {sql.bind(self.user_id, 'bigint')}"
        # What the clients call them is long; the indexes have hashes of it, other ones for each tenant.
        for column, value in (("batch_id", self.batch_id), ("object_id", self.object_id)):
            if value is not None:
                wanted = sql.bind(value, "text")
                yield f"{column} = {wanted}"
                yield f"hashtextextended({column}, tenant_id) = hashtextextended({wanted}, {sql.tenant})"
        if self.after is not None:
            yield f"id >= {sql.bind(ids.first_key_after(self.after), 'bigint')}"
        if self.before is not None:
            yield f"id < {sql.bind(ids.first_key_from(self.before), 'bigint')}"


_COLUMNS = "id, at, action, user_id, operator_id, key_id, batch_id, object_id, upload_pk, until_at, details"


async def page(which: Which, bounds: Bounds) -> Page:
    """Newest first."""
    sql = Sql(which.tenant_id)
    tests = " AND ".join([*which.tests(sql), bounds.narrow(sql)("id")])
    end = bounds.order("id")
    text = f"SELECT {_COLUMNS} FROM audit_log WHERE {tests}"
    if which.actions is not None:  # the newest of each, for no index has several in the order of the keys
        each = f"{text} AND action = w.action {end}"
        text = f"SELECT l.* FROM {_actions(sql, which.actions)} CROSS JOIN LATERAL ({each}) AS l"
    return bounds.page(await database.fetch(sql.statement(f"{text} {end}"), *sql.arguments))


async def count(which: Which) -> int:
    sql = Sql(which.tenant_id)
    tests = " AND ".join(which.tests(sql))
    if which.actions is not None:
        tests += f" AND action = ANY({sql.bind(which.actions, 'text[]')})"
    [row] = await database.fetch(f"SELECT count(*) FROM audit_log WHERE {tests}", *sql.arguments)
    return int(row["count"])


async def some(tenant_id: int, keys: Sequence[int]) -> Sequence[Row]:
    return await database.fetch(
        f"SELECT {_COLUMNS} FROM audit_log WHERE tenant_id = $1 AND id = ANY($2::bigint[])", tenant_id, list(keys)
    )


def _actions(sql: Sql, actions: tuple[Action, ...]) -> str:
    return f"unnest({sql.bind(tuple(dict.fromkeys(actions)), 'text[]')}) AS w (action)"
