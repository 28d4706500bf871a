"""URLs to read that somebody was given are his for a while: he who asks again is given the same ones.

They are signed as of the beginning of a window, in which they are the same in every process, so that browsers find in
their caches what they have read by them. Remembering them spares signing them again, and writing down again that they
were given out.
"""

import time
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from storage.client import Storage
from storage.disposition import Disposition, content_disposition
from storage.signing import Credentials, Reading

MOST = 20_000  # URLs of some 700 bytes
_LONGEST_SECONDS = 60
_A_LIFETIME = 10  # windows, so that nine tenths of it are left at least


class Window(NamedTuple):
    """When URLs are the same, as ``time.time`` says it: they work for ``seconds`` after it ``began``."""

    began: int
    end: int
    seconds: int

    @classmethod
    def of(cls, now: datetime, seconds: int) -> "Window":
        length = min(max(seconds // _A_LIFETIME, 1), _LONGEST_SECONDS)
        began = int(now.timestamp()) // length * length
        return cls(began, began + length, seconds)


class Given:
    """URLs to read that somebody is given within a window, for a browser to show or to save.

    ``urls`` are those that were written down, by whatever each file is known by; ``until`` all of them work.
    """

    __slots__ = ("_disposition", "_readings", "_storage", "credentials", "end", "until", "urls", "whose", "window")

    def __init__(
        self, storage: Storage, credentials: Credentials, whose: Hashable, disposition: Disposition, window: Window
    ) -> None:
        self.credentials = credentials
        self.whose = whose, disposition.value, window.seconds
        self.window = window
        self.end = window.end
        self.until = datetime.fromtimestamp(window.began, UTC) + timedelta(seconds=window.seconds)
        self.urls: dict[int, str] = {}
        self._storage = storage
        self._disposition = disposition
        self._readings: dict[str, Reading] = {}  # by bucket

    def sign(self, bucket: str, key: str, name: str, content_type: str) -> str:
        """One of a file that has to be written down before anybody sees it."""
        reading = self._readings.get(bucket)
        if reading is None:
            began, _, seconds = self.window
            reading = self._readings[bucket] = Reading(
                self.credentials,
                self._storage.endpoint(bucket),
                now=datetime.fromtimestamp(began, UTC),
                expires_in=seconds,
            )
        return reading.url(key, content_disposition(self._disposition, name), content_type)


class Memory:
    """Of what was given to whom: so many URLs at most, among which those of windows that are over give way."""

    def __init__(self) -> None:
        self._given: dict[Hashable, Given] = {}
        self._count = 0
        self._full_until = 0.0

    def __len__(self) -> int:
        return self._count

    def find(self, wanted: Given) -> Given:
        """The same as it was kept, if it was: of the same person, window and credentials."""
        known = self._given.get(wanted.whose)
        if known is None or known.window != wanted.window or known.credentials is not wanted.credentials:
            return wanted
        return known

    def keep(self, given: Given, urls: Mapping[int, str]) -> None:
        """Once it can no longer be undone that they were written down."""
        if self._count + len(urls) > MOST and not self._made_room(len(urls)):
            return
        known = self.find(given)
        if known is given and (former := self._given.get(given.whose)) is not given:
            self._count -= len(former.urls) if former else 0
            self._given[given.whose] = given
        self._count -= len(known.urls)
        known.urls.update(urls)
        self._count += len(known.urls)

    def _made_room(self, more: int) -> bool:
        """By forgetting windows that are over, which need not be looked for before the next one is."""
        now = time.time()
        if now < self._full_until:
            return False
        for given in [one for one in self._given.values() if one.end <= now]:
            del self._given[given.whose]
            self._count -= len(given.urls)
        self._full_until = min((one.end for one in self._given.values()), default=0.0)
        return self._count + more <= MOST
