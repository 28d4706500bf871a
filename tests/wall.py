"""The second wall between tenants: in every test, each statement that the service sends is bounded to one tenant.

Recorded (tests/recorded.py) is what goes through the service's connections, those of its own processes too; what tests
ask there for themselves is not. A statement that none of the exemptions names fails the test that sent it first.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator

import asyncpg
import pytest

from tests import recorded
from tests.tenant_predicates import unbound

# Functions whose statements may mention tables without their tenant, which tables, and why.
EXEMPT = {
    "models.keys.holder": ("api_keys users tenants", "authenticates: by the key's public id, which tells the tenant"),
    "models.keys.note_use": ("api_keys", "of all tenants' keys that were used, by primary keys of rows just read"),
    "models.people.with_oidc_subject": ("users tenants", "authenticates: by the subject, which tells the tenant"),
    "models.files.forget": ("uploads", "the worker's queue, of all tenants"),
    "models.looks.due": ("uploads", "the worker's queue, of all tenants"),
    "models.looks.at": ("uploads", "by keys in S3, each of which one upload has"),
    "models.looks.again": ("uploads", "by primary keys that the worker's queue gave"),
    "models.looks.later": ("uploads", "by primary keys that the worker's queue gave"),
    "models.files.unread": ("uploads", "the worker's queue, of all tenants"),
    "models.files.due": ("deletions", "the worker's queue, of all tenants"),
    "models.files.deleted": ("deletions", "by primary keys that the worker's queue gave"),
    "models.files.give_up": ("uploads", "by primary keys that the worker's queue gave"),
    "models.files.read_later": ("uploads", "by a primary key that the worker's queue gave"),
    "models.files._end": ("uploads", "by primary keys of rows that the same transaction has locked"),
    "models.copying.take": ("sync_sources syncs tenants objects batches", "the worker's queue, of all tenants"),
    "models.copying.going_on": ("syncs", "by primary keys that the worker's queue gave"),
    "models.copying.again": ("syncs", "by a primary key that the worker's queue gave"),
    "models.copying.put_back": ("syncs", "by primary keys that the worker's queue gave"),
    "models.copying.fail": ("syncs", "by a primary key that the worker's queue gave"),
    "models.copying.oldest_age": ("sync_sources syncs", "how long the worker's queue is, of all tenants"),
    "models.copying.due_deletions": ("copy_deletions sync_sources tenants", "the worker's queue, of all tenants"),
    "models.copying.deleting": ("copy_deletions syncs", "by keys that the worker's queue gave"),
    "models.copying.delete_later": ("copy_deletions", "by a primary key that the worker's queue gave"),
    "models.drifting.take_asked": ("drift_reports sync_sources tenants", "the worker's queue, of all tenants"),
    "models.drifting.forget_broken_off": ("drift_reports", "the worker's, of all tenants"),
    "models.sources.addressed": ("sync_sources tenants", "by the tenant's slug and a name, which are one source's"),
    "models.answers.forget": ("idempotent_answers", "the worker's, of all tenants"),
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
    "models.syncs.page": ("syncs", "by whole rows that begin with the tenant, or with a source or batch of it"),
    "models.syncs.count": ("syncs", "as above; an equality would offer another index"),
    # Whoever has the command line is above tenants; it finds users by the tenant's slug and keys by their public id.
    "waybill.cli.keys.create_api_key.<locals>.work": ("users", "by the tenant's slug, joined"),
    "waybill.cli.people.revoke_user.<locals>.work": ("users", "by the tenant's slug, joined"),
    "waybill.cli.keys.token.<locals>.work": ("users tenants", "a name that several tenants have is refused"),
    "waybill.cli.keys.token": ("tenants", "those of the users that were found"),
    "waybill.cli.keys._tenant_of": ("api_keys", "by the key's public id, which tells the tenant"),
    "waybill.cli.sources.list_sources.<locals>.work": ("tenants", "the command line sees all tenants"),
    "waybill.cli.audit.audit.<locals>.work": ("users", "names of those in entries that were read with their tenant"),
}
# Columns that tell the tenant as well as its own: the statement may choose no index that begins with the tenant.
LIKE_TENANT = {
    ("grants", "user_id"): "a grant is of its user's tenant, by foreign key, and the user is who asks",
    ("granted_pairs", "user_id"): "as above: it is of a grant, by foreign key",
}

_tables: set[str] = set()
_others = tempfile.NamedTemporaryFile(prefix="waybill-test-")  # noqa: SIM115 - lives as long as the process


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Once the server runs, which conftest.py starts."""
    if not config.option.collectonly:
        _tables.update(asyncio.run(tables_of_tenants(os.environ["WAYBILL_TEST_DATABASE"])))
        os.environ[recorded.FILE] = _others.name
        recorded.record()


def pytest_unconfigure() -> None:
    _others.close()


async def tables_of_tenants(url: str) -> frozenset[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND (column_name = 'tenant_id' OR table_name = 'granted_pairs')"
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
    return [found for one in recorded.taken() for found in problems(one)]


def problems(sent: recorded.Sent) -> Iterator[str]:
    exempt = {table for name in sent.by if name in EXEMPT for table in EXEMPT[name][0].split()}
    for mention in unbound(sent.sql, frozenset(_tables), LIKE_TENANT):
        if mention.split()[0] not in exempt:
            yield f"{' < '.join(sent.by)} mentions {mention} without its tenant: {sent.sql}"
