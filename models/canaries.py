"""Canary keys: made to be found by somebody who looks where he should not. They open nothing and tell of their use."""

from collections.abc import Sequence
from datetime import datetime

from tortoise import fields
from tortoise.indexes import Index
from tortoise.migrations.constraints import UniqueConstraint
from tortoise.models import Model

from models import database
from models.pages import Row

MOST_ALERTS = 10_000  # of one key that are kept: the first ones tell who found it
MOST_CHARACTERS = 500  # of an agent or a path


class CanaryKey(Model):
    """Not in ``api_keys``, so that nothing that reads keys can open a door with one. Nothing is kept of the secret."""

    id = fields.BigIntField(primary_key=True)
    public_id = fields.CharField(max_length=32)
    note = fields.CharField(max_length=500)
    created_at = fields.DatetimeField(auto_now_add=True)
    revoked_at = fields.DatetimeField(null=True)

    class Meta:
        table = "canary_keys"
        table_description = "keys that open nothing and tell of their use"
        constraints = (UniqueConstraint(("public_id",), name="canary_keys_public_id_unique"),)


class CanaryAlert(Model):
    """Who sent a canary key. Only ever added to."""

    id = fields.BigIntField(primary_key=True)
    canary: fields.ForeignKeyRelation[CanaryKey] = fields.ForeignKeyField(
        "models.CanaryKey", related_name="alerts", on_delete=fields.RESTRICT
    )
    seen_at = fields.DatetimeField()
    address = fields.TextField()
    agent = fields.TextField()
    path = fields.TextField()

    class Meta:
        table = "canary_alerts"
        table_description = "who sent a canary key"
        indexes = (Index(fields=("canary_id", "id"), name="canary_alerts_canary"),)


async def add_alerts(seen: Sequence[tuple[str, datetime, str, str, str]]) -> dict[str, str]:
    """Public id, moment, address, agent and path of each, in that order; texts are ``storable``. A key has at most
    MOST_ALERTS, of which the first are kept. The notes by public id.
    """
    rows = await database.fetch(
        f"""
        WITH seen AS (
            SELECT canary.id AS canary_id, canary.note, seen.*,
                row_number() OVER (PARTITION BY canary.id ORDER BY nth) AS place
            FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[]) WITH ORDINALITY
                AS seen (public_id, seen_at, address, agent, path, nth)
            JOIN canary_keys canary ON canary.public_id = seen.public_id
        ),
        kept AS (
            SELECT canary_id, (SELECT count(*) FROM (SELECT FROM canary_alerts a WHERE a.canary_id = one.canary_id
                               LIMIT {MOST_ALERTS}) AS a) AS alerts
            FROM (SELECT DISTINCT canary_id FROM seen) AS one
        ),
        added AS (
            INSERT INTO canary_alerts (canary_id, seen_at, address, agent, path)
            SELECT canary_id, seen_at, address, agent, path FROM seen JOIN kept USING (canary_id)
            WHERE alerts + place <= {MOST_ALERTS} ORDER BY nth
        )
        SELECT DISTINCT public_id, note FROM seen
        """,
        *map(list, zip(*seen, strict=True)),
    )
    return {row["public_id"]: row["note"] for row in rows}


def storable(text: str) -> str:
    """As PostgreSQL takes it, without NUL and halves of pairs, and not too long."""
    return text[:MOST_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


async def alerts(limit: int) -> list[Row]:
    """The newest, newest first."""
    return await database.fetch(
        "SELECT a.seen_at, k.public_id, k.note, a.address, a.agent, a.path"
        " FROM canary_alerts a JOIN canary_keys k ON k.id = a.canary_id ORDER BY a.id DESC LIMIT $1",
        limit,
    )
