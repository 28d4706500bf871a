"""API keys: asked for on every request, listed, made, replaced, revoked. Nothing of them is kept in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from models import database
from models.pages import Bounds, Page, Row
from models.people import VALID, KeyScope
from models.sql import Sql

_COLUMNS = "id, public_id, user_id, name, scope, created_at, expires_at, used_at, revoked_at, rotated_at"
_WORKS = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose keys: of one user, or of all users of the tenant. Made by ``access`` only."""

    tenant_id: int
    user_id: int | None = None

    def sql(self) -> Sql:
        return Sql(self.tenant_id)

    def test(self, sql: Sql) -> str:
        of_user = "" if self.user_id is None else f" AND user_id = {sql.bind(self.user_id, 'bigint')}"
        return f"tenant_id = {sql.tenant}{of_user}"


@dataclass(frozen=True, slots=True)
class Secret:
    """A new key without what only its owner may know."""

    public_id: str
    sha256: bytes


async def holder(public_id: str) -> Row | None:
    """What authenticating takes, in one statement.

    ``valid`` is false once the key is over or the key or its user is revoked, ``suspended`` true while its tenant is.
    ``unseen`` is true when its last use was noted more than a minute ago.
    """
    rows = await database.fetch(
        "SELECT k.id, k.secret_sha256, k.scope, u.id AS user_id, u.name, u.role, t.id AS tenant_id, t.slug,"
        f" t.member_access, t.revoked_at IS NOT NULL AS suspended, k.revoked_at IS NULL AND {VALID}"
        f" AND coalesce(k.expires_at > now(), true) AS valid, coalesce({_UNSEEN}, true) AS unseen"
        " FROM api_keys k JOIN users u ON u.id = k.user_id JOIN tenants t ON t.id = k.tenant_id WHERE k.public_id = $1",
        public_id,
    )
    return rows[0] if rows else None


_UNSEEN = "used_at < now() - interval '1 minute'"


async def note_use(keys: Sequence[int]) -> None:
    """That they were used now, of those whose last use was noted more than a minute ago.

    What somebody else is changing or noting is left to the next time, so that nobody waits for anybody.
    """
    await database.execute(
        "UPDATE api_keys SET used_at = now() WHERE id IN (SELECT id FROM api_keys WHERE id = ANY($1::bigint[])"
        f" AND coalesce({_UNSEEN}, true) FOR NO KEY UPDATE SKIP LOCKED)",
        keys,
    )


async def page(whose: Whose, bounds: Bounds) -> Page:
    """Newest first."""
    sql = whose.sql()
    text = (
        f"SELECT {_COLUMNS} FROM api_keys WHERE {whose.test(sql)} AND {bounds.narrow(sql)('id')} {bounds.order('id')}"
    )
    return bounds.page(await database.fetch(sql.statement(text), *sql.arguments))


async def count(whose: Whose) -> int:
    sql = whose.sql()
    text = f"SELECT count(*) FROM api_keys WHERE {whose.test(sql)}"
    [row] = await database.fetch(text, *sql.arguments)
    return int(row["count"])


async def some(whose: Whose, keys: Sequence[int]) -> Sequence[Row]:
    sql = whose.sql()
    wanted = sql.bind(tuple(keys), "bigint[]")
    text = f"SELECT {_COLUMNS} FROM api_keys WHERE {whose.test(sql)} AND id = ANY({wanted})"
    return await database.fetch(text, *sql.arguments)


async def locked(whose: Whose, public_id: str) -> Row | None:
    """One key, nobody else's to change until the end of the transaction; with ``works`` and ``lifetime``."""
    sql = whose.sql()
    wanted = sql.bind(public_id, "text")
    text = (
        f"SELECT {_COLUMNS}, tenant_id, {_WORKS} AS works, expires_at - created_at AS lifetime FROM api_keys"
        f" WHERE public_id = {wanted} AND {whose.test(sql)} FOR NO KEY UPDATE"
    )
    rows = await database.fetch(text, *sql.arguments)
    return rows[0] if rows else None


async def create(
    tenant_id: int, user_id: int, name: str, scope: KeyScope, lifetime: timedelta | None, secret: Secret
) -> Row:
    [row] = await database.fetch(
        "INSERT INTO api_keys (tenant_id, user_id, name, scope, public_id, secret_sha256, created_at, expires_at)"
        f" VALUES ($1, $2, $3, $4, $5, $6, now(), now() + $7::interval) RETURNING {_COLUMNS}",
        *(tenant_id, user_id, name, scope.value, secret.public_id, secret.sha256, lifetime),
    )
    return row


async def end(tenant_id: int, key: int, after: timedelta) -> Row:
    """Works for so much longer, and no longer than it would have anyway."""
    [row] = await database.fetch(
        "UPDATE api_keys SET expires_at = least(expires_at, now() + $3::interval), rotated_at = now()"
        f" WHERE tenant_id = $1 AND id = $2 RETURNING {_COLUMNS}",
        *(tenant_id, key, after),
    )
    return row


async def revoke(tenant_id: int, key: int) -> Row:
    """Revoking twice keeps the first time."""
    [row] = await database.fetch(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())"
        f" WHERE tenant_id = $1 AND id = $2 RETURNING {_COLUMNS}",
        *(tenant_id, key),
    )
    return row
