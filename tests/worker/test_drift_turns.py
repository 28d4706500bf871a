"""Who makes a drift report, and what becomes of one that is broken off, lost, or not allowed to the end."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from access.locations import Allowed
from models import database, drifting, sources
from models.drifting import Entry, Held, Listed
from storage.locations import Away
from storage.places import Place
from tests.worker.drifts import NOTHING, Drift
from tests.worker.mirror import new_copies
from waybill import seaweedfs


async def test_broken_off_report_is_begun_anew_and_counts_nothing_twice(
    drift: Drift, monkeypatch: pytest.MonkeyPatch
) -> None:
    await drift.copy("r", "s")
    drift.mirror.file("r").unlink()
    compared = drifting.compared

    async def cancelled(*_: Any) -> Any:
        raise asyncio.CancelledError

    monkeypatch.setattr(drifting, "compared", cancelled)
    await drift.ask()
    with pytest.raises(asyncio.CancelledError):
        await drift.checker.check_due()
    monkeypatch.setattr(drifting, "compared", compared)
    assert await drift.checker.check_due() == 1
    assert await drift.checker.check_due() == 0
    assert (await drift.kept())["missing"] == 1
    assert await listed(drift) == []


async def listed(drift: Drift) -> list[Any]:
    return await database.fetch("SELECT FROM drift_found WHERE source_id = $1", drift.key[1])


async def test_what_a_broken_off_report_has_listed_is_cleared_away(
    drift: Drift, monkeypatch: pytest.MonkeyPatch
) -> None:
    await drift.copy("r", "s")
    held = await drift.held()
    await drifting.begin(held)
    monkeypatch.setattr("models.drifting._FORGOTTEN", 1)
    await drifting.add(held, Listed.KEY, [Entry("a", 0), Entry("b", 0)])
    assert await drift.checker.check_due() == 0
    await drifting.let_go(held)
    assert [await drift.checker.check_due() for _ in range(4)] == [1, 1, 1, 0]
    assert await listed(drift) == []


async def test_report_whose_list_was_lost_makes_nothing_of_it(drift: Drift, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a crash of PostgreSQL, which empties such tables: nothing would be where it should."""
    await drift.copy("r")
    compared = drifting.compared

    async def after_a_crash(held: Held, *arguments: Any) -> Any:
        await database.execute("DELETE FROM drift_found WHERE source_id = $1", held.source["id"])
        return await compared(held, *arguments)

    monkeypatch.setattr(drifting, "compared", after_a_crash)
    with pytest.raises(drifting.ReportLost):
        await drift.report(repair=True)
    assert await drift.mirror.states() == {"r": "SYNCED"}


async def test_one_at_a_time_makes_a_report_until_it_is_not_heard_of(drift: Drift) -> None:
    await drift.copy("r")
    held = await drift.held()
    source = await sources.addressed(drift.mirror.tenant_slug, "photos")
    assert source
    assert await drifting.take(source, repair=False, verify=False) is None
    await drift.ask(repair=True)
    assert await drift.checker.check_due() == 0
    await database.execute("UPDATE drift_reports SET held_until = now() WHERE source_id = $1", drift.key[1])
    assert await drift.checker.check_due() == 1
    with pytest.raises(drifting.ReportLost):
        await drift.checker.check(held)
    assert (await drift.kept())["repair"] is True


async def test_what_is_asked_for_while_one_is_made_is_made_after_it(
    drift: Drift, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = drifting.begin

    async def asked_meanwhile(held: Held) -> None:
        await begin(held)
        monkeypatch.setattr(drifting, "begin", begin)
        await drift.ask(verify=True)

    await drift.ask()
    monkeypatch.setattr(drifting, "begin", asked_meanwhile)
    assert [await drift.checker.check_due() for _ in range(3)] == [1, 1, 0]
    assert (await drift.kept())["verify"] is True


async def test_source_that_cannot_be_asked_or_is_not_allowed_gets_a_report_that_says_so(
    drift: Drift, seaweed: seaweedfs.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await drift.copy("r")
    drift.mirror.file("r").unlink()
    allowed = Allowed([(drift.mirror.tenant_slug, seaweedfs.PROFILE)], [], directories=True)
    async with new_copies(seaweed, tmp_path / "root", allowed=allowed) as copies:
        report = await Drift(drift.mirror, copies).report(repair=True)
    assert (report.problem, report.counts) == ("CONFIGURATION", {})
    assert "WAYBILL_SYNC_ENDPOINTS" in str(report.error)

    listing = Place.listing

    async def broken(self: Place, prefix: str) -> AsyncIterator[Any]:
        async for page in listing(self, prefix):
            yield page
            raise Away

    monkeypatch.setattr(Place, "listing", broken)
    report = await drift.report(repair=True)
    assert report.problem == "NETWORK"
    assert await drift.mirror.states() == {"r": "SYNCED"}  # nothing is made of half a listing


async def test_all_pages_are_compared_and_the_first_of_each_kind_are_kept(
    drift: Drift, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.drift._ROWS", 3)
    monkeypatch.setattr("worker.shelves._PER_PAGE", 3)
    monkeypatch.setattr("models.drifting._LOCKED", 2)
    monkeypatch.setattr("models.drifting._FORGOTTEN", 4)
    monkeypatch.setattr("storage.places._KEYS_PER_PAGE", 3)
    monkeypatch.setattr("worker.drift_report._NAMED", 4)
    ref_ids = [f"r{number}" for number in range(8)]
    await drift.copy(*ref_ids)
    assert await drift.found(verify=True) == NOTHING
    for ref_id in ref_ids:
        mirrored = drift.mirror.file(ref_id)
        mirrored.rename(mirrored.with_name("moved"))
        await drift.mirror.put(b"", f"new-{ref_id}")
    found = await drift.found()
    assert found == {
        "MISSING": ref_ids,
        "EXTRA": ["moved"] * 8,
        "UNKNOWN": [f"new-{ref_id}" for ref_id in ref_ids],
    }
    report = await drift.kept()
    assert [report[kind] for kind in ("missing", "extra", "unknown")] == [8, 8, 8]
    assert len(report["items"]) == 12
    assert await listed(drift) == []


async def test_worker_without_a_root_leaves_reports_on_directories_to_others(
    drift: Drift, in_bucket: Drift, seaweed: seaweedfs.Server
) -> None:
    for one in (drift, in_bucket):
        await one.ask()
    async with new_copies(seaweed, None) as copies:
        assert [await copies._checker.check_due() for _ in range(2)] == [1, 0]
    assert (await in_bucket.kept())["problem"] is None
    assert await drift.checker.check_due() == 1
