"""Local copies as they are read: where one is, and of what."""

from datetime import datetime

from models import database
from models.audit import Action, Entry
from models.pages import Row, Scope
from models.sql import Sql


async def find(scope: Scope, sync: int) -> Row | None:
    """The copy (primary key) if its object exists for the scope; ``path`` is null as long as there is none.

    With ``destination`` of its source, and whether the tenant is ``suspended``.
    """
    sql = Sql(scope.tenant_id)
    visible = sql.test(scope.within, "s.object_pk", "s.batch_pk")
    key = sql.bind(sync, "bigint")
    text = (
        "SELECT s.id, s.state, s.file_name, s.file_type, s.path, s.size_bytes, s.sha256, s.synced_at, c.destination,"
        " o.object_id, b.batch_id, t.revoked_at IS NOT NULL AS suspended FROM syncs s"
        " JOIN sync_sources c ON c.tenant_id = s.tenant_id AND c.id = s.source_id"
        " JOIN tenants t ON t.id = s.tenant_id"
        " JOIN objects o ON o.id = s.object_pk JOIN batches b ON b.id = s.batch_pk"
        f" WHERE s.tenant_id = {sql.tenant} AND s.id = {key} AND {visible}"
    )
    rows = await database.fetch(sql.statement(text), *sql.arguments)
    return rows[0] if rows else None


def read(row: Row, until: datetime | None = None, width: int | None = None) -> Entry:
    """That a copy, or with ``width`` a thumbnail of it, can be read until then, or was read at once.

    ``row`` has ``id`` and the clients' ids.
    """
    details = {"copy": str(row["id"])} | ({} if width is None else {"width": str(width)})
    return Entry(Action.READ_URL, row["batch_id"], row["object_id"], None, until, details)
