"""Bytes between files and S3: by presigned URLs, without the service and without its key."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, TypedDict
from urllib.request import getproxies, proxy_bypass

from storage.loopback import is_loopback
from waybill.cli import client
from waybill.cli.growing import Growing
from waybill.cli.hashing import Advance

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

AT_ONCE = 16
_PIECE_BYTES = 128 * 1024
_SMALL_BYTES = 64 * 1024  # which take less time than a thread to have them taken by
_PAUSES_SECONDS = (0.2, 0.5, 1, 2, 4, 8)
_TRANSIENT_STATUS = (429, 500, 502, 503, 504)
_WHOLE, _PARTIAL = 200, 206
_OTHER = (412, 416)  # the file is another than what is here is of, or shorter
_TIMEOUT_SECONDS = 60  # in which not one more piece goes through

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

    async def put(
        self, path: Path, size: int, url: str, headers: Mapping[str, str], advance: Advance, part: range | None = None
    ) -> str:
        """Send a file, or some of its bytes as a part, and return S3's ETag of it.

        Raises Refused, Broken, OSError, client.Unreachable."""
        span = range(size) if part is None else part
        # Create-only: where it is refused an earlier attempt, whose answer was lost, has brought them.
        taken = (409, 412) if part is None else ()
        given = {**headers, "Content-Length": str(len(span))}
        where = self._where(url)
        etag = ""

        async def once(moved: Advance) -> None:
            nonlocal etag
            broken: OSError | None = None

            async def pieces() -> AsyncIterator[bytes]:
                nonlocal broken
                left = len(span)
                try:
                    while left:
                        piece = await asyncio.to_thread(_read, file, min(left, _PIECE_BYTES))
                        yield piece
                        left -= len(piece)
                        moved(len(piece))
                except OSError as error:  # not one of the connection's, as it would be called outside
                    broken = error
                    raise

            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != size:
                    raise OSError(0, _CHANGED)
                file.seek(span.start)
                # What is small is still in memory, for it was read to be hashed.
                body = pieces() if len(span) > _SMALL_BYTES else _read_all(file, len(span))
                try:
                    # What a part's URL of an hour ago gets is heard before the bytes are on their way.
                    asks = part is not None
                    async with self._http.put(data=body, headers=given, expect100=asks, **where) as answer:
                        _check(answer.status, *taken)
                        etag = answer.headers.get("ETag", "")
                except self._errors:
                    if broken is not None:
                        raise broken from None
                    raise
            if isinstance(body, bytes):
                moved(len(body))

        await self._repeated(once, advance)
        return etag

    async def get(self, url: str, growing: Growing) -> int:
        """Fetch a file's bytes after those that are here; returns how many came.

        Raises Refused, Broken, OSError, client.Unreachable.
        """
        where = self._where(url)
        came_bytes = 0

        async def once(moved: Advance) -> None:
            nonlocal came_bytes
            async with self._http.get(headers=_rest_of(growing), **where) as answer:
                if answer.status in (_WHOLE, *_OTHER):
                    growing.begin_again()
                _check(answer.status)
                if answer.status == _PARTIAL and not _continues(answer.headers, growing):
                    raise Refused(answer.status)
                growing.etag = answer.headers.get("ETag", growing.etag)
                async for piece in answer.content.iter_chunked(_PIECE_BYTES):
                    await _take(growing, piece)
                    came_bytes += len(piece)
                    growing.advance(len(piece))
                    moved(len(piece))

        try:
            await self._repeated(once, _ignore, lambda: growing.size)
        except Refused as error:
            if error.status not in _OTHER:
                raise
            await self._repeated(once, _ignore, lambda: growing.size)
        return came_bytes

    def _where(self, url: str) -> "_Where":
        """The proxy is looked up once for all URLs of a host: aiohttp would do it for each request, in a thread."""
        signed = self._url_of(url, encoded=True)  # as it was signed
        origin = f"{signed.scheme}://{signed.authority}"
        if origin not in self._proxies:
            direct = is_loopback(url) or proxy_bypass(signed.authority)  # a proxy does not lead to this machine
            self._proxies[origin] = None if direct else getproxies().get(signed.scheme)
        return {"url": signed, "proxy": self._proxies[origin], "allow_redirects": False}

    async def _repeated(
        self, once: Callable[[Advance], Awaitable[None]], advance: Advance, kept: Callable[[], int] = int
    ) -> None:
        """What goes away by itself is repeated for about 16 seconds; anew for each time that more bytes are ``kept``.

        Raises client.Unreachable where nothing else got through meanwhile: then it is not worth trying for the rest.
        """
        pauses = iter(_PAUSES_SECONDS)
        done = self._done
        most_kept = kept()
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
                if kept() > most_kept:
                    most_kept, pauses = kept(), iter(_PAUSES_SECONDS)
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


def _read(file: BinaryIO, most: int) -> bytes:
    """The next piece of a file of which more bytes are announced: S3 would wait for them."""
    piece = file.read(most)
    if not piece:
        raise OSError(0, _CHANGED)
    return piece


def _read_all(file: BinaryIO, size: int) -> bytes:
    body = file.read(size)
    if len(body) != size:
        raise OSError(0, _CHANGED)
    return body


def _rest_of(growing: Growing) -> dict[str, str]:
    if not growing.size:
        return {}
    headers = {"Range": f"bytes={growing.size}-"}
    if growing.etag.startswith('"'):  # a weak one matches nothing
        headers["If-Match"] = growing.etag
    return headers


def _continues(headers: Mapping[str, str], growing: Growing) -> bool:
    return headers.get("Content-Range", "").startswith(f"bytes {growing.size}-")


async def _take(growing: Growing, piece: bytes) -> None:
    if len(piece) <= _SMALL_BYTES:
        growing.take(piece)
        return
    task = asyncio.create_task(asyncio.to_thread(growing.take, piece))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])  # before anybody else looks how far it is
        raise


def _ignore(_: int) -> None:
    pass
