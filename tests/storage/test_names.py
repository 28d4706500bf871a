"""Whatever a file is called elsewhere, it has a safe name of its own here."""

from hypothesis import given
from hypothesis import strategies as st

from storage.names import component

# Those that are near each other, and near what is dangerous.
PARTS = [*'./\\%~:*?"<>| aA09', "\x00", "é", "\u0301", "\ud800", "\U0001f600", "con", "COM1", "%2E", "x" * 250]
TRICKY = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)
KNOWN = st.sampled_from(["con", "CON.txt", "nul .a", "LPT1", "com0.x"])
NAMES = TRICKY | KNOWN | st.text(st.characters(exclude_categories=()), max_size=300)
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}


@given(NAMES)
def test_name_is_one_visible_component_of_any_file_system(name: str) -> None:
    safe = component(name)
    assert 1 <= len(safe.encode()) <= 255
    assert not set('/\\:*?"<>|\x00\n\x7f') & set(safe)
    assert not safe.startswith(".")
    assert not safe.endswith((".", " "))
    assert safe.partition(".")[0].rstrip(" ").upper() not in RESERVED


@given(NAMES, NAMES)
def test_no_two_names_are_one_file(one: str, other: str) -> None:
    assert (component(one) == component(other)) == (one == other)


@given(st.text("x%é", min_size=250, max_size=260), st.text("yz%", max_size=3))
def test_long_names_with_one_beginning_are_two_files(one: str, end: str) -> None:
    assert component(one) != component(one + "y" + end)


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("photo 1.jpeg", "Ünï.txt", "a..b", "console.log", "com10", "x" * 255):
        assert component(name) == name


def test_what_is_changed_is_readable() -> None:
    given = [".git", "a.", "con.txt", "50%", "a:b", ""]
    assert [component(name) for name in given] == ["%2Egit", "a%2E", "%63on.txt", "50%25", "a%3Ab", "%"]
