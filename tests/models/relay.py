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

    @property
    def url(self) -> str:
        return f"postgresql://waybill@127.0.0.1:{self.port}{self._database}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        pipes: set[asyncio.Task[None]] = set()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
            pipes.add(asyncio.create_task(self._pass_on("request", reader, server_writer)))
            pipes.add(asyncio.create_task(self._pass_on("answer", server_reader, writer)))

        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)

    @contextlib.contextmanager
    def holding(self, side: Side, text: bytes) -> Iterator[Held]:
        """Until the end of the block, messages from this side that contain the text go no further."""
        self._held = held = Held(side, text)
        try:
            yield held
        finally:
            self._held = None
            held.let_go()

    async def _pass_on(self, side: Side, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while message := await reader.read(1 << 20):
                if (held := self._held) and held.side == side and held.text in message:
                    await held.stop()
                writer.write(message)
                await writer.drain()
