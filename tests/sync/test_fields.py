"""What may be in a notice: everything that is wrong is said of each field, and nothing else is read."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.notice import FIELDS, BadNotice, read
from tests.sync.conftest import Intake, Sender, by, notice

GOOD = orjson.dumps(notice())
MISSING = object()


async def errors(sender: Sender, body: Any) -> dict[str, str]:
    answer = await sender.send(body)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "The notice has fields that are not acceptable."
    assert await sender.rows() == []
    return {one["field"]: one["message"] for one in answer.json()["errors"]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (GOOD + b"}", "not valid JSON"),
        (GOOD[:-1] + b',"size":NaN}', "not valid JSON"),
        (GOOD[:-1] + b',"size":Infinity}', "not valid JSON"),
        (GOOD[:-1] + b",}", "not valid JSON"),
        (b"\xef\xbb\xbf" + GOOD, "not valid JSON"),
        (GOOD.decode().encode("utf-16"), "not valid JSON"),
        (GOOD.replace(b"batch", b"b\xffatch"), "not valid JSON"),
        (GOOD.replace(b"batch", b"\\ud800"), "not valid JSON"),
        (GOOD.replace(b"batch", b"a\0b"), "not valid JSON"),
        (b"[" * 8000 + b"]" * 8000, "not valid JSON"),
        (b'{"oeid":' * 1500 + b"1" + b"}" * 1500, "not valid JSON"),
        (GOOD[:-1] + b',"x":' + b"[" * 1000 + b"]" * 1000 + b"}", "nested too deeply"),
        (b"null", "not an object"),
        (b'"text"', "not an object"),
        (b"[" + GOOD + b"]", "not an object"),
    ],
)
async def test_malformed_body_is_said_to_be_so(sender: Sender, body: bytes, says: str) -> None:
    answer = await sender.send(body)
    assert answer.status_code == 400
    assert set(answer.json()) == {"detail"}
    assert says in answer.json()["detail"]
    assert await sender.rows() == []


@pytest.mark.parametrize("value", [MISSING, None, 1, True, [], {}, ["a"]])
@pytest.mark.parametrize("name", FIELDS)
async def test_every_field_must_be_a_string(sender: Sender, name: str, value: object) -> None:
    body = {key: one for key, one in notice(**{name: value}).items() if one is not MISSING}
    assert await errors(sender, body) == {name: "is missing" if value is MISSING else "must be a string"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must not be empty"),
        (".", 'must not be "."'),
        ("..", 'must not be ".."'),
        ("../../etc/passwd", 'must not contain "/"'),
        ("/etc/passwd", 'must not contain "/"'),
        ("..\\..\\boot.ini", 'must not contain "\\"'),
        ("C:\\x", 'must not contain "\\"'),
        ("a\0.jpg", "must not contain U+0000"),
        ("a\r\nb", "must not contain U+000D"),
        ("a\x7f", "must not contain U+007F"),
        ("a\x9bb", "must not contain U+009B"),
        ("x" * 256, "has 256 bytes in UTF-8; at most 255 are allowed"),
        ("\N{EURO SIGN}" * 86, "has 258 bytes in UTF-8; at most 255 are allowed"),
    ],
)
async def test_path_tricks_are_refused_in_every_name(sender: Sender, text: str, says: str) -> None:
    given_ = notice(oeid=text, ref_id=text, file_name=text)
    assert await errors(sender, given_) == dict.fromkeys(("oeid", "ref_id", "file_name"), says)


@pytest.mark.parametrize("text", ["", "jpg", "image/", "image/jpeg\r\nx: y", "a b/c", "a/b/c", "a/" + "b" * 254])
async def test_type_must_be_a_media_type(sender: Sender, text: str) -> None:
    assert list(await errors(sender, notice(file_type=text))) == ["file_type"]


@pytest.mark.parametrize(
    "name",
    ["...", ".htaccess", "CON", "nul.txt", "a b ", "a:b*?", "%2e%2e%2f", "\N{EURO SIGN}", "\u202egpj.exe", "x" * 255],
)
async def test_odd_names_are_kept_as_they_are(sender: Sender, name: str) -> None:
    assert (await sender.send(notice(oeid=name, ref_id=name, file_name=name))).status_code == 201
    [row] = await sender.rows()
    assert (row["batch_id"], row["object_id"], row["file_name"]) == (name, name, name)


@pytest.mark.parametrize("again", [b'"oeid":"batch"', b'"oe\\u0069d":"other"', b'"oeid":[]'])
@pytest.mark.parametrize("first", [True, False])
async def test_name_that_occurs_twice_is_refused(sender: Sender, again: bytes, first: bool) -> None:
    body = b"{" + again + b"," + GOOD[1:] if first else GOOD[:-1] + b"," + again + b"}"
    assert (await errors(sender, body))["oeid"] == "occurs more than once"


async def test_what_is_no_field_is_refused(sender: Sender) -> None:
    assert await errors(sender, notice(size=1, **{"x" * 100: 2})) == {
        "size": "is no field of a notice",
        "x" * 64 + "…": "is no field of a notice",
    }


async def test_all_that_is_wrong_is_said_at_once(sender: Sender) -> None:
    body = {"oeid": "", "ref_id": 1, "file_type": "x", "more": None}
    assert set(await errors(sender, body)) == {"oeid", "ref_id", "file_name", "file_type", "more"}
    assert len(await errors(sender, {f"f{number}": 1 for number in range(500)})) == 20


async def test_ids_are_no_longer_than_ids_may_be(sender: Sender, intake: Intake) -> None:
    async with by(sender, intake(max_id_characters=5)) as limited:
        found = await errors(limited, notice(oeid="123456", ref_id="1234567", file_name="12345678"))
    assert found == {
        "oeid": "has 6 characters; at most 5 are allowed",
        "ref_id": "has 7 characters; at most 5 are allowed",
    }


def accepted(body: bytes) -> bool:
    try:
        read(body, bytes(32), max_id_characters=256)
    except BadNotice:
        return False
    return True


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1).filter(
    lambda name: name not in (".", "..") and len(name.encode()) <= 255
)


@given(NAMES, NAMES, NAMES)
def test_any_other_name_is_read_as_it_is(oeid: str, ref_id: str, file_name: str) -> None:
    body = orjson.dumps({"oeid": oeid, "ref_id": ref_id, "file_name": file_name, "file_type": "a/b"})
    assert read(body, bytes(32), max_id_characters=256) == (oeid, ref_id, file_name, "a/b", bytes(32))


@given(st.sampled_from(["/", "\\", "\0", "\n", "\x80"]), NAMES, NAMES, st.sampled_from(["oeid", "ref_id", "file_name"]))
def test_no_name_has_what_separates_or_controls(what: str, before: str, after: str, field: str) -> None:
    assert not accepted(orjson.dumps(notice(**{field: before + what + after})))


@given(st.binary())
def test_no_bytes_are_a_fault(body: bytes) -> None:
    assert not accepted(body)
