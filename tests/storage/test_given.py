"""URLs to read are the same for a while, never for longer than they say, and so many of them are remembered."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given as for_any
from hypothesis import strategies as st

from storage import given as module
from storage.client import Config, Storage, connected
from storage.disposition import Disposition
from storage.given import Given, Memory, Window
from storage.signing import MAX_SECONDS, Credentials
from storage.urls import signing

CREDENTIALS = Credentials("first", "secret")
CONFIG = Config(buckets=["files"], region="eu-central-1", credentials=CREDENTIALS)
NOW = datetime(2026, 11, 24, 12, 0, 29, tzinfo=UTC)
FILE = "files", "key", "a", "a/b"


@for_any(st.floats(1.7e9, 4e9), st.integers(1, MAX_SECONDS))
def test_window_leaves_nine_tenths_of_a_lifetime_and_never_more_than_all(timestamp: float, seconds: int) -> None:
    now = datetime.fromtimestamp(timestamp, UTC)
    began, end, _ = Window.of(now, seconds)
    assert began <= now.timestamp() < end
    assert 1 <= end - began <= max(1, min(seconds / 10, 60))
    assert Window.of(datetime.fromtimestamp(began, UTC), seconds) == Window.of(now, seconds)
    assert Window.of(datetime.fromtimestamp(end, UTC), seconds) == (end, end + end - began, seconds)


async def test_url_is_the_same_within_a_window_and_says_until_when_it_works() -> None:
    async with connected(CONFIG) as storage, signing(storage) as urls:
        signed = []
        for second in (0, 29, 30):
            now = NOW.replace(second=second)
            given = urls.given("somebody", Disposition.INLINE, now=now, seconds=300)
            signed.append(given.sign(*FILE))
            query = parse_qs(urlsplit(signed[-1]).query)
            began = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            assert given.until == began + timedelta(seconds=int(query["X-Amz-Expires"][0]))
            assert given.until <= now + timedelta(seconds=300)
    assert signed[0] == signed[1] != signed[2]


async def test_nothing_is_given_again_to_anybody_else_for_anything_else_or_later() -> None:
    async with connected(CONFIG) as storage, signing(storage) as urls:

        def known(whose: str, disposition: Disposition, now: datetime, seconds: int) -> dict[int, str]:
            return urls.given(whose, disposition, now=now, seconds=seconds).urls

        urls.keep(urls.given("somebody", Disposition.INLINE, now=NOW, seconds=300), {1: "url"})
        assert known("somebody", Disposition.INLINE, NOW.replace(second=1), 300) == {1: "url"}
        assert known("another", Disposition.INLINE, NOW, 300) == {}
        assert known("somebody", Disposition.ATTACHMENT, NOW, 300) == {}
        assert known("somebody", Disposition.INLINE, NOW, 301) == {}
        assert known("somebody", Disposition.INLINE, NOW + timedelta(seconds=1), 300) == {}
        assert known("somebody", Disposition.INLINE, NOW - timedelta(seconds=30), 300) == {}


async def test_urls_of_former_credentials_are_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def rotated(_: Storage) -> Credentials:
        return Credentials("second", "other", "token")

    async with connected(CONFIG) as storage, signing(storage) as urls:
        urls.keep(urls.given("somebody", Disposition.INLINE, now=NOW, seconds=300), {1: "url"})
        await urls.renew()
        assert urls.given("somebody", Disposition.INLINE, now=NOW, seconds=300).urls == {1: "url"}
        monkeypatch.setattr(Storage, "credentials", rotated)
        await urls.renew()
        given = urls.given("somebody", Disposition.INLINE, now=NOW, seconds=300)
        assert given.urls == {}
        assert "second" in given.sign(*FILE)


async def test_so_many_urls_are_remembered_and_those_that_are_over_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = NOW.timestamp()
    monkeypatch.setattr(module, "MOST", 100)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock))
    memory = Memory()

    def ask(storage: Storage, whose: int) -> int:
        """How many of the caller's ten URLs were known, which are kept then."""
        window = Window.of(datetime.fromtimestamp(clock, UTC), 300)
        given = memory.find(Given(storage, CREDENTIALS, whose, Disposition.INLINE, window))
        known = len(given.urls)
        memory.keep(given, dict.fromkeys(range(10), "url"))
        assert len(memory) == sum(len(one.urls) for one in memory._given.values()) <= 100
        return known

    async with connected(CONFIG) as storage:
        for whose in range(20):
            assert ask(storage, whose) == 0
        assert [ask(storage, whose) for whose in range(20)] == [10] * 10 + [0] * 10
        clock += 30
        assert [ask(storage, whose) for whose in range(20, 40)] == [0] * 20
        assert [ask(storage, whose) for whose in range(20, 40)] == [10] * 10 + [0] * 10
        clock += 30
        for _ in range(3):
            ask(storage, 25)  # replaces his former ones
        assert ask(storage, 25) == 10
