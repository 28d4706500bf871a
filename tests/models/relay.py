"""A TCP door to PostgreSQL's unix socket that can hold messages back, so that tests act at a known moment."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

Side: TypeAlias = Literal["request", "answer"]


class Held:
    """Messages that hold back; those that come later go on when the first ones do."""

    def __init__(self, side: Side, text: bytes) -> None:
        self.side = side
        self.text = text
        self.messages = 0
        self._arrived = asyncio.Condition()
        self._go = asyncio.Event()

    def matches(self, side: Side, message: bytes) -> bool:
        return side == self.side and (self.text in message if self.text else not message)

    async def stop(self) -> None:
        async with self._arrived:
            self.messages += 1
            self._arrived.notify_all()
        await self._go.wait()

    async def arrived(self, messages: int) -> None:
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: self.messages >= messages)

    def let_go(self) -> None:
        self._go.set()


class Relay:
    def __init__(self, server_url: str) -> None:
        url = urlsplit(server_url)
        place = parse_qs(url.query)
        self._socket = f"{place['host'][0]}/.s.PGSQL.{place['port'][0]}"
        self._database = url.path
        self._held: Held | None = None
        self.port = 0
        self.pipes: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"postgresql://waybill@127.0.0.1:{self.port}{self._database}"

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        self.pipes.add(asyncio.create_task(self._pass_on("request", reader, server_writer)))
        self.pipes.add(asyncio.create_task(self._pass_on("answer", server_reader, writer)))

    @contextlib.contextmanager
    def holding(self, side: Side, text: bytes) -> Iterator[Held]:
        """Until the end of the block, messages from this side that contain the text go no further.

        No text at all means the end of the connection.
        """
        self._held = held = Held(side, text)
        try:
            yield held
        finally:
            self._held = None
            held.let_go()

    def cut(self) -> None:
        """Break all connections."""
        for pipe in self.pipes:
            pipe.cancel()

    async def _pass_on(self, side: Side, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            message = b"to begin with"
            while message:
                message = await reader.read(1 << 20)
                if (held := self._held) and held.matches(side, message):
                    await held.stop()
                writer.write(message)
                await writer.drain()


@contextlib.asynccontextmanager
async def relaying(server_url: str) -> AsyncIterator[Relay]:
    relay = Relay(server_url)
    server = await asyncio.start_server(relay.connect, "127.0.0.1", 0)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        relay.cut()
        await asyncio.gather(*relay.pipes, return_exceptions=True)
