"""When the event loop looks for an answer or the next request, instead of sleeping until it comes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from tests.waybill.test_server import GET, Connection, serving
from waybill import awake, server
from waybill.awake import Awake

ANSWERED = (200, b"hello")


class Service:
    """Answers when it is told to, or has looked often enough; counts how often it looks."""

    def __init__(self) -> None:
        self.requests = 0
        self.looks = 0
        self.enough: int | None = 10
        self._answer = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        self.requests += 1
        self.looks = 0
        await self._answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})

    def look(self) -> None:
        self.looks += 1
        if self.looks == self.enough:
            self.answer()

    def answer(self) -> None:
        self._answer.set()

    def wait(self) -> None:
        self._answer.clear()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    service = Service()
    look = Awake._look

    def counted(self: Awake, *given: Any) -> None:
        look(self, *given)
        service.look()

    monkeypatch.setattr(awake, "_processors", lambda: 2)
    monkeypatch.setattr(awake, "ANSWER_SECONDS", 60)
    monkeypatch.setattr(awake, "REQUEST_SECONDS", 60)
    monkeypatch.setattr(awake, "_OTHERS_SECONDS", 60)
    monkeypatch.setattr(Awake, "_look", counted)
    monkeypatch.setattr(server, "_awake", Awake())
    server._awake._request.to_sleep_for = 1_000
    return service


@pytest.fixture
async def port(service: Service) -> AsyncIterator[int]:
    async with serving(service) as port:
        yield port


async def slept_for(service: Service, client: Connection) -> bool:
    """Whether a request that is alone is waited for asleep."""
    service.wait()
    requests = service.requests
    client.writer.write(GET)
    while service.requests == requests:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    for _ in range(20):
        await asyncio.sleep(0)
    is_asleep = service.looks == 0
    service.answer()
    assert await client.answer() == ANSWERED
    return is_asleep


async def test_loop_looks_for_the_answer_to_a_request_that_is_alone(service: Service, port: int) -> None:
    async with Connection(port) as client:
        async with asyncio.timeout(10):
            assert await client.answer(GET) == ANSWERED  # which nothing but looking sees to
        assert service.looks >= 10
        looks = service.looks
        for _ in range(20):
            await asyncio.sleep(0)
        assert service.looks <= looks + 1  # not when it has been answered


@pytest.mark.parametrize("is_long", [True, False], ids=["long", "others"])
async def test_loop_sleeps_for_sixteen_requests_after_one_that_took_long_or_kept_another_process_from_the_processor(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch, *, is_long: bool
) -> None:
    async with Connection(port) as client:
        where, limit = (server._awake._answer, "seconds") if is_long else (awake, "_OTHERS_SECONDS")
        monkeypatch.setattr(where, limit, 0)
        assert not await slept_for(service, client)  # it looks once
        monkeypatch.setattr(where, limit, 60)
        assert [await slept_for(service, client) for _ in range(18)] == [True] * 16 + [False] * 2


async def test_loop_sleeps_while_several_requests_are_under_way(service: Service, port: int) -> None:
    async with AsyncExitStack() as stack:
        service.enough = None
        clients = [await stack.enter_async_context(Connection(port)) for _ in range(2)]
        for client in clients:
            client.writer.write(GET)
        while service.requests < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        service.looks = 0
        for _ in range(20):
            await asyncio.sleep(0)
        assert service.looks <= 1  # which began before the second came
        service.answer()
        assert [await client.answer() for client in clients] == [ANSWERED] * 2


async def looks_for_next(service: Service, client: Connection) -> bool:
    """Whether the next request is looked for when one that is alone has been answered."""
    service.answer()
    assert await client.answer(GET) == ANSWERED
    service.looks = 0
    for _ in range(20):
        await asyncio.sleep(0)
    return service.looks > 1


async def test_loop_looks_for_the_next_request_of_a_client_that_is_alone(service: Service, port: int) -> None:
    service.enough = None
    server._awake._request.to_sleep_for = 0
    async with Connection(port) as client, Connection(port) as other:
        assert [await looks_for_next(service, client) for _ in range(20)] == [True] * 20
        looks = service.looks
        for _ in range(20):
            await asyncio.sleep(0)
        assert (
            looks + 18 <= service.looks <= looks + 22
        )  # once in each turn of the event loop, however many came before
        service.wait()
        client.writer.write(GET)
        other.writer.write(GET)
        while service.requests < 22:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        service.answer()
        assert [await one.answer() for one in (client, other)] == [ANSWERED] * 2


async def test_loop_sleeps_after_sixteen_answers_when_no_request_came_in_time_but_looks_for_answers(
    service: Service, port: int
) -> None:
    service.enough = None
    waited = server._awake._request
    waited.to_sleep_for = waited.seconds = 0
    async with Connection(port) as client:
        assert not await looks_for_next(service, client)  # it looks once
        waited.seconds = 60
        assert [await looks_for_next(service, client) for _ in range(17)] == [False] * 16 + [True]
        waited.to_sleep_for = 1_000
        assert not await slept_for(service, client)


async def test_loop_sleeps_where_there_is_one_processor(
    service: Service, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awake, "_processors", lambda: 1)
    monkeypatch.setattr(server, "_awake", Awake())
    async with Connection(port) as client:
        assert await slept_for(service, client)
