"""Parts, conditions and headers of local copies: RFC 9110, and what keeps browsers from running what is in them."""

import hashlib
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

import pytest

from tests.sync.copied import Copies, code, copies, root, with_root

__all__ = ["copies", "root", "with_root"]  # fixtures

CONTENT = bytes(range(100))
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
RANGES = {
    "bytes=0-0": (0, 1),
    "bytes=10-19": (10, 20),
    "bytes=90-": (90, 100),
    "bytes=90-1000": (90, 100),
    "bytes=-10": (90, 100),
    "bytes=-1000": (0, 100),
    "Bytes= 1-2 ": (1, 3),
}
WHOLE = ["bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "lines=0-1", "bytes=0-1,5-6", "bytes=1-2-3", "bytes 0-1", "-5"]
NEVER = ["bytes=100-", "bytes=100-200", "bytes=999999999999-", "bytes=-0"]


async def test_part_is_what_was_asked_for(copies: Copies) -> None:
    key = await copies.add("o", CONTENT)
    for asked, (start, end) in RANGES.items():
        answer = await copies.get(key, range=asked)
        assert (answer.status_code, answer.content) == (206, CONTENT[start:end]), asked
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/100"
        assert answer.headers["content-length"] == str(end - start)
    for asked in WHOLE:
        answer = await copies.get(key, range=asked)
        assert (answer.status_code, answer.content) == (200, CONTENT), asked
        assert "content-range" not in answer.headers
    for asked in NEVER:
        answer = await copies.get(key, range=asked)
        assert code(answer) == (416, "BAD_REQUEST"), asked
        assert answer.headers["content-range"] == "bytes */100"


async def test_empty_file_is_sent(copies: Copies) -> None:
    key = await copies.add("o", b"")
    answer = await copies.get(key)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert code(await copies.get(key, range="bytes=0-")) == (416, "BAD_REQUEST")


async def test_head_says_all_that_get_does_without_the_bytes(copies: Copies) -> None:
    key = await copies.add("o", CONTENT)
    whole = await copies.get(key)
    head = await copies.http.head(f"/copies/{key}", headers=copies.caller.headers | {"range": "bytes=0-1"})
    varying = {"x-request-id"}
    assert (head.status_code, head.content) == (200, b"")
    assert {*head.headers.items()} - {*whole.headers.items()} == {("x-request-id", head.headers["x-request-id"])}
    assert whole.headers.keys() - head.headers.keys() <= varying
    copies.path("o").unlink()
    assert (await copies.http.head(f"/copies/{key}", headers=copies.caller.headers)).status_code == 404
    assert (await copies.http.post(f"/copies/{key}", headers=copies.caller.headers)).status_code == 405


async def test_conditions_decide_whether_there_is_an_answer_and_whether_it_is_a_part(copies: Copies) -> None:
    key = await copies.add("o", CONTENT)
    modified = (await copies.get(key)).headers["last-modified"]
    moment = parsedate_to_datetime(modified)
    before, after = (format_datetime(moment + timedelta(seconds=s), usegmt=True) for s in (-5, 5))
    conditions: list[tuple[dict[str, str], int]] = [
        ({"if_none_match": ETAG}, 304),
        ({"if_none_match": f'"other", W/{ETAG}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"other"'}, 200),
        ({"if_none_match": '"other"', "if_modified_since": after}, 200),
        ({"if_modified_since": modified}, 304),
        ({"if_modified_since": before}, 200),
        ({"if_modified_since": "yesterday"}, 200),
        ({"if_match": ETAG}, 200),
        ({"if_match": f"W/{ETAG}"}, 412),
        ({"if_match": '"other"'}, 412),
        ({"if_match": ETAG, "if_unmodified_since": before}, 200),
        ({"if_unmodified_since": before}, 412),
        ({"if_unmodified_since": modified}, 200),
        ({"range": "bytes=0-1", "if_range": ETAG}, 206),
        ({"range": "bytes=0-1", "if_range": f"W/{ETAG}"}, 200),
        ({"range": "bytes=0-1", "if_range": '"other"'}, 200),
        ({"range": "bytes=0-1", "if_range": modified}, 206),
        ({"range": "bytes=0-1", "if_range": after}, 200),
        ({"range": "bytes=0-1", "if_none_match": ETAG}, 304),
    ]
    for headers, status in conditions:
        answer = await copies.get(key, None, **headers)
        assert answer.status_code == status, headers
        if status == 304:
            assert (answer.content, answer.headers["etag"], "content-length" in answer.headers) == (b"", ETAG, False)


async def test_every_answer_is_for_its_reader_only_and_runs_nothing(copies: Copies) -> None:
    key = await copies.add("o", CONTENT)
    for headers in ({}, {"range": "bytes=0-1"}, {"if_none_match": ETAG}):
        answer = await copies.get(key, None, **headers)
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none';")
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
        assert answer.headers["vary"] == "Authorization"
    assert (await copies.get(1)).headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("file_type", "inline", "shown"),
    [
        ("image/png", True, "image/png"),
        ("IMAGE/PNG; a=b", True, "image/png"),
        ("video/mp4", True, "video/mp4"),
        ("text/plain", True, "text/plain; charset=utf-8"),
        ("text/plain; charset=utf-16", True, "text/plain; charset=utf-8"),
        ("text/html", False, "text/html"),
        ("text/html; charset=utf-8", False, "text/html; charset=utf-8"),
        ("image/svg+xml", False, "image/svg+xml"),
        ("application/pdf", False, "application/pdf"),
        ("application/xhtml+xml", False, "application/xhtml+xml"),
        ("text/javascript", False, "application/octet-stream"),
        ("application/x-javascript", False, "application/octet-stream"),
        ("text/css", False, "application/octet-stream"),
        ("nothing", False, "application/octet-stream"),
        ("image/png\r\nset-cookie: a=b", False, "application/octet-stream"),
        ("text/ä", False, "application/octet-stream"),
    ],
)
async def test_only_what_runs_nothing_is_shown(copies: Copies, file_type: str, inline: bool, shown: str) -> None:
    key = await copies.add("o", CONTENT, file_type=file_type)
    asked = await copies.get(f"{key}?disposition=inline")
    assert asked.headers["content-type"] == shown
    assert asked.headers["content-disposition"].startswith("inline" if inline else "attachment")
    assert "set-cookie" not in asked.headers
    assert (await copies.get(key)).headers["content-disposition"].startswith("attachment")
    signed = await copies.http.get(await copies.url("o", d="INLINE"))
    assert signed.headers["content-disposition"] == asked.headers["content-disposition"]


async def test_disposition_is_one_of_two(copies: Copies) -> None:
    key = await copies.add("o", CONTENT)
    assert code(await copies.get(f"{key}?disposition=form-data")) == (400, "BAD_INPUT")
