"""Buckets that fill up again within a minute or two, and those of one process.

Kept as the sliding window counter of the `limits` library keeps them: what was taken in the present minute, which
begins with the bucket's first use, and in the one before, which fades. Two numbers, however much and often is taken.
"""

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple, Protocol

from limits.aio.storage import MemoryStorage

MINUTE = 60


class Bucket(NamedTuple):
    name: str
    points: int  # when it is full


class Level(NamedTuple):
    """Of a bucket: what limits calls a sliding window."""

    before: int  # taken in the minute before
    before_seconds: float  # until that has faded
    now: int  # taken in the present minute
    now_seconds: float  # until that will have faded

    def left(self, points: int) -> int:
        return max(0, points - self.taken())

    def full_in(self) -> float:
        """Seconds until everything is back."""
        return self.now_seconds if self.now > 0 else self.before_seconds if self.before > 0 else 0.0

    def fits_in(self, points: int, amount: int) -> int:
        """Whole seconds until so much is back, if nobody takes anything meanwhile; at least 1."""
        latest = max(1, ceil(self.full_in()))
        return next((after for after in range(1, latest) if self.taken(after) + amount <= points), latest)

    def taken(self, after: int = 0) -> int:
        """In so many seconds."""
        if after < self.now_seconds - MINUTE:
            return floor(self.before * max(0.0, self.before_seconds - after) / MINUTE) + self.now
        return floor(self.now * max(0.0, self.now_seconds - after) / MINUTE)


class Taken(NamedTuple):
    fits: bool  # otherwise nothing was taken of any
    levels: list[Level]  # in the order of the buckets, afterwards


class Buckets(Protocol):
    async def take(self, buckets: Sequence[Bucket], amount: int) -> Taken:
        """Take so much of each, or nothing of any."""


@dataclass(slots=True)
class _Windows:
    began: float  # the present minute
    before: int = 0
    now: int = 0

    def taken(self, now: float) -> int:
        return floor(self.before * (self.began + MINUTE - now) / MINUTE) + self.now

    def level(self, now: float) -> Level:
        left = self.began + MINUTE - now
        return Level(self.before, left, self.now, left + MINUTE)


class Memory(MemoryStorage):
    """Of one process. Where there are too many, the bucket least recently used is forgotten.

    limits' own looks at everything it has whenever anything is taken, which is 1.7 ms where there are 20,000 buckets.
    """

    def __init__(self, most: int = 100_000) -> None:
        super().__init__()
        self._most = most
        self._windows: OrderedDict[str, _Windows] = OrderedDict()

    async def take(self, buckets: Sequence[Bucket], amount: int) -> Taken:
        now = time.monotonic()
        found = [self._present(name, now) for name, _ in buckets]
        fits = True
        for (_, points), windows in zip(buckets, found, strict=True):
            fits = fits and windows.taken(now) + amount <= points
        if fits and amount:
            for (name, _), windows in zip(buckets, found, strict=True):
                windows.now += amount
                self._keep(name, windows)
        return Taken(fits, [windows.level(now) for windows in found])

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:  # noqa: ARG002
        return (await self.take([Bucket(key, limit)], amount)).fits

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:  # noqa: ARG002
        now = time.monotonic()
        return self._present(key, now).level(now)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002
        self._windows.pop(key, None)

    def _present(self, name: str, now: float) -> _Windows:
        """Where nothing was taken within two minutes, new ones, that are not kept yet."""
        windows = self._windows.get(name)
        if windows is None or (age := now - windows.began) >= 2 * MINUTE:
            return _Windows(now)
        if age >= MINUTE:
            windows.began, windows.before, windows.now = windows.began + MINUTE, windows.now, 0
        return windows

    def _keep(self, name: str, windows: _Windows) -> None:
        self._windows[name] = windows
        self._windows.move_to_end(name)
        if len(self._windows) > self._most:
            self._windows.popitem(last=False)
