"""What no application sees: connections, and requests that do not arrive."""

import asyncio
import contextlib
import gc
import re
import time
from collections.abc import AsyncIterator
from itertools import product

import orjson
import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from access.requests import EXCHANGE
from tests.conftest import free_port
from tests.graph.tiny import Tiny
from waybill import server, unsent

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
GET = HEAD + b"\r\n"


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers at once; /slow after a while, /body when the body is there."""
    if scope["path"] == "/slow":
        await asyncio.sleep(0.6)
    while scope["path"] == "/body" and (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    port = free_port()
    web = uvicorn.Server(uvicorn.Config(app, port=port, **server.UVICORN | {"lifespan": "off"}))
    served = asyncio.create_task(web.serve())
    while not web.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield port
    web.should_exit = True
    await served


@pytest.fixture
async def port(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    async with serving(hello) as port:
        yield port


class Connection:
    """A client that sends bytes when it likes."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> "Connection":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def answer(self, request: bytes = b"") -> tuple[int, bytes]:
        """Status and body."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
        return int(head.split()[1]), await self.reader.readexactly(length)

    async def seconds_until_closed(self, drip: bytes = b"") -> float:
        """While ``drip`` is sent again and again; the answers are read and forgotten."""
        started = time.monotonic()
        closed = asyncio.create_task(self.reader.read())
        with contextlib.suppress(ConnectionError):
            while not closed.done():
                self.writer.write(drip)
                await asyncio.wait([closed], timeout=0.05)
                assert time.monotonic() - started < 3
            await closed
        return time.monotonic() - started


@pytest.mark.parametrize(
    ("begin", "drip"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (HEAD, b""),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"X: ", b"y"),
        (GET + HEAD, b"X: y\r\n"),
        (GET, b"\r\n"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
)
async def test_connection_whose_request_does_not_arrive_is_closed(port: int, begin: bytes, drip: bytes) -> None:
    async with Connection(port) as client:
        client.writer.write(begin)
        assert 0.25 < await client.seconds_until_closed(drip) < 1


async def test_five_hundred_half_requests_keep_nobody_out_and_do_not_stay(port: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        many = [await stack.enter_async_context(Connection(port)) for _ in range(500)]
        for one in many:
            one.writer.write(HEAD)
        async with Connection(port) as client:
            assert await client.answer(GET) == (200, b"hello")
        assert max(await asyncio.gather(*(one.seconds_until_closed() for one in many))) < 2


async def test_slow_answer_slow_body_and_pause_between_requests_are_waited_for(port: int) -> None:
    async with Connection(port) as client:
        assert await client.answer(GET.replace(b"/", b"/slow", 1)) == (200, b"hello")
        await asyncio.sleep(0.5)
        client.writer.write(b"POST /body HTTP/1.1\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            await asyncio.sleep(0.1)
            client.writer.write(b"x")
        assert await client.answer() == (200, b"hello")
        assert await client.answer(GET) == (200, b"hello")


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"X: " + b"y" * 400_000,
        HEAD + b"X: yyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 20_000,
        b"GET /" + b"y" * 400_000,
        GET + HEAD + b"X: " + b"y" * 800_000,
        b"POST /body HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: yyyyyyyyyyyyyyyyy\r\n" * 40_000,
    ],
)
async def test_endless_request_is_refused(port: int, request_: bytes) -> None:
    async with Connection(port) as client:
        status, body = await client.answer(request_)
        if status == 200:
            status, body = await client.answer()
        assert status == 431
        assert orjson.loads(body)["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}


async def test_size_of_a_body_does_not_count(port: int) -> None:
    body = b"x" * 1_000_000
    chunks = b"".join(b"%x\r\n%b\r\n" % (1000, body[:1000]) for _ in range(1000)) + b"0\r\n\r\n"
    async with Connection(port) as client:
        for headers, sent in ((b"Content-Length: 1000000", body), (b"Transfer-Encoding: chunked", chunks)):
            request = b"POST /body HTTP/1.1\r\n" + headers + b"\r\n\r\n" + sent
            client.writer.write(request * 2)
            assert await client.answer() == (200, b"hello")
            assert await client.answer() == (200, b"hello")


async def test_what_is_no_http_is_refused_in_json(port: int) -> None:
    async with Connection(port) as client:
        status, body = await client.answer(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert status == 400
        assert orjson.loads(body)["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}


async def test_connections_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)
    async with Connection(port) as first, Connection(port) as second:
        assert await first.answer(GET) == await second.answer(GET) == (200, b"hello")
        async with Connection(port) as third:
            assert await third.seconds_until_closed() < 0.2
        assert await first.answer(GET) == (200, b"hello")


async def test_body_that_is_still_arriving_at_the_deadline_is_answered_and_its_connection_not_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    tiny = Tiny(timeout_seconds=0.1)
    async with serving(tiny.app) as port, Connection(port) as client:
        client.writer.write(b"POST /graphql HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        status, body = await asyncio.wait_for(client.answer(), 10)
        assert (status, orjson.loads(body)["errors"][0]["extensions"]) == (504, {"code": "TIMEOUT"})
        await client.seconds_until_closed(b"x")


async def test_answers_that_are_sent_at_once_are_to_the_byte_what_asgi_sends() -> None:
    tiny = Tiny()

    async def by_messages(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope.pop(EXCHANGE).body() is not None
        await tiny.app(scope, receive, send)

    async def answered(port: int, headers: tuple[bytes, bytes], body: bytes) -> tuple[list[bytes], bytes]:
        head = [b"POST /graphql HTTP/1.1", b"X-Request-Id: same-for-all", b"Content-Type: application/json", *headers]
        async with Connection(port) as client:
            client.writer.write(b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body]))
            lines = (await client.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
            size = next(int(line[16:]) for line in lines if line.startswith(b"content-length: "))
            content = re.sub(rb'"remaining":\d+,"resetAt":"[^"]+"', b"", await client.reader.readexactly(size))
            return sorted(line for line in lines if not line.startswith(b"date: ")), content

    bodies = (b'{"query": "{ hello }"}', b'{"query": "{ nothing }"}', b"{")
    ends = (b"Connection: close", b"Connection: keep-alive")
    accepts = (b"Accept: application/json", b"Accept: application/graphql-response+json")
    seen = []
    for app in (tiny.app, by_messages):
        async with serving(app) as port:
            seen.append([await answered(port, headers, body) for headers in product(ends, accepts) for body in bodies])
    assert seen[0] == seen[1]
    assert {len(lines) for lines, _ in seen[0]} == {7, 8}  # with and without "connection: close"


async def test_requests_leave_nothing_to_the_collector() -> None:
    async def at_once(scope: Scope, _: Receive, __: Send) -> None:
        assert scope.pop(EXCHANGE).answer(200, b"", b"hello")

    async def by_messages(scope: Scope, receive: Receive, send: Send) -> None:
        del scope[EXCHANGE]
        await hello(scope, receive, send)

    for app in (at_once, by_messages):
        async with serving(app) as port, Connection(port) as client:
            assert await client.answer(GET) == (200, b"hello")
            gc.disable()
            try:
                # What other tests of this process began may end in between, once.
                assert await _left(client) < 20 or await _left(client) < 20 or await _left(client) < 20
            finally:
                gc.enable()


async def _left(client: Connection) -> int:
    """Objects that twenty requests leave to the collector."""
    gc.collect()
    for _ in range(20):
        await client.answer(GET)
    return gc.collect()


async def test_broken_request_is_refused_after_the_answers_to_those_before_it() -> None:
    go_on = asyncio.Event()

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        await go_on.wait()
        await hello(scope, receive, send)

    body_is_broken = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    async with serving(held) as port:
        for broken in (b"nonsense\r\n\r\n", body_is_broken):
            go_on.clear()
            async with Connection(port) as client, Connection(port) as other:
                client.writer.write(GET + GET + broken)
                assert (await other.answer(b"nonsense\r\n\r\n"))[0] == 400  # by now the first has been read, too
                go_on.set()
                assert [(await client.answer())[0] for _ in range(3)] == [200, 200, 400]
                assert not await client.reader.read()


@pytest.mark.parametrize("at_once", [True, False])
async def test_each_of_several_requests_under_way_is_told_that_its_client_has_gone(
    caplog: pytest.LogCaptureFixture, at_once: bool
) -> None:
    begun, told = asyncio.Event(), asyncio.Event()

    async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        assert (await receive())["type"] == "http.disconnect"
        if at_once:
            assert scope.pop(EXCHANGE).answer(200, b"", b"hello")
        else:
            await hello({"path": "/"}, receive, send)
        told.set()

    async with serving(waiting) as port:
        async with Connection(port) as client:
            client.writer.write(GET + GET)
            await begun.wait()
        await asyncio.wait_for(told.wait(), 10)
        await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


class Large:
    """Answers ten megabytes, which no socket takes at once."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Scope, _: Receive, __: Send) -> None:
        self.asked += 1
        assert scope.pop(EXCHANGE).answer(200, b"", bytes(10_000_000))


async def test_who_does_not_take_an_answer_is_not_asked_for_the_next_request() -> None:
    app = Large()
    async with serving(app) as port, Connection(port) as client, Connection(port) as other:
        client.writer.write(GET + GET)
        await other.answer(GET)
        await other.answer(GET)
        assert app.asked == 3
        assert [len((await client.answer())[1]) for _ in range(2)] == [10_000_000] * 2


async def until_closed(client: Connection) -> None:
    """Which takes nothing of its answer before, as much as the client's own buffers do not."""
    async with asyncio.timeout(10):
        while server._unsent._waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert server._unsent._bytes == 0
    with contextlib.suppress(ConnectionError):
        assert len(await client.reader.read()) < 10_000_000


async def test_connection_whose_client_takes_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsent, "TAKE_SECONDS", 0.05)
    app = Large()
    async with serving(app) as port, Connection(port) as client:
        client.writer.write(GET)
        while not app.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await until_closed(client)


async def test_who_waits_longest_is_closed_where_too_much_is_unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unsent, "MOST_BYTES", 1_000_000)
    app = Large()
    async with serving(app) as port, Connection(port) as client, Connection(port) as other:
        client.writer.write(GET)
        while not app.asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert len((await other.answer(GET))[1]) == 10_000_000
        await until_closed(client)
