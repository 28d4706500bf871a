"""Local copies over HTTP: the file itself, and a thumbnail, for whoever may read the object or has a signed URL."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson
from prometheus_client import Counter
from starlette.requests import Request
from starlette.responses import Response

from access import policy
from access.copy_urls import CopyUrls, Expired, Holder, Shown
from access.credentials import Attempt
from access.policy import Caller, Viewer, as_viewer
from access.rates import Payer, Reservation
from models import audit, copies
from models.errors import (
    BadInput,
    CopyChanged,
    CopyMissing,
    FileNotComplete,
    NotFound,
    NoThumbnail,
    TenantSuspended,
    Unauthenticated,
)
from models.images import USUAL_WIDTH, is_image, width_of
from models.locations import Directory, destination
from models.pages import Row
from models.trace import current
from storage.disposition import Disposition
from sync import conditions, disk, serving
from sync.conditions import Span, Version
from sync.thumbnails import MEDIA_TYPE, Thumbnails

_KEY = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_ENTRANCE = 1  # points, for letting in and looking up
_BYTES_A_POINT = 1_000_000
_MOST_FOR_BYTES = 1_000
_MAKING = 100  # a thumbnail, which takes a process of its own

_log = logging.getLogger(__name__)
_reads = Counter("waybill_copies_reads_total", "local copies that were asked for, by what was answered", ["outcome"])


class Copies:
    """Without a ``root`` there are none in directories, and no thumbnails.

    ``authenticate`` and ``reserve`` are as the GraphQL endpoint's; ``count_failed_login`` is told the address of who
    sends a URL with a wrong signature, and raises RateLimited after too many.
    """

    def __init__(
        self,
        root: Path | None,
        urls: CopyUrls,
        *,
        authenticate: Callable[[Attempt], Awaitable[Caller]],
        count_failed_login: Callable[[str], Awaitable[None]],
        reserve: Callable[[Payer, int, int], Awaitable[Reservation]],
        timeout_seconds: float,
    ) -> None:
        self._root = root
        self._urls = urls
        self._authenticate = authenticate
        self._count_failed_login = count_failed_login
        self._reserve = reserve
        self._timeout_seconds = timeout_seconds  # until an answer begins
        self._thumbnails = None if root is None else Thumbnails(root)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Thumbnails are made inside, and those that were kept too long are removed."""
        return nullcontext() if self._thumbnails is None else self._thumbnails.running()

    async def file(self, request: Request) -> Response:
        """``GET /copies/{copy}``. Raises WaybillError and HTTPException."""
        async with asyncio.timeout(self._timeout_seconds):
            shown = Shown(request.path_params["copy"], inline=_disposition(request) == Disposition.INLINE)
            payer, row = await self._found(request, shown)
            if _disposition(request) not in tuple(Disposition):
                raise BadInput('"disposition" must be "attachment" or "inline".')
            version = Version(f'"{row["sha256"].hex()}"', row["synced_at"].replace(microsecond=0))
            headers = serving.headers(version)
            if conditions.unchanged(request.headers, version):
                return _unchanged(headers)
            _check_directory(row)
            size = row["size_bytes"]
            part = conditions.span(request.headers, version, size) if request.method == "GET" else None
            span = part or Span(0, size)
            await self._spend(payer, min((span.end - span.start) // _BYTES_A_POINT, _MOST_FOR_BYTES))
            headers |= serving.content(row["file_type"], row["file_name"], inline=shown.inline)
            headers["Accept-Ranges"] = "bytes"
            if part is not None:
                headers["Content-Range"] = f"bytes {part.start}-{part.end - 1}/{size}"
            file = await self._open(row)
            try:
                if request.method == "HEAD":
                    disk.close(file)
                    return Response(None, 200, {**headers, "Content-Length": str(size)})
                await _record(payer, row)
            except BaseException:
                disk.close(file)
                raise
            _reads.labels("part" if part else "whole").inc()
            return serving.Streamed(file, span, headers, 206 if part else 200)

    async def thumbnail(self, request: Request) -> Response:
        """``GET /copies/{copy}/thumbnail``. Raises WaybillError and HTTPException."""
        async with asyncio.timeout(self._timeout_seconds):
            shown = Shown(request.path_params["copy"], width=_width(request))
            payer, row = await self._found(request, shown)
            if not is_image(row["file_type"]):
                raise NoThumbnail("There are thumbnails of images only, and this file is said to be none.")
            assert shown.width is not None  # noqa: S101 - for the type checker
            width = width_of(shown.width)
            version = Version(f'"{row["sha256"].hex()}-{width}"', row["synced_at"].replace(microsecond=0))
            headers = {**serving.headers(version), "Content-Disposition": "inline"}
            if conditions.unchanged(request.headers, version):
                return _unchanged(headers)
            image = await self._image(payer, row, width)
            if request.method == "GET":
                await _record(payer, row, width)
                _reads.labels("thumbnail").inc()
            return Response(image, 200, headers, MEDIA_TYPE)

    async def _image(self, payer: Payer, row: Row, width: int) -> bytes:
        if self._thumbnails is None:
            raise _missing(row, "no root")
        if (kept := await self._thumbnails.kept(row["sha256"], width)) is not None:
            return kept
        _check_directory(row)
        await self._spend(payer, _MAKING)
        try:
            return await self._thumbnails.made(partial(self._open, row), row["sha256"], width)
        except CopyChanged:
            raise _changed(row, "not the bytes") from None

    async def _found(self, request: Request, shown: Shown) -> tuple[Payer, Row]:
        """Who pays, and the copy. What is not there is as what is not visible."""
        payer: Payer
        if "signature" in request.query_params:
            payer = await self._holder(request, shown)
            scope = policy.signed_for(payer.tenant_id)
        else:
            payer = as_viewer(await self._authenticate(_attempt(request)))
            scope = policy.readable(payer)
        if (trace := current.get()) is not None:
            trace.key_id = payer.key_id
            trace.tenant_id = payer.tenant_id
        await self._spend(payer, _ENTRANCE)
        row = await copies.find(scope, int(shown.sync)) if _KEY.fullmatch(shown.sync) else None
        if row is None:
            raise NotFound("There is no such copy, or it is not visible to you.")
        if row["suspended"]:  # of a URL; others were not let in
            raise TenantSuspended
        if row["path"] is None:
            raise FileNotComplete("There is no local copy yet.", state=row["state"])
        return payer, row

    async def _holder(self, request: Request, shown: Shown) -> Holder:
        tenant, expires, signature = (request.query_params.get(name, "") for name in ("tenant", "expires", "signature"))
        try:
            return self._urls.holder(shown, tenant, expires, signature)
        except Expired:
            raise
        except Unauthenticated:
            await self._count_failed_login(_address(request))
            raise

    async def _spend(self, payer: Payer, points: int) -> None:
        """Beside what the request has spent. Raises RateLimited."""
        if points == 0:
            return
        trace = current.get()
        spent = int(str(trace.cost["requested"])) if trace is not None and trace.cost else 0
        reservation = await self._reserve(payer, spent + points, spent)
        if trace is not None:
            trace.cost = {"requested": spent + points}
        if reservation.refusal is not None:
            raise reservation.refusal

    async def _open(self, row: Row) -> BinaryIO:
        if self._root is None:
            raise _missing(row, "no root")
        try:
            return await disk.open_below(self._root, row["path"], row["size_bytes"])
        except CopyMissing as error:
            raise _missing(row, repr(error.__cause__)) from None
        except CopyChanged:
            raise _changed(row, "not the size") from None


def _check_directory(row: Row) -> None:
    if not isinstance(destination(orjson.loads(row["destination"])), Directory):
        raise CopyMissing("The copy is in a bucket, and this service reads those in directories.")


def _unchanged(headers: dict[str, str]) -> Response:
    _reads.labels("unchanged").inc()
    return Response(None, 304, headers)


def _missing(row: Row, cause: str) -> CopyMissing:
    _reads.labels("missing").inc()
    _log.warning("a local copy is missing", extra={"copy": row["id"], "copy_path": row["path"], "cause": cause})
    return CopyMissing()


def _changed(row: Row, cause: str) -> CopyChanged:
    _reads.labels("changed").inc()
    _log.warning("a local copy was changed", extra={"copy": row["id"], "copy_path": row["path"], "cause": cause})
    return CopyChanged()


async def _record(payer: Payer, row: Row, width: int | None = None) -> None:
    """That somebody reads it by a credential; of a URL there is an entry since it was given out."""
    if isinstance(payer, Viewer):
        await audit.record(payer.actor, copies.read(row, width=width))


def _disposition(request: Request) -> str:
    return request.query_params.get("disposition", Disposition.ATTACHMENT)


def _width(request: Request) -> int:
    text = request.query_params.get("width", str(USUAL_WIDTH))
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def _attempt(request: Request) -> Attempt:
    return Attempt(
        request.headers.get("authorization"),
        address=_address(request),
        agent=request.headers.get("user-agent", ""),
        path=request.url.path,
        tenant=request.headers.get("waybill-tenant"),
    )


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
