"""How a local copy is answered: with which headers, and its bytes piece by piece."""

import asyncio
import logging
import re
from email.utils import format_datetime
from typing import BinaryIO

from prometheus_client import Counter
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from storage.disposition import Disposition, content_disposition
from sync import disk
from sync.conditions import Span, Version

_CHUNK_BYTES = 256 * 1024
_STALLED_SECONDS = 300
_bytes = Counter("waybill_copies_read_bytes_total", "bytes of local copies that were sent")

_UNKNOWN = "application/octet-stream"
_TEXT = "text/plain"
# What browsers show without running anything that is in it. Not SVG and HTML, which are programs; nor PDF, whose
# viewers run scripts and do not work in a sandbox.
_SHOWN = frozenset(
    (
        *(f"image/{name}" for name in ("avif", "bmp", "gif", "jpeg", "png", "webp")),
        *(f"audio/{name}" for name in ("aac", "flac", "mp4", "mpeg", "ogg", "wav", "webm")),
        *(f"video/{name}" for name in ("mp4", "mpeg", "ogg", "quicktime", "webm")),
        _TEXT,
    )
)
_HEADER = re.compile(r"[!#$&^+.\w-]{1,127}/[!#$&^+.\w-]{1,127}(?:[ \t]*;[ -~]{0,255})?", re.ASCII)
# What another page of our origin could be made to run or look like, wherever it says `attachment`.
_RUN = re.compile(r"(?:ecma|java|j|live)script|css|wasm", re.IGNORECASE)
_HEADERS = {
    "Cache-Control": "private, no-cache",  # asked again each time, for who may read it changes
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'"
    ),
    "Cross-Origin-Resource-Policy": "cross-origin",  # a URL that is signed is for pages of other origins, too
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Authorization",
}

_log = logging.getLogger(__name__)


def headers(version: Version) -> dict[str, str]:
    """Of every answer about a copy."""
    return {**_HEADERS, "ETag": version.etag, "Last-Modified": format_datetime(version.modified, usegmt=True)}


def content(file_type: str, name: str, *, inline: bool) -> dict[str, str]:
    """What it is, as declared, and what a browser does with it."""
    base = file_type.partition(";")[0].strip().lower()
    if inline and base in _SHOWN:
        shown = f"{_TEXT}; charset=utf-8" if base == _TEXT else base
        return {"Content-Type": shown, "Content-Disposition": content_disposition(Disposition.INLINE, name)}
    declared = file_type if _HEADER.fullmatch(file_type) and not _RUN.search(base) else _UNKNOWN
    return {"Content-Type": declared, "Content-Disposition": content_disposition(Disposition.ATTACHMENT, name)}


class Streamed(Response):
    """A part of an open file, which it closes; memory does not grow with it, and a client may be slow."""

    def __init__(self, file: BinaryIO, span: Span, headers: dict[str, str], status: int) -> None:
        super().__init__(None, status, {**headers, "Content-Length": str(span.end - span.start)})
        self._file = file
        self._span = span

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_gone(receive))
        try:
            async with asyncio.timeout(_STALLED_SECONDS) as stalled:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                await disk.in_thread(self._file.seek, self._span.start)
                if not (left := self._span.end - self._span.start):
                    await send({"type": "http.response.body", "body": b""})
                while left and not gone.done():
                    chunk = await disk.in_thread(_read, self._file, min(_CHUNK_BYTES, left))
                    left -= len(chunk)
                    await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
                    _bytes.inc(len(chunk))
                    stalled.reschedule(asyncio.get_running_loop().time() + _STALLED_SECONDS)
        except OSError as error:  # TimeoutError is one; the answer stays incomplete, which ends the connection
            _log.warning("a local copy was not sent to its end", extra={"cause": repr(error)})
        finally:
            gone.cancel()
            disk.close(self._file)


def _read(file: BinaryIO, most: int) -> bytes:
    if not (chunk := file.read(most)):
        raise OSError("the file became shorter")
    return chunk


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
