"""Bytes between files and S3: by presigned URLs, without the service and without its key."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

AT_ONCE = 16
_PIECE_BYTES = 128 * 1024
_PAUSES_SECONDS = (0.2, 0.5, 1, 2, 4, 8)
_TIMEOUT_SECONDS = 60  # in which not one more piece goes through

Advance = Callable[[int], None]  # called with how many more bytes went through; negative when they go again


class Refused(Exception):
    """S3's answer to a request that it will not fulfil; ``status`` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"S3 answered {status}")
        self.status = status


class Unreachable(Exception):
    """S3 did not answer, or not to the end, for as long as it was worth trying."""


class Wire:
    """To be entered with ``async with``. By aiohttp, which costs a third of what httpx does for many small files."""

    _http: "aiohttp.ClientSession"
    _url: "Callable[[str], URL]"

    async def __aenter__(self) -> Self:
        import aiohttp  # noqa: PLC0415 - takes longer than all the rest together, and --help does without
        from yarl import URL  # noqa: PLC0415 - comes with it

        self._errors = (aiohttp.ClientError, TimeoutError)
        self._url = partial(URL, encoded=True)  # as it was signed
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE),
            timeout=aiohttp.ClientTimeout(),  # none: see _repeated
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=True,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def put(self, path: Path, size: int, url: str, headers: Mapping[str, str], advance: Advance) -> None:
        """Send a file. Raises Refused, Unreachable, OSError."""
        given = {**headers, "Content-Length": str(size)}

        async def once(moved: Advance) -> None:
            broken: OSError | None = None

            async def pieces() -> AsyncIterator[bytes]:
                nonlocal broken
                left = size
                try:
                    while piece := await asyncio.to_thread(_read, file, left):
                        yield piece
                        left -= len(piece)
                        moved(len(piece))
                except OSError as error:  # not one of the connection's, as it would be called outside
                    broken = error
                    raise

            with path.open("rb") as file:
                try:
                    sending = self._http.put(self._url(url), data=pieces(), headers=given, allow_redirects=False)
                    async with sending as answer:
                        # Create-only: where it is refused an earlier attempt, whose answer was lost, has brought them.
                        _check(answer.status, 409, 412)
                except self._errors:
                    if broken is not None:
                        raise broken from None
                    raise

        await self._repeated(once, advance)

    async def get(self, url: str, file: BinaryIO, advance: Advance) -> str:
        """Fetch a file's bytes and return their SHA-256 in hexadecimal. Raises Refused, Unreachable, OSError."""
        digest = hashlib.sha256()

        async def once(moved: Advance) -> None:
            nonlocal digest
            digest = hashlib.sha256()
            file.seek(0)
            file.truncate()
            async with self._http.get(self._url(url), allow_redirects=False) as answer:
                _check(answer.status)
                async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                    await asyncio.to_thread(_take, file, digest, piece)
                    moved(len(piece))

        await self._repeated(once, advance)
        return digest.hexdigest()

    async def _repeated(self, once: Callable[[Advance], Awaitable[None]], advance: Advance) -> None:
        """What goes away by itself is repeated for about 16 seconds."""
        pauses = iter(_PAUSES_SECONDS)
        while True:
            moved_bytes = 0
            try:
                async with self._slots, asyncio.timeout(_TIMEOUT_SECONDS) as limit:

                    def moved(count_bytes: int, limit: asyncio.Timeout = limit) -> None:
                        nonlocal moved_bytes
                        moved_bytes += count_bytes
                        limit.reschedule(asyncio.get_running_loop().time() + _TIMEOUT_SECONDS)
                        advance(count_bytes)

                    return await once(moved)
            except BaseException as error:
                advance(-moved_bytes)
                pause = next(pauses, None)
                if isinstance(error, Refused):
                    if pause is None or error.status not in (429, 500, 502, 503, 504):
                        raise
                elif not isinstance(error, self._errors):
                    raise
                elif pause is None:
                    raise Unreachable(f"S3 does not answer: {error or type(error).__name__}") from error
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret


def _check(status: int, *taken: int) -> None:
    if not 200 <= status < 300 and status not in taken:
        raise Refused(status)


def _read(file: BinaryIO, left: int) -> bytes:
    """The next piece of a file of which so many bytes are announced and not sent yet. S3 would wait for them all."""
    piece = file.read(_PIECE_BYTES)
    if len(piece) > left or (not piece and left):
        raise OSError(0, "it was changed meanwhile")
    return piece


def _take(file: BinaryIO, digest: "hashlib._Hash", piece: bytes) -> None:
    file.write(piece)
    digest.update(piece)


def sha256_of(path: Path) -> str:
    """Of a file, in hexadecimal; to be called in a thread."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
