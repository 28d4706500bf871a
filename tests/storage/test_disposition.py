import re
from email.message import EmailMessage
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.disposition import Disposition, content_disposition

ATTACHMENT = Disposition.ATTACHMENT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("two words.txt", 'attachment; filename="two words.txt"'),
        (".profile", 'attachment; filename=".profile"'),
        ("naïve.txt", "attachment; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ('say "hi".txt', "attachment; filename=\"say _hi_.txt\"; filename*=UTF-8''say%20%22hi%22.txt"),
        ("100%.txt", "attachment; filename=\"100_.txt\"; filename*=UTF-8''100%25.txt"),
        ("日本.txt", "attachment; filename=\"__.txt\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"),
        ("a'(b)*.txt", 'attachment; filename="a\'(b)*.txt"'),
        ("é'(b)*.txt", "attachment; filename=\"_'(b)*.txt\"; filename*=UTF-8''%C3%A9%27%28b%29%2A.txt"),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ("C:\\temp\\a.txt", 'attachment; filename="a.txt"'),
        ("a\r\nSet-Cookie: b=c", 'attachment; filename="a__Set-Cookie: b=c"'),
        ("a\0b", 'attachment; filename="a_b"'),
        ("exe\u202egnp.exe", 'attachment; filename="exe_gnp.exe"'),
        ("a\ud800b", 'attachment; filename="a_b"'),
        ("", 'attachment; filename="file"'),
        ("..", 'attachment; filename="file"'),
        ("a/", 'attachment; filename="file"'),
    ],
)
def test_name_becomes_a_header(name: str, value: str) -> None:
    assert content_disposition(ATTACHMENT, name) == value


def test_inline_shows_the_file() -> None:
    assert content_disposition(Disposition.INLINE, "a.png") == 'inline; filename="a.png"'


@given(st.text())
def test_any_name_is_one_header_that_is_read_back(name: str) -> None:
    value = content_disposition(ATTACHMENT, name)
    assert re.fullmatch(r"[ -~]+", value)
    assert re.fullmatch(r"attachment; filename=\"[^\"\\%]+\"(; filename\*=UTF-8''[A-Za-z0-9!#$&+.^_`|~%-]+)?", value)
    message = EmailMessage()
    message["Content-Disposition"] = value.replace("; filename=", "; x=") if "filename*" in value else value
    read = message.get_filename()
    assert read is not None
    assert not re.search(r"[/\\\x00-\x1f\u202e]", read)
    if "filename*" in value:
        assert unquote(value.rpartition("''")[2]).strip() == read  # the parser strips


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters="/\\\u200e\u200f"), min_size=1))
def test_ordinary_name_is_kept_whole(name: str) -> None:
    extended = content_disposition(ATTACHMENT, name + ".ö").rpartition("''")[2]
    assert unquote(extended) == name + ".ö"
