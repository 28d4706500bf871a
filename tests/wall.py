"""The second wall between tenants: in every test, each statement that the service sends is bounded to one tenant.

Recorded is what goes through the service's connections, by the ORM too, with the functions that sent it; what tests ask
there for themselves is not. A statement that none of the exemptions names fails the test that sent it first.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, NamedTuple

import asyncpg
import pytest

from models import asyncpg_client, database
from tests.tenant_predicates import unbound

# Functions whose statements may mention tables without their tenant, which tables, and why.
EXEMPT = {
    "models.keys.holder": ("api_keys users tenants", "authenticates: by the key's public id, which tells the tenant"),
    "models.keys.note_use": ("api_keys", "of all tenants' keys that were used, by primary keys of rows just read"),
    "models.people.with_oidc_subject": ("users tenants", "authenticates: by the subject, which tells the tenant"),
    "models.files.expire": ("uploads", "the worker's queue, of all tenants"),
    "models.files.unread": ("uploads", "the worker's queue, of all tenants"),
    "models.files.due": ("deletions", "the worker's queue, of all tenants"),
    "models.files.deleted": ("deletions", "by primary keys that the worker's queue gave"),
    "models.files.give_up": ("uploads", "by primary keys that the worker's queue gave"),
    "models.files.read_later": ("uploads", "by a primary key that the worker's queue gave"),
    "models.files._end": ("uploads", "by primary keys of rows that the same transaction has locked"),
    "models.scans.buckets": ("uploads", "names of buckets, which are no tenant's"),
    "models.orphans.note": ("uploads deletions tenants", "the reaper compares a bucket, which all tenants share"),
    "models.orphans.claim": ("uploads deletions", "whether any tenant's row knows a key"),
    "models.orphans.bring_back_known": ("uploads deletions", "whether any tenant's row knows a key"),
    "models.orphans.is_still_unknown": ("uploads deletions", "whether any tenant's row knows a key"),
    "models.lost.last_of_range": ("uploads", "the reaper compares a bucket, which all tenants share"),
    "models.lost.suspected": ("uploads", "the reaper compares a bucket, which all tenants share"),
    "models.lost.note": ("uploads", "by primary keys of rows that the reaper has just read"),
    "models.lost.listed": ("uploads objects batches", "the command line sees all tenants"),
    "models.people.usage_of_all": ("tenants usage_changes", "the command line sees all tenants"),
    "models.operators.tenants": ("tenants usage_changes", "operators see all tenants"),
    "models.operators.count_tenants": ("tenants", "operators see all tenants"),
    "models.reads.objects_of_batches": ("object_pairs", "by primary keys of batches that were read with their tenant"),
    "models.reads.count_objects_of_batches": ("object_pairs", "as above; another condition would offer another index"),
    # Whoever has the command line is above tenants; it finds users by the tenant's slug and keys by their public id.
    "waybill.cli.keys.create_api_key.<locals>.work": ("users", "by the tenant's slug, joined"),
    "waybill.cli.people.revoke_user.<locals>.work": ("users", "by the tenant's slug, joined"),
    "waybill.cli.keys.token.<locals>.work": ("users tenants", "a name that several tenants have is refused"),
    "waybill.cli.keys.token": ("tenants", "those of the users that were found"),
    "waybill.cli.keys._tenant_of": ("api_keys", "by the key's public id, which tells the tenant"),
    "waybill.cli.audit.audit.<locals>.work": ("users", "names of those in entries that were read with their tenant"),
}
# Columns that tell the tenant as well as its own: the statement may choose no index that begins with the tenant.
LIKE_TENANT = {
    ("grants", "user_id"): "a grant is of its user's tenant, by foreign key, and the user is who asks",
}

_SERVICE = ("models", "storage", "access", "graph", "worker", "waybill")
_BELOW = ("models.database", "models.asyncpg_client", "models.trace", "models.faults")
_NEAREST = 3  # functions: who wrote the statement, and who asked for it


class Sent(NamedTuple):
    sql: str
    by: tuple[str, ...]


_tables: set[str] = set()
_seen: set[Sent] = set()
_unchecked: list[Sent] = []


class Recorded(asyncpg_client.Connection):
    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        _note(query)
        return await super().execute(query, *args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> None:
        _note(command)
        await super().executemany(command, args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        _note(query)
        return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        _note(query)
        return await super().fetchrow(query, *args, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        columns = ", ".join(options["columns"])
        _note(f"INSERT INTO {table_name} ({columns}) SELECT")  # which says the same
        return await super().copy_records_to_table(table_name, **options)


def _note(sql: str) -> None:
    if sql.startswith(asyncpg_client._TRANSACTION_CONTROL):
        return
    by: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and len(by) < _NEAREST:
        module = frame.f_globals["__name__"]
        if frame.f_code is database.migrate.__code__:
            return
        if module.partition(".")[0] in _SERVICE and module not in _BELOW:
            by.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    if by and (sent := Sent(sql, tuple(by))) not in _seen:
        _seen.add(sent)
        _unchecked.append(sent)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Once the server runs, which conftest.py starts."""
    if not config.option.collectonly:
        _tables.update(asyncio.run(tables_of_tenants(os.environ["WAYBILL_TEST_DATABASE"])))
        asyncpg_client.Client.connection_class = Recorded


async def tables_of_tenants(url: str) -> frozenset[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND column_name = 'tenant_id'"
        )
    finally:
        await connection.close()
    return frozenset(row["table_name"] for row in rows)


@pytest.fixture(autouse=True)
def _statements_keep_to_one_tenant() -> Iterator[None]:
    yield
    if found := unbounded():
        pytest.fail("\n".join(found))


def unbounded() -> list[str]:
    """Of the statements sent since this was last asked, each once in a run."""
    sent = _unchecked[:]
    _unchecked.clear()
    return [found for one in sent for found in problems(one)]


def problems(sent: Sent) -> Iterator[str]:
    exempt = {table for name in sent.by if name in EXEMPT for table in EXEMPT[name][0].split()}
    for mention in unbound(sent.sql, frozenset(_tables), LIKE_TENANT):
        if mention.split()[0] not in exempt:
            yield f"{' < '.join(sent.by)} mentions {mention} without its tenant: {sent.sql}"
