"""Requests that take too long, clients that go away, and work that must not hold up the others."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from starlette.types import Message

from access.credentials import Attempt
from graph.deadline import Deadline, End
from tests.conftest import without_cost
from tests.graph.tiny import Tiny, code, threads


async def exchange(
    tiny: Tiny, body: bytes, receive_more: Callable[[], Awaitable[Message]], *, more_body: bool = False
) -> list[Message]:
    """What the application sends when it receives ``body`` and then what ``receive_more`` gives."""
    sent: list[Message] = []
    first = True

    async def receive() -> Message:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": more_body}
        return await receive_more()

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await tiny.app(scope, receive, send)
    return sent


async def gone_after(seconds: float) -> Message:
    await asyncio.sleep(seconds)
    return {"type": "http.disconnect"}


async def test_request_that_takes_too_long_is_stopped_and_told_so() -> None:
    tiny = Tiny(timeout_seconds=0.05)
    answer = await tiny.query("{ hello wait(seconds: 30) }")
    assert (answer.status_code, code(answer)) == (504, "TIMEOUT")
    assert "data" not in answer.json()
    assert tiny.ended == ["cancelled"]


async def test_slow_authentication_counts_too() -> None:
    async def slow(_: Attempt) -> Any:
        await asyncio.sleep(30)

    answer = await Tiny(timeout_seconds=0.05, authenticate=slow).query("{ hello }")
    assert (answer.status_code, code(answer)) == (504, "TIMEOUT")


async def test_slow_body_counts_too() -> None:
    sent = await exchange(Tiny(timeout_seconds=0.05), b"{", lambda: asyncio.sleep(30, {}), more_body=True)
    assert sent[0]["status"] == 504


async def test_cleanup_that_hangs_is_stopped_as_well() -> None:
    tiny = Tiny(timeout_seconds=0.05)
    answer = await asyncio.wait_for(tiny.query("{ wait(seconds: 200) }"), 10)
    assert code(answer) == "TIMEOUT"
    assert tiny.ended == ["cancelled"]


async def test_request_in_time_is_not_touched_afterwards() -> None:
    tiny = Tiny(timeout_seconds=0.3)
    assert (await tiny.query("{ wait(seconds: 0.01) }")).status_code == 200
    await asyncio.sleep(0.4)
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


@pytest.mark.parametrize("after_seconds", [0.0, 0.3])
async def test_client_that_goes_away_ends_its_work(after_seconds: float) -> None:
    tiny = Tiny()
    body = orjson.dumps({"query": "{ wait(seconds: 30) }"})
    sent = await asyncio.wait_for(exchange(tiny, body, lambda: gone_after(after_seconds)), 10)
    assert sent == []
    assert tiny.ended == ["cancelled"]


async def test_client_that_goes_away_while_sending_ends_its_request(caplog: pytest.LogCaptureFixture) -> None:
    assert await exchange(Tiny(), b"{", lambda: gone_after(0), more_body=True) == []
    assert not [record for record in caplog.records if record.name.startswith("graph")]


async def test_server_that_stops_ends_the_work_without_an_answer() -> None:
    tiny = Tiny()
    body = orjson.dumps({"query": "{ wait(seconds: 30) }"})
    task = asyncio.create_task(exchange(tiny, body, lambda: gone_after(30)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tiny.ended == ["cancelled"]


async def test_cancellation_from_elsewhere_is_not_swallowed_by_the_deadline() -> None:
    ends: list[End | None] = []

    async def work() -> None:
        with Deadline(0.01) as deadline:
            try:
                await asyncio.sleep(30)
            finally:
                ends.append(deadline.end)
                task.cancel()

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == [End.LATE]


async def test_large_variables_are_coerced_outside_of_the_event_loop() -> None:
    tiny = Tiny()
    for count in (1, 20_000):
        threads.clear()
        answer = await tiny.query("query($at: [Spot!]!) { spot(at: $at) }", at=["here"] * count)
        assert without_cost(answer) == {"data": {"spot": count}}
        assert set(threads) == ({threading.main_thread().name} if count == 1 else {threads[0]})
    assert threads[0] != threading.main_thread().name


async def test_large_document_is_read_outside_of_the_event_loop() -> None:
    threads.clear()
    items = ", ".join(['"here"'] * 500)
    assert without_cost(await Tiny().query(f"{{ spot(at: [{items}]) }}")) == {"data": {"spot": 500}}
    assert threads[0] != threading.main_thread().name  # while validating
    assert threads[-1] == threading.main_thread().name  # while executing
