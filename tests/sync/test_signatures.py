"""Whose signature is right, and that nothing tells of anybody else's."""

import time
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from access import signatures
from access.boxes import Boxes
from access.signatures import is_signed, sign
from tests.statements import statements_of
from tests.sync.conftest import NewSender, Sender, notice

BODY = orjson.dumps(notice())
NAMES = ["unknown", "UPPER", "two.dots", "..", "%00", "a" * 100, "\N{SNOWMAN}"]


def altered(text: str) -> str:
    return ("1" if text[0] == "0" else "0") + text[1:]


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda right: right.upper(),
        altered,
        lambda right: right[:-1],
        lambda right: right + "0",
        lambda right: f"{right} ",
        lambda right: f"\t{right}",
        lambda right: f"{right[:32]} {right[32:]}",
        lambda right: f"Bearer {right}",
        lambda right: f"sha256={right}",
        lambda right: f"{right},{right}",
        lambda _: "\N{FULLWIDTH DIGIT ONE}" * 64,
    ],
)
async def test_other_signatures_are_refused(sender: Sender, change: Any) -> None:
    given_ = change(sign(sender.secret, BODY)).encode()
    answer = await sender.post(BODY, {**sender.signed(BODY), "Authorization": given_})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "HMAC-SHA256"
    assert await sender.rows() == []


async def test_signature_is_needed(sender: Sender) -> None:
    answer = await sender.post(BODY, {"Content-Type": "application/json"})
    assert answer.status_code == 401
    assert "64 hexadecimal digits" in answer.json()["detail"]


async def test_body_changed_by_one_byte_is_refused(sender: Sender) -> None:
    headers = sender.signed(BODY)
    for place in (0, len(BODY) // 2, len(BODY) - 1):
        changed = BODY[:place] + bytes([BODY[place] ^ 1]) + BODY[place + 1 :]
        assert (await sender.post(changed, headers)).status_code == 401
    assert (await sender.post(BODY + b" ", headers)).status_code == 401
    assert await sender.rows() == []


async def test_signature_of_another_source_is_refused(sender: Sender, new_sender: NewSender) -> None:
    for other in (await new_sender(), await new_sender(sender.tenant)):
        assert (await sender.post(BODY, other.signed(BODY))).status_code == 401
    assert await sender.rows() == []


async def test_source_that_is_not_there_is_as_one_whose_signature_is_wrong(
    sender: Sender, new_sender: NewSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte, the statement and the cryptography: whether it was used before or not."""
    opened, original = [0], Boxes.open

    def open_(boxes: Boxes, sealed: bytes, whose: str) -> bytes:
        opened[0] += 1
        return original(boxes, sealed, whose)

    monkeypatch.setattr(Boxes, "open", open_)
    await sender.send()
    fresh = await new_sender()
    wrong = {**sender.signed(BODY), "Authorization": "0" * 64, "X-Request-Id": "the-same"}
    asked = [sender.path, fresh.path, f"/sync/{sender.tenant.slug}.unknown/", "/sync/unknown.unknown/"]
    answers = [
        await statements_of(lambda path=path: sender.http.post(path, content=BODY, headers=wrong))  # type: ignore[misc]
        for path in asked
    ]
    seen = {(answer.status_code, answer.content, str(answer.headers), count) for answer, count in answers}
    assert len(seen) == 1
    assert opened == [1 + len(asked)]  # one for what was sent, and for the lookup of each
    [(status, _, _, statements)] = seen
    assert (status, statements) == (401, 1)


@pytest.mark.parametrize("name", NAMES)
async def test_nothing_is_a_source_by_a_strange_name(sender: Sender, name: str) -> None:
    answer = await sender.http.post(f"/sync/{name}/", content=BODY, headers=sender.signed(BODY))
    assert answer.status_code in (401, 404)  # "..", which clients resolve


def signed_at(sender: Sender, moment: int) -> dict[str, str]:
    return sender.signed(BODY) | {
        "Authorization": sign(sender.secret, BODY, moment),
        "X-Waybill-Timestamp": str(moment),
    }


@pytest.mark.parametrize(("age", "status"), [(0, 201), (290, 201), (-290, 201), (310, 401), (-310, 401)])
async def test_time_that_is_signed_is_good_for_five_minutes(sender: Sender, age: int, status: int) -> None:
    answer = await sender.post(BODY, signed_at(sender, int(time.time()) - age))
    assert answer.status_code == status
    if status == 401:
        assert "5 minutes from our time" in answer.json()["detail"]


@pytest.mark.parametrize("changed", ["0", "", "-1", "+{}", "0{}", "{}.5", " {}", "1e9", "now", "{}0", None])
async def test_time_that_was_not_signed_so_is_refused(sender: Sender, changed: str | None) -> None:
    moment = int(time.time())
    headers = signed_at(sender, moment)
    headers["X-Waybill-Timestamp"] = (changed or "").format(moment)
    if changed is None:
        del headers["X-Waybill-Timestamp"]
    assert (await sender.post(BODY, headers)).status_code == 401


async def test_time_cannot_be_added_to_a_signature_without(sender: Sender) -> None:
    headers = sender.signed(BODY) | {"X-Waybill-Timestamp": str(int(time.time()))}
    assert (await sender.post(BODY, headers)).status_code == 401


async def test_what_was_signed_with_a_time_is_no_notice_without(sender: Sender) -> None:
    moment = int(time.time())
    body = f"{moment}.".encode() + BODY
    answer = await sender.post(body, {**sender.signed(BODY), "Authorization": sign(sender.secret, BODY, moment)})
    assert answer.status_code == 400
    assert await sender.rows() == []


SECRETS = st.binary(min_size=1, max_size=100)
TIMES = st.none() | st.integers(1, 10**12 - 1)


@given(SECRETS, st.binary(), TIMES)
def test_what_is_signed_is_found_signed_by_any_good_secret(secret: bytes, body: bytes, moment: int | None) -> None:
    shown = None if moment is None else str(moment)
    signature = sign(secret, body, moment)
    assert is_signed([secret], body, signature, shown)
    assert is_signed([b"other", secret], body, signature, shown)
    assert not is_signed([secret + b"x"], body, signature, shown)
    assert not is_signed([], body, signature, shown)


@given(SECRETS, st.binary(min_size=1), TIMES, st.data())
def test_any_changed_byte_is_found(secret: bytes, body: bytes, moment: int | None, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != body[place]))
    changed = body[:place] + bytes([other]) + body[place + 1 :]
    assert not is_signed([secret], changed, sign(secret, body, moment), None if moment is None else str(moment))


@given(st.text())
def test_any_text_is_no_signature_and_no_fault(text: str) -> None:
    assert not is_signed([b"secret"], b"body", text, None)
    assert not is_signed([b"secret"], b"body", "0" * 64, text)


async def test_named_source_counts_for_its_senders_only(sender: Sender, new_sender: NewSender) -> None:
    other = await new_sender()
    for headers in ({}, other.signed(), {"Authorization": sign(sender.secret, b"x")}):
        answer: httpx.Response = await sender.http.get(sender.path, headers=headers)
        assert answer.status_code == 401
    assert await sender.counts() == {"synced_objects_count": 0, "queued_objects_count": 0}
    moment = int(time.time()) - signatures.WINDOW_SECONDS - 10
    stale = {"Authorization": sign(sender.secret, b"", moment), "X-Waybill-Timestamp": str(moment)}
    assert (await sender.http.get(sender.path, headers=stale)).status_code == 401
