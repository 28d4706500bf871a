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
    began: float
    before: int = 0
    now: int = 0


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
        levels = [self._level(name, now) for name, _ in buckets]
        for (_, points), level in zip(buckets, levels, strict=True):
            if level.taken() + amount > points:
                return Taken(False, levels)
        return Taken(True, [self._add(name, now, amount) for name, _ in buckets])

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:  # noqa: ARG002
        return (await self.take([Bucket(key, limit)], amount)).fits

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:  # noqa: ARG002
        return self._level(key, time.monotonic())

    async def clear_sliding_window(self, key: str, expiry: int) -> None:  # noqa: ARG002
        self._windows.pop(key, None)

    def _level(self, name: str, now: float) -> Level:
        windows = self._windows.get(name)
        age = now - windows.began if windows else 2 * MINUTE
        if windows is None or age >= 2 * MINUTE:
            return Level(0, 0.0, 0, 0.0)
        if age >= MINUTE:
            return Level(windows.now, 2 * MINUTE - age, 0, 3 * MINUTE - age)
        return Level(windows.before, MINUTE - age, windows.now, 2 * MINUTE - age)

    def _add(self, name: str, now: float, amount: int) -> Level:
        windows = self._windows.get(name)
        age = now - windows.began if windows else 2 * MINUTE
        if windows is None or age >= 2 * MINUTE:
            windows = self._windows[name] = _Windows(now)
            if len(self._windows) > self._most:
                self._windows.popitem(last=False)
        elif age >= MINUTE:
            windows.began, windows.before, windows.now = windows.began + MINUTE, windows.now, 0
        windows.now += amount
        self._windows.move_to_end(name)
        age = now - windows.began
        return Level(windows.before, MINUTE - age, windows.now, 2 * MINUTE - age)
