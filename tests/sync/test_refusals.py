"""What the operator sees of notices: one line for each that is refused, and how many became what."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.datastructures import Secret

from models import notices
from tests.sync.conftest import Intake, Sender, by, notice


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    caplog.set_level("INFO", "sync.endpoint")
    return lambda: [record.__dict__ for record in caplog.records if record.name == "sync.endpoint"]


async def test_refused_request_is_one_line_that_says_why(
    sender: Sender, lines: Callable[[], list[dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    assert (await sender.send()).status_code == 201
    assert lines() == []
    given = notice()
    await sender.send(given)
    await sender.send(given)
    await sender.send(authorization="0" * 64)
    await sender.post(b"{}", {"Content-Type": "application/json"})
    await sender.http.post("/sync/no.such/", content=b"{}", headers=sender.signed(b"{}"))
    await sender.http.post(f"/sync/{'x' * 5000}/", content=b"{}", headers=sender.signed(b"{}"))
    await sender.send({"oeid": "", "ref_id": "secret one"})
    await sender.send(b"{")
    await sender.send(content_type="text/plain")
    said = [(line["source"], line["status"], line["reason"]) for line in lines()]
    assert said == [
        (sender.name, 409, "The file is queued or synced already."),
        (sender.name, 401, "a wrong signature"),
        (sender.name, 401, "no signature"),
        ("no.such", 401, "no such source"),
        ("x" * 200 + "…", 401, "no such source"),
        (sender.name, 400, "bad fields: oeid, file_name, file_type"),
        (sender.name, 400, said[6][2]),
        (sender.name, 415, 'The request needs the header "Content-Type: application/json".'),
    ]
    assert said[6][2].startswith("The body is not valid JSON")
    shown = caplog.text + repr(lines())
    assert sender.secret.decode() not in shown
    assert sender.signed(b"{")["Authorization"] not in shown
    assert "secret one" not in shown


async def test_missing_keys_are_said_to_the_operator(
    sender: Sender, intake: Intake, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    async with by(sender, intake(encryption_keys=Secret(""))) as keyless:
        await keyless.send()
    [line] = lines()
    assert (line["levelname"], line["status"]) == ("WARNING", 503)
    assert "WAYBILL_ENCRYPTION_KEYS" in line["reason"]


async def test_fault_of_ours_is_masked_and_logged_with_its_trace(
    sender: Sender, lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("private")

    monkeypatch.setattr(notices, "request", fails)
    answer = await sender.send()
    assert answer.status_code == 500
    assert "private" not in answer.text
    assert "X-Request-Id" in answer.json()["detail"]
    assert [line["levelname"] for line in lines()] == ["ERROR", "WARNING"]
    assert lines()[0]["exc_info"]


async def test_what_became_of_notices_is_counted(sender: Sender) -> None:
    def counted() -> dict[str, float]:
        outcomes = ("queued", "known", "unsigned", "invalid", "forbidden", "limited", "unavailable", "failed", "gone")
        values = {one: REGISTRY.get_sample_value("waybill_sync_notices_total", {"outcome": one}) for one in outcomes}
        return {one: value or 0.0 for one, value in values.items()}

    before, given = counted(), notice()
    await sender.send(given)
    await sender.send(given)
    await sender.send(authorization="0" * 64)
    await sender.send(b"{")
    await sender.send(content_type="text/plain")
    await sender.counts()
    after = counted()
    changed = {one: after[one] - before[one] for one in after if after[one] != before[one]}
    assert changed == {"queued": 1, "known": 1, "unsigned": 1, "invalid": 2}
