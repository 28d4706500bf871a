"""Bytes between files and S3: by presigned URLs, without the service and without its key."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    import httpx

AT_ONCE = 16
_PIECE_BYTES = 1024 * 1024
_PAUSES_SECONDS = (0.2, 0.5, 1, 2, 4, 8)
_TIMEOUT_SECONDS = 60  # in which nothing arrives

Advance = Callable[[int], None]  # called with how many more bytes went through; negative when they go again


class Refused(Exception):
    """S3's answer to a request that it will not fulfil; ``status`` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"S3 answered {status}")
        self.status = status


class Wire:
    """To be entered with ``async with``."""

    _http: "httpx.AsyncClient"

    async def __aenter__(self) -> Self:
        import httpx  # noqa: PLC0415 - takes longer than all the rest together, and --help does without

        self._errors = (httpx.TransportError, httpx.StreamError)
        self._slots = asyncio.Semaphore(AT_ONCE)
        limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, limits=limits)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def put(self, path: Path, size: int, url: str, headers: Mapping[str, str], advance: Advance) -> None:
        """Send a file. Raises Refused, OSError."""
        given = {**headers, "content-length": str(size)}

        async def once() -> None:
            sent = 0
            try:
                with path.open("rb") as file:

                    async def pieces() -> AsyncIterator[bytes]:
                        nonlocal sent
                        while piece := await asyncio.to_thread(file.read, _PIECE_BYTES):
                            yield piece
                            sent += len(piece)
                            advance(len(piece))

                    answer = await self._http.put(url, content=pieces(), headers=given)
                # Create-only: where it is refused an earlier attempt, whose answer was lost, has brought them.
                _check(answer.status_code, 409, 412)
            except BaseException:
                advance(-sent)
                raise

        await self._repeated(once)

    async def get(self, url: str, file: BinaryIO, advance: Advance) -> str:
        """Fetch a file's bytes and return their SHA-256 in hexadecimal. Raises Refused, OSError."""
        digest = hashlib.sha256()

        async def once() -> None:
            nonlocal digest
            digest = hashlib.sha256()
            file.seek(0)
            file.truncate()
            try:
                async with self._http.stream("GET", url) as answer:
                    _check(answer.status_code)
                    async for piece in answer.aiter_raw(_PIECE_BYTES):
                        await asyncio.to_thread(_take, file, digest, piece)
                        advance(len(piece))
            except BaseException:
                advance(-file.tell())
                raise

        await self._repeated(once)
        return digest.hexdigest()

    async def _repeated(self, once: Callable[[], Awaitable[None]]) -> None:
        """What goes away by itself is repeated for about 16 seconds."""
        pauses = iter(_PAUSES_SECONDS)
        while True:
            try:
                async with self._slots:
                    return await once()
            except (*self._errors, Refused) as error:
                pause = next(pauses, None)
                again = not isinstance(error, Refused) or error.status in (429, 500, 502, 503, 504)
                if pause is None or not again:
                    raise
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret


def _check(status: int, *taken: int) -> None:
    if not 200 <= status < 300 and status not in taken:
        raise Refused(status)


def _take(file: BinaryIO, digest: "hashlib._Hash", piece: bytes) -> None:
    file.write(piece)
    digest.update(piece)


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal; to be called in a thread."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
