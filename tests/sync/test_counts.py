"""How many files are copied, and how many are not yet: of the default source for everybody."""

import pytest

from models import database, sources
from tests.sync.conftest import Intake, Sender, notice


@pytest.mark.parametrize(
    ("state", "synced", "queued"), [("QUEUED", 0, 3), ("RUNNING", 0, 3), ("SYNCED", 3, 0), ("FAILED", 0, 0)]
)
async def test_what_is_not_done_is_queued(sender: Sender, state: str, synced: int, queued: int) -> None:
    for _ in range(3):
        assert (await sender.send()).status_code == 201
    await sender.set_state(state)
    assert await sender.counts() == {"synced_objects_count": synced, "queued_objects_count": queued}


async def test_default_source_is_open(sender: Sender, intake: Intake) -> None:
    await sender.send()
    async with intake(sync_default_source=sender.name) as http:
        for path in ("/sync/", "/sync"):
            answer = await http.get(path, headers={"Authorization": "anything"})
            assert (answer.status_code, answer.json()) == (200, {"synced_objects_count": 0, "queued_objects_count": 1})
            head = await http.head(path)
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-length"] == answer.headers["content-length"]


@pytest.mark.parametrize("name", ["", "nobody.nothing"])
async def test_default_source_that_is_not_there_is_said_not_to_be(sender: Sender, intake: Intake, name: str) -> None:
    assert sender
    async with intake(sync_default_source=name) as http:
        answer = await http.get("/sync/")
    assert (answer.status_code, set(answer.json())) == (404, {"detail"})


async def tuples_read() -> dict[str, int]:
    """By table, by this connection since it told others of it."""
    rows = await database.fetch(
        "SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) AS tuples FROM pg_stat_xact_user_tables"
        " WHERE relname LIKE 'sync%'"
    )
    return {row["relname"]: row["tuples"] for row in rows}


async def test_counts_are_read_without_the_files_that_they_count(sender: Sender) -> None:
    """At most one row for each slot, however many files there are."""
    for _ in range(20):
        await sender.send(notice())
    async with database.transaction():
        before = await tuples_read()
        stats = await sources.stats(sender.tenant.id, sender.row["id"])
        read = {name: tuples - before[name] for name, tuples in (await tuples_read()).items()}
    assert stats == (20, 0, 0, 0)
    assert read == {"sync_sources": read["sync_sources"], "sync_counts": read["sync_counts"], "syncs": 0}
    assert 1 <= read["sync_counts"] <= 16
