"""A way to a real S3 server that is slow, breaks, or changes what goes through it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_READ = 64 * 1024


@dataclass
class Proxy:
    """``passed`` counts the bytes that have come from the server, ``asked`` the requests to it."""

    url: str = ""
    passed: int = 0
    asked: list[bytes] = field(default_factory=list)
    holds_after: int | None = None  # bytes, until ``go``
    cuts_after: int | None = None  # bytes, once
    spoils_after: int | None = None  # bytes, one of which is another then, once
    before_request: Callable[[int], Awaitable[object]] | None = None  # with its number
    held: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ):
            if data.split(b" ", 1)[0] in (b"GET", b"HEAD", b"PUT", b"POST"):
                self.asked.append(data)
                if self.before_request:
                    await self.before_request(len(self.asked))
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ):
            self.passed += len(data)
            if self.spoils_after is not None and self.passed > self.spoils_after:
                self.spoils_after = None
                data = data[:-1] + bytes([data[-1] ^ 1])
            if self.cuts_after is not None and self.passed > self.cuts_after:
                self.cuts_after = None
                raise ConnectionResetError
            if self.holds_after is not None and self.passed > self.holds_after and not self.go.is_set():
                self.held.set()
                await self.go.wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def proxied(url: str, **how: int) -> AsyncIterator[Proxy]:
    """To the server at ``url``."""
    proxy, there = Proxy(**how), urlsplit(url)  # type: ignore[arg-type]
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        back_reader, back_writer = await asyncio.open_connection(there.hostname, there.port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(proxy._up(reader, back_writer))
                both.create_task(proxy._down(back_reader, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            back_writer.transport.abort()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
