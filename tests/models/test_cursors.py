"""A cursor is what we gave, to the letter and for the same list, or it is BadCursor."""

import base64
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.errors import BadCursor
from models.filters import All, Equals, HasPair, InBatch
from models.pages import cursor, digest, position

LIST = digest("objects", All((HasPair("colour", Equals("red")), InBatch("b"))))
keys = st.integers(-(1 << 63), (1 << 63) - 1)
digests = st.binary(min_size=8, max_size=8)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def refused(text: str, of: bytes = LIST) -> None:
    with pytest.raises(BadCursor):
        position(text, of)


@given(keys, digests)
def test_cursor_gives_its_position_back(key: int, of: bytes) -> None:
    text = cursor(key, of)
    assert position(text, of) == key
    assert set(text) <= set(LETTERS)


@given(keys, digests, digests)
def test_cursor_of_another_list_is_refused(key: int, of: bytes, other: bytes) -> None:
    assume(of != other)
    refused(cursor(key, of), other)


@given(keys, st.integers(0, 22), st.sampled_from([*LETTERS, "=", " ", "\n", "+", "/", ".", "é", "\0", "\U0001f600"]))
def test_cursor_with_one_other_character_is_refused_or_names_another_row(key: int, at: int, letter: str) -> None:
    text = cursor(key, LIST)
    changed = text[:at] + letter + text[at + 1 :]
    assume(changed != text)
    try:
        other = position(changed, LIST)
    except BadCursor:
        return
    # Cursors are not signed: within its own list a client may go where it likes.
    assert other != key
    assert cursor(other, LIST) == changed


@given(keys, st.integers(0, 16), st.integers(1, 255))
def test_flipped_bits_outside_of_the_key_are_refused(key: int, at: int, bits: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(cursor(key, LIST) + "="))
    raw[at] ^= bits
    text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    if 1 <= at <= 8:
        assert position(text, LIST) != key
    else:
        refused(text)


@given(keys, st.integers(0, 22), st.text(max_size=3))
def test_truncated_cursor_is_refused(key: int, length: int, rest: str) -> None:
    text = cursor(key, LIST)[:length]
    refused(text)
    assume(len(text + rest) != 23)
    refused(text + rest)


@given(keys, st.one_of(st.sampled_from(["=", "==", " ", "\n", "A", "AAAA", "\0", "ä"]), st.text(min_size=1)))
def test_padded_cursor_is_refused(key: int, more: str) -> None:
    refused(cursor(key, LIST) + more)
    refused(more + cursor(key, LIST))


@given(st.one_of(st.text(), st.text(LETTERS + "=+/", max_size=40), st.text(min_size=23, max_size=23)))
def test_any_text_is_a_cursor_of_this_list_or_refused(text: str) -> None:
    try:
        key = position(text, LIST)
    except BadCursor:
        return
    assert cursor(key, LIST) == text


@given(st.binary(max_size=40))
def test_any_bytes_in_base64_are_refused(raw: bytes) -> None:
    assume(raw[9:] != LIST)
    refused(base64.urlsafe_b64encode(raw).rstrip(b"=").decode())
    refused(base64.b64encode(raw).decode())


@pytest.mark.parametrize("text", ["\ud800", "A" * 22 + "\udfff", "Ａ" * 23, "١" * 23, "", "=" * 23, "A" * 1_000_000])
def test_text_that_no_decoder_likes_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("objects", HasPair("a", None)), ("batches", HasPair("a", None))),
        (("objects", HasPair("a", None)), ("objects", HasPair("b", None))),
        (("objects", HasPair("1", None)), ("objects", HasPair(None, Equals("1")))),
        (("objects", All(())), ("objects", All((All(()),)))),
        (("a", "b"), ("a, b",)),
        (("a", "b"), ("a', 'b",)),
        ((1,), ("1",)),
        ((None,), ("None",)),
    ],
)
def test_lists_that_differ_have_different_digests(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    assert digest(*one) != digest(*other)


def test_equal_lists_have_equal_digests() -> None:
    assert digest("objects", All((HasPair("colour", Equals("red")), InBatch("b")))) == LIST
