"""What Prometheus is shown, and by which port only."""

import asyncio
import dataclasses
import socket
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from access import key_form
from access.buckets import Memory
from access.rates import RateLimits, Rates
from models import database
from models.errors import RateLimited, Unauthenticated
from storage.client import Storage
from tests.access.conftest import beside
from tests.access.test_canaries import new_canary
from tests.conftest import Caller, free_port
from tests.graph.tiny import VIEWER, Tiny, only_with_key
from tests.uploads import announced, completed, final, put, stored, urls_over
from waybill import logs, metrics, seaweedfs
from waybill.cli import main
from waybill.settings import Settings
from worker import work

Sample = tuple[str, tuple[tuple[str, str], ...]]
Shown = dict[Sample, float]
Difference = Callable[[], Shown]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    settings = Settings(metrics_port=free_port())
    with metrics.served(settings):
        yield f"http://127.0.0.1:{settings.metrics_port}/metrics"


def shown(url: str) -> Shown:
    text = httpx.get(url).text
    families = text_string_to_metric_families(text)
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


@pytest.fixture
def more(url: str) -> Difference:
    """What has been counted since the test began: what did not change is left out."""
    before: defaultdict[Sample, float] = defaultdict(float, shown(url))

    def difference() -> Shown:
        return {
            sample: value - before[sample]
            for sample, value in shown(url).items()
            if sample[0].startswith("waybill_") and value != before[sample]
        }

    return difference


def of(name: str, since: Shown) -> dict[Any, float]:
    """One metric's values by those of its labels."""
    found = {tuple(value for _, value in labels): count for (one, labels), count in since.items() if one == name}
    return {labels[0] if len(labels) == 1 else labels: count for labels, count in found.items()}


async def test_requests_are_counted_by_kind_and_outcome_and_timed(more: Difference) -> None:
    tiny = Tiny()
    await tiny.query("{ hello }")
    await tiny.query("query Named($n: String!) { hello(name: $n) }", n="x")
    await tiny.query("mutation { change }")
    await tiny.query('{ raises(error: "known") }')
    await tiny.query('{ raises(error: "unavailable") }')
    await tiny.query("{ absent }")
    await tiny.query("subscription { ticks }")
    await tiny.post(b"{")
    await Tiny(authenticate=only_with_key).query("{ hello }")
    await Tiny(timeout_seconds=0.05).query("{ wait(seconds: 30) }")
    since = more()
    assert of("waybill_requests_total", since) == {
        ("query", "ok"): 2,
        ("mutation", "ok"): 1,
        ("query", "errors"): 1,
        ("query", "failed"): 2,
        ("subscription", "refused"): 1,
        ("none", "refused"): 3,
    }
    assert of("waybill_request_seconds_count", since) == {"query": 5, "mutation": 1, "subscription": 1, "none": 3}
    assert of("waybill_request_seconds_sum", since)["query"] >= 0.05
    assert of("waybill_errors_total", since) == {
        "NOT_FOUND": 1,
        "UNAVAILABLE": 1,
        "GRAPHQL_VALIDATION_FAILED": 1,
        "BAD_REQUEST": 2,
        "UNAUTHENTICATED": 1,
        "TIMEOUT": 1,
    }


def outcome(answer: httpx.Response) -> str:
    if answer.status_code >= 500:
        return "failed"
    if "data" not in answer.json():
        return "refused"
    return "errors" if "errors" in answer.json() else "ok"


async def test_after_many_requests_at_once_the_counts_are_those_of_their_answers(
    http: httpx.AsyncClient, settings: Settings, seaweed: seaweedfs.Server, admin: Caller, more: Difference
) -> None:
    assert http
    batch = 'mutation {{ createBatch(input: {{batchId: "b{}"}}) {{ batch {{ id }} }} }}'
    asked = [
        ("query", "{ viewer { user { name } } }"),
        ("query", "{ objects { nodes { id } } }"),
        ("query", '{ object(objectId: "missing") { id } }'),
        ("none", "{ missing }"),
        ("none", "{"),
        ("mutation", batch),
    ]
    kinds: Counter[tuple[str, str]] = Counter()
    codes: Counter[str] = Counter()
    async with beside(dataclasses.replace(settings, rate_limit_key_points=100), seaweed) as limited:
        for first in range(0, 200, 20):
            some = [(number, *asked[number % len(asked)]) for number in range(first, first + 20)]
            answers = await asyncio.gather(
                *(
                    limited.post(
                        "/graphql",
                        json={"query": query.format(number)} if query is batch else {"query": query},
                        headers=admin.headers,
                    )
                    for number, _, query in some
                )
            )
            for (_, kind, _), answer in zip(some, answers, strict=True):
                errors = [error["extensions"]["code"] for error in answer.json().get("errors", [])]
                codes.update(errors)
                # Before a document is read nobody knows what it is of.
                kinds["none" if "RATE_LIMITED" in errors else kind, outcome(answer)] += 1
    since = more()
    assert of("waybill_requests_total", since) == kinds
    assert of("waybill_errors_total", since) == codes
    assert of("waybill_rate_limited_total", since) == {"key": codes["RATE_LIMITED"]}
    assert {"ok", "errors", "refused"} == {outcome for _, outcome in kinds}
    assert codes["RATE_LIMITED"] > 0


async def test_no_label_is_what_a_client_sends(url: str, more: Difference) -> None:
    """Else whoever likes would fill the memory of both sides."""
    tiny, before = Tiny(authenticate=only_with_key), len(shown(url))
    for number in range(20):
        name = f"name{number}"
        await tiny.query(f"query {name} {{ hello }}")
        await tiny.post({"query": f"query {name} {{ {name} }}"}, authorization="Bearer key", user_agent=name)
        await tiny.post({"query": "{ hello }", "operationName": name}, authorization="Bearer key")
        await tiny.get(query="{ hello }", **{name: name})
    assert more()
    assert len(shown(url)) - before <= 5  # of codes that had not been before


async def test_failed_logins_and_refusals_for_want_of_points_are_counted(
    http: httpx.AsyncClient, settings: Settings, seaweed: seaweedfs.Server, more: Difference
) -> None:
    assert http
    async with beside(dataclasses.replace(settings, rate_limit_failed_logins=2), seaweed) as limited:
        for authorization in ("", f"Bearer {key_form.new()}", "Bearer wb_0_0"):
            await limited.post("/graphql", json={"query": "{ __typename }"}, headers={"Authorization": authorization})
    rates = Rates(Memory(), RateLimits(key_points=2, tenant_points=3))
    other = dataclasses.replace(VIEWER, key_id="other")
    refusals = [(await rates.reserve(caller, 1)).refusal for caller in (VIEWER, VIEWER, VIEWER, other, other)]
    assert [type(refusal) for refusal in refusals if refusal] == [RateLimited, RateLimited]
    since = more()
    assert of("waybill_failed_logins_total", since) == {(): 3}
    assert of("waybill_rate_limited_total", since) == {"address": 1, "key": 1, "tenant": 1}
    assert of("waybill_errors_total", since) == {Unauthenticated.code: 2, RateLimited.code: 1}


async def test_every_use_of_a_canary_is_counted(admin: Caller, more: Difference) -> None:
    key = await new_canary()
    for _ in range(3):
        await admin.http.post("/graphql", json={}, headers={"Authorization": f"Bearer {key}"})
    assert of("waybill_canary_uses_total", more()) == {(): 3}


async def test_statements_and_connections_are_shown(admin: Caller, url: str, more: Difference) -> None:
    await admin.execute("{ batches { nodes { id } } }")
    assert of("waybill_statements_total", more())[()] >= 2  # with those that are sent meanwhile for other requests
    connections, idle, most = (
        shown(url)[f"waybill_database_connections{which}", ()] for which in ("", "_idle", "_max")
    )
    assert 1 <= idle <= connections <= most


async def test_what_becomes_of_files_is_counted(admin: Caller, storage: Storage, more: Difference) -> None:
    await database.execute("DELETE FROM deletions")
    await work.drain(storage)
    begun = of("waybill_uploads_ended_total", more())
    await stored(admin, b"hello")
    late = await announced(admin, b"late", "late")
    await urls_over(admin)
    await work.drain(storage)
    assert await put(late, b"late") == 200
    assert await completed(admin, late) == [("EXPIRED", "UPLOAD_EXPIRED")]
    await final()
    since = more()
    # What other tests have left is settled, too.
    assert of("waybill_uploads_completed_total", since)[()] >= 1
    assert of("waybill_uploads_ended_total", since)["UPLOAD_EXPIRED"] - begun.get("UPLOAD_EXPIRED", 0) >= 1
    assert of("waybill_deletions_total", since)["done"] >= 1


async def test_process_is_shown_and_the_public_port_shows_nothing(http: httpx.AsyncClient, url: str) -> None:
    assert ("process_resident_memory_bytes", ()) in shown(url)
    assert (await http.get("/metrics")).status_code == 404


@pytest.mark.parametrize("command", [["serve"], ["dev"], ["worker", "--drain"]])
def test_port_that_is_taken_is_said_before_anything_is_begun(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "configure", lambda _: None)  # of this process
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        # Each of them would find another fault if it looked further.
        env = {"WAYBILL_METRICS_PORT": port, "WAYBILL_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
        env |= {
            "WAYBILL_HOST": "192.0.2.1",
            "WAYBILL_S3_BUCKETS": "none",
            "WAYBILL_DATA_DIR": str(tmp_path / "file" / "none"),
        }
        (tmp_path / "file").touch()
        result = CliRunner(env=env).invoke(main, command)
    assert result.exit_code == 1
    assert f"port {port} on 127.0.0.1 is taken" in result.stderr
    assert "WAYBILL_METRICS_PORT" in result.stderr
