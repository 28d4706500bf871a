"""What a request for a file wants under which conditions (RFC 9110, sections 13 and 14)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from starlette.exceptions import HTTPException

_RANGE = re.compile(r"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


class Span(NamedTuple):
    """Bytes from ``start`` to just before ``end``."""

    start: int
    end: int


class Version(NamedTuple):
    """By what a client knows what it has: the ETag, quoted, and the second since when it is so."""

    etag: str
    modified: datetime


def unchanged(headers: Mapping[str, str], version: Version) -> bool:
    """Whether the client has it (304). Raises HTTPException (412) where it wants another one only.

    Each condition on a date counts only where there is none on the ETag.
    """
    if (wanted := headers.get("if-match")) is not None:
        if not _names(wanted, version.etag, weakly=False):
            raise _other()
    elif (moment := _date(headers.get("if-unmodified-since"))) is not None and version.modified > moment:
        raise _other()
    if (known := headers.get("if-none-match")) is not None:
        return _names(known, version.etag, weakly=True)
    moment = _date(headers.get("if-modified-since"))
    return moment is not None and version.modified <= moment


def span(headers: Mapping[str, str], version: Version, size: int) -> Span | None:
    """The bytes that are asked for; None: all of them, as for several ranges at once, which may be ignored.

    Raises HTTPException (416).
    """
    found = _RANGE.fullmatch(headers.get("range", ""))
    if found is None or not any(found.groups()) or not _is_same(headers.get("if-range"), version):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None  # which is no range, and not one that cannot be
    if start >= size:
        raise HTTPException(416, f"The file has {size:,} bytes.", {"Content-Range": f"bytes */{size}"})
    return Span(start, end)


def _names(header: str, etag: str, *, weakly: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = [tag.strip() for tag in header.split(",")]
    return etag in tags or (weakly and f"W/{etag}" in tags)


def _is_same(if_range: str | None, version: Version) -> bool:
    if if_range is None or if_range == version.etag:
        return True
    return not if_range.startswith(('"', "W/")) and _date(if_range) == version.modified


def _date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _other() -> HTTPException:
    return HTTPException(412, "The file is another one than the condition names.")
