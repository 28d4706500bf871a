"""Bytes between files and S3: by presigned URLs, without the service and without its key."""

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypedDict
from urllib.request import getproxies, proxy_bypass

from storage.loopback import is_loopback
from waybill.cli import client

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

AT_ONCE = 16
_PIECE_BYTES = 128 * 1024
_SMALL_BYTES = 64 * 1024  # which take less time than a thread to have them taken by
_HASHED_BYTES = 1024 * 1024
_PAUSES_SECONDS = (0.2, 0.5, 1, 2, 4, 8)
_TRANSIENT_STATUS = (429, 500, 502, 503, 504)
_TIMEOUT_SECONDS = 60  # in which not one more piece goes through

Advance = Callable[[int], None]  # called with how many more bytes went through; negative when they go again


_CHANGED = "it was changed meanwhile"


class _Where(TypedDict):
    url: "URL"
    proxy: str | None
    allow_redirects: bool


class Refused(Exception):
    """S3's answer to a request that it will not fulfil; ``status`` says why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"S3 answered {status}")
        self.status = status


class Broken(Exception):
    """The connection to S3 broke each time, for as long as it was worth trying, while others got through."""


class Wire:
    """To be entered with ``async with``. By aiohttp, which costs a third of what httpx does for many small files.

    Who calls ``put`` or ``get`` has a turn first, and keeps it for what belongs together.
    """

    _http: "aiohttp.ClientSession"

    async def __aenter__(self) -> Self:
        import aiohttp  # noqa: PLC0415 - takes longer than all the rest together, and --help does without
        from yarl import URL  # noqa: PLC0415 - comes with it

        self._errors = (aiohttp.ClientError, TimeoutError)
        self._url_of = URL
        self._proxies: dict[str, str | None] = {}
        self._done = 0
        self.turns = asyncio.Semaphore(AT_ONCE)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_ONCE),
            timeout=aiohttp.ClientTimeout(),  # none: see _repeated
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def put(self, path: Path, size: int, url: str, headers: Mapping[str, str], advance: Advance) -> None:
        """Send a file. Raises Refused, Broken, OSError, client.Unreachable."""
        given = {**headers, "Content-Length": str(size)}
        where = self._where(url)

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
                # What is small is still in memory, for it was read to be hashed.
                body = pieces() if size > _SMALL_BYTES else _read_whole(file, size)
                try:
                    async with self._http.put(data=body, headers=given, **where) as answer:
                        # Create-only: where it is refused an earlier attempt, whose answer was lost, has brought them.
                        _check(answer.status, 409, 412)
                except self._errors:
                    if broken is not None:
                        raise broken from None
                    raise
            if isinstance(body, bytes):
                moved(size)

        await self._repeated(once, advance)

    async def get(self, url: str, file: BinaryIO, advance: Advance) -> str:
        """Fetch a file's bytes and return their SHA-256 in hexadecimal.

        Raises Refused, Broken, OSError, client.Unreachable.
        """
        digest = hashlib.sha256()
        where = self._where(url)

        async def once(moved: Advance) -> None:
            nonlocal digest
            digest = hashlib.sha256()
            file.seek(0)
            file.truncate()
            async with self._http.get(**where) as answer:
                _check(answer.status)
                async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                    if len(piece) > _SMALL_BYTES:
                        await asyncio.to_thread(_take, file, digest, piece)
                    else:
                        _take(file, digest, piece)
                    moved(len(piece))

        await self._repeated(once, advance)
        return digest.hexdigest()

    def _where(self, url: str) -> "_Where":
        """The proxy is looked up once for all URLs of a host: aiohttp would do it for each request, in a thread."""
        signed = self._url_of(url, encoded=True)  # as it was signed
        origin = f"{signed.scheme}://{signed.authority}"
        if origin not in self._proxies:
            direct = is_loopback(url) or proxy_bypass(signed.authority)  # a proxy does not lead to this machine
            self._proxies[origin] = None if direct else getproxies().get(signed.scheme)
        return {"url": signed, "proxy": self._proxies[origin], "allow_redirects": False}

    async def _repeated(self, once: Callable[[Advance], Awaitable[None]], advance: Advance) -> None:
        """What goes away by itself is repeated for about 16 seconds.

        Raises client.Unreachable where nothing else got through meanwhile: then it is not worth trying for the rest.
        """
        pauses = iter(_PAUSES_SECONDS)
        done = self._done
        while True:
            moved_bytes = 0
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS) as limit:

                    def moved(count_bytes: int, limit: asyncio.Timeout = limit) -> None:
                        nonlocal moved_bytes
                        moved_bytes += count_bytes
                        limit.reschedule(asyncio.get_running_loop().time() + _TIMEOUT_SECONDS)
                        advance(count_bytes)

                    await once(moved)
            except BaseException as error:
                advance(-moved_bytes)
                if isinstance(error, Refused) and error.status in _TRANSIENT_STATUS:
                    what = str(error)
                elif isinstance(error, self._errors):
                    what = f"S3 does not answer: {error or type(error).__name__}"
                else:
                    raise
                pause = next(pauses, None)
                if pause is None:
                    if done == self._done:
                        raise client.Unreachable(f"{what}.\nWhat is done stays: run it again later.") from error
                    raise Broken(what) from error
            else:
                self._done += 1
                return
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret


def _check(status: int, *taken: int) -> None:
    if not 200 <= status < 300 and status not in taken:
        raise Refused(status)


def _read(file: BinaryIO, left: int) -> bytes:
    """The next piece of a file of which so many bytes are announced and not sent yet. S3 would wait for them all."""
    piece = file.read(_PIECE_BYTES)
    if len(piece) > left or (not piece and left):
        raise OSError(0, _CHANGED)
    return piece


def _read_whole(file: BinaryIO, size: int) -> bytes:
    body = file.read(size + 1)
    if len(body) != size:
        raise OSError(0, _CHANGED)
    return body


def _take(file: BinaryIO, digest: "hashlib._Hash", piece: bytes) -> None:
    file.write(piece)
    digest.update(piece)


def sha256_of(path: Path, stop: Event, advance: Advance) -> str:
    """Of a file, in hexadecimal. To be called in a thread: it ends in vain, by an OSError, soon after ``stop`` is set.

    Otherwise a program would not end before a large file is read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_HASHED_BYTES):
            if stop.is_set():
                raise InterruptedError
            digest.update(piece)
            advance(len(piece))
    return digest.hexdigest()
