"""Pages of the audit log are led to their entries by an index, however many others there are."""

import contextlib
import secrets
from dataclasses import replace

import pytest

from models import Action, audit, database
from models.audit import Actor, Entry, Which
from models.pages import Bounds

ENTRIES = 3_000


class _RollBackError(Exception):
    pass


async def blocks_touched() -> int:
    [row] = await database.fetch(
        "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::bigint AS blocks FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace AND relname ~ '^audit_log'"
    )
    return int(row["blocks"])


@pytest.mark.parametrize("analyzed", [False, True], ids=["unknown to the planner", "analyzed"])
@pytest.mark.parametrize(
    "asked",
    [Which(0, batch_id="b7"), Which(0, object_id="o7"), Which(0, batch_id="b7", object_id="o7")],
    ids=["batch", "object", "both"],
)
async def test_entries_of_a_batch_or_an_object_are_found_past_all_others(
    own_url: str, asked: Which, analyzed: bool
) -> None:
    """Those of other tenants with the same ids among them."""
    tenant_id, other = secrets.randbits(40), secrets.randbits(40)
    async with database.connected(database.config(own_url, max_connections=1)):
        with contextlib.suppress(_RollBackError):
            async with database.transaction():
                entries = [Entry(Action.READ_URL, f"b{one}", f"o{one}", one) for one in range(ENTRIES)]
                await audit.record(Actor(tenant_id), *entries)
                await audit.record(Actor(other), *(entry._replace(batch_id="b7", object_id="o7") for entry in entries))
                if analyzed:
                    await database.fetch("ANALYZE audit_log")
                before = await blocks_touched()
                page = await audit.page(replace(asked, tenant_id=tenant_id), Bounds(10))
                touched = await blocks_touched() - before
                raise _RollBackError
        assert [(row["batch_id"], row["object_id"]) for row in page.rows] == [("b7", "o7")]
        assert touched < ENTRIES / 50
