"""What stands in an answer for each leaf of an object, as the inside of an f-string of ``row``.

Expressions instead of functions, for to call one for each of a page's thousand leaves takes as long as what it does.
They are as ``graph.types`` make them, to the byte.
"""

from binascii import b2a_base64
from functools import lru_cache
from struct import Struct
from typing import Any

import orjson

from graph.scalars import format_datetime
from models import ids, pages
from models.pages import Page

BATCH = {
    "id": '"{base64(b"Batch:%d" % row["batch_pk"], newline=False).decode()}"',
    "batchId": '{text(row["batch_id"])}',
    "createdAt": '{made_at(row["batch_pk"] >> TIME_SHIFT)}',
}
OBJECT = {
    "id": '"{base64(b"Object:%d" % row["id"], newline=False).decode()}"',
    "objectId": '{json(row["object_id"]).decode()}',
    "createdAt": '{made_at(row["id"] >> TIME_SHIFT)}',
    "updatedAt": '"{moment(row["updated_at"])}"',
}
FILE = {
    "state": '"{row["file_state"]}"',
    "name": '{json(row["file_name"]).decode()}',
    "contentType": '{text(row["file_type"])}',
    "size": '{row["file_size"]}',
    "sha256": '{"null" if row["file_sha256"] is None else quoted(row["file_sha256"].hex())}',
    "completedAt": '{"null" if row["file_completed_at"] is None else quoted(moment(row["file_completed_at"]))}',
}
COLUMNS = {  # of the file that they are made of
    "state": ["file_state"],
    "name": ["file_name"],
    "contentType": ["file_type"],
    "size": ["file_size"],
    "sha256": ["file_sha256"],
    "completedAt": ["file_completed_at"],
    "access": ["file_state", "file_bucket", "file_key", "file_name", "file_type"],
}

# As ``pages.cursor``: nine bytes are twelve characters, and what follows, ``end``, is the same for all of a list.
EDGE = {"cursor": '"{base64(pack(1, row["id"]), newline=False).translate(URL_SAFE).decode()}{end}"'}
PAGE_INFO = {
    "hasNextPage": "{boolean[page.has_next]}",
    "hasPreviousPage": "{boolean[page.has_previous]}",
    "startCursor": "{cursor(page, 0, end)}",
    "endCursor": "{cursor(page, -1, end)}",
}

# As PostgreSQL writes them, without its spaces. Within a text each quotation mark has a backslash before it, and after
# one that ends a text comes no name: what is looked for is found between texts only.
PAIRS = '{row["data"].replace(NEXT_SPACED, NEXT).replace(VALUE_SPACED, VALUE).replace(FIRST_SPACED, FIRST, 1)}'
KEPT = [("key", "key"), ("value", "value")]  # selected like that


def access(given: str, new: str, until: str) -> dict[str, str]:
    """Of an access, from URLs by their files; in them nothing has to be escaped."""
    url = f'{given}.get(row["file_pk"]) or {new}[row["file_pk"]]'
    return {"url": f'"{{{url}}}"', "expiresAt": f'"{{moment({until})}}"'}


@lru_cache(4096)
def _made_at(time: int) -> str:
    return _quoted(format_datetime(ids.created_at(time << ids.TIME_SHIFT)))


@lru_cache(4096)
def _text(value: str) -> str:
    """Of what is the same in many rows."""
    return orjson.dumps(value).decode()


def _quoted(text: str) -> str:
    return f'"{text}"'


@lru_cache(1_000)
def end_of_cursors(digest: bytes) -> str:
    """Of all cursors of the list with the digest."""
    return pages.cursor(0, digest)[12:]


def _cursor(page: Page, index: int, end: str) -> str:
    if not page.rows:
        return "null"
    key = b2a_base64(_pack(1, page.rows[index]["id"]), newline=False).translate(_URL_SAFE).decode()
    return _quoted(key + end)


_pack = Struct(">Bq").pack
_URL_SAFE = bytes.maketrans(b"+/", b"-_")  # of bytes, for characters take ten times as long
NAMES: dict[str, Any] = {
    "base64": b2a_base64,
    "json": orjson.dumps,
    "text": _text,
    "moment": lru_cache(4096)(format_datetime),
    "made_at": _made_at,
    "quoted": _quoted,
    "cursor": _cursor,
    "pack": _pack,
    "boolean": ("false", "true"),
    "TIME_SHIFT": ids.TIME_SHIFT,
    "URL_SAFE": _URL_SAFE,
    "NEXT_SPACED": '}, {"key": ',
    "NEXT": '},{"key":',
    "VALUE_SPACED": ', "value": ',
    "VALUE": ',"value":',
    "FIRST_SPACED": '[{"key": ',
    "FIRST": '[{"key":',
}
