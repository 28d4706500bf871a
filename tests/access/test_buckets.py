"""Buckets in memory and in Redis alike, beside limits' own sliding window counter."""

import asyncio
import time
from collections.abc import AsyncIterator
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from access.buckets import MINUTE, Bucket, Level, Memory
from access.redis_buckets import Redis
from tests.redis_server import RedisServer, redis_server

__all__ = ["redis_server"]


@pytest.fixture(params=["memory", "redis"])
async def storage(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield Memory()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    redis = Redis(server.url)
    yield redis
    await redis.close()


def named(name: str, points: int = 10) -> Bucket:
    """A name of this run only, for Redis keeps the others."""
    return Bucket(f"{name}-{time.time_ns()}", points)


async def test_what_fits_is_taken_and_what_does_not_takes_nothing(storage: Any) -> None:
    bucket = named("a")
    assert [(await storage.take([bucket], amount)).fits for amount in (4, 7, 6, 1, 0)] == [
        True,
        False,
        True,
        False,
        True,
    ]
    fits, [level] = await storage.take([bucket], 1)
    assert (fits, level.now, level.left(10)) == (False, 10, 0)


async def test_of_several_all_are_taken_or_none(storage: Any) -> None:
    wide, narrow = named("wide", 100), named("narrow", 5)
    for order in ([wide, narrow], [narrow, wide]):
        fits, levels = await storage.take(order, 6)
        assert (fits, [level.now for level in levels]) == (False, [0, 0])
    fits, levels = await storage.take([wide, narrow], 5)
    assert (fits, [level.now for level in levels]) == (True, [5, 5])
    assert not (await storage.take([wide, narrow], 1)).fits
    assert (await storage.take([wide], 95)).fits


async def test_many_at_once_never_take_more_than_there_is(storage: Any) -> None:
    key, tenant = named("key", 30), named("tenant", 50)
    taken = await asyncio.gather(*(storage.take([key, tenant], 1) for _ in range(100)))
    assert sum(one.fits for one in taken) == 30
    assert (await storage.take([tenant], 20)).fits
    assert not (await storage.take([tenant], 1)).fits


async def test_limits_own_strategy_sees_and_takes_the_same(storage: Any) -> None:
    limiter, item = SlidingWindowCounterRateLimiter(storage), RateLimitItemPerMinute(10)
    bucket = Bucket(item.key_for(str(time.time_ns())), 10)
    name = bucket.name.split("/")[1]
    assert (await storage.take([bucket], 3)).fits
    assert (await limiter.get_window_stats(item, name)).remaining == 7
    assert await limiter.hit(item, name, cost=5)
    assert not await limiter.hit(item, name, cost=3)
    fits, [level] = await storage.take([bucket], 3)
    assert (fits, level.now) == (False, 8)
    await limiter.clear(item, name)
    assert (await storage.take([bucket], 10)).fits


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("access.buckets.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_what_was_taken_comes_back_evenly_in_the_minute_after(clock: Clock) -> None:
    memory, bucket = Memory(), Bucket("a", 120)

    async def left() -> int:
        [level] = (await memory.take([bucket], 0)).levels
        return level.left(120)

    assert (await memory.take([bucket], 120)).fits
    seen = {}
    for seconds in (0, 59, 60, 75, 90, 119, 120, 500):
        clock.now = 1_000 + seconds
        seen[seconds] = await left()
    assert seen == {0: 0, 59: 0, 60: 0, 75: 30, 90: 60, 119: 118, 120: 120, 500: 120}


async def test_the_time_told_is_the_first_at_which_it_fits(clock: Clock) -> None:
    memory, bucket = Memory(), Bucket("a", 100)
    for at, amount in ((0, 40), (30, 60), (61, 0), (80, 20), (100, 30)):
        clock.now = 1_000.0 + at
        fits, [level] = await memory.take([bucket], amount)
        if not fits:
            seconds = level.fits_in(100, amount)
            for later, expected in ((seconds - 1, False), (seconds, True)):
                clock.now = 1_000.0 + at + later
                [then] = (await memory.take([bucket], 0)).levels
                assert (then.taken() + amount <= 100) is expected


@given(st.integers(0, 1_000), st.floats(0, MINUTE), st.integers(0, 1_000), st.integers(1, 1_000))
def test_every_amount_fits_some_time(before: int, seconds: float, now: int, amount: int) -> None:
    level = Level(before, seconds, now, seconds + MINUTE)
    after = level.fits_in(1_000, amount)
    assert 1 <= after <= 2 * MINUTE
    assert level.taken(after) + amount <= 1_000
    assert level.taken(after) <= level.taken(0)
    assert level.taken(ceil(level.full_in())) == 0


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 8)), max_size=20))
def test_memory_forgets_nothing_while_there_is_room(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        memory, left = Memory(most=2), {"a": 20, "b": 20}
        for name, amount in steps:
            fits = (await memory.take([Bucket(name, 20)], amount)).fits
            assert fits == (amount <= left[name])
            left[name] -= amount * fits

    asyncio.run(run())


async def test_memory_is_bounded_and_forgets_what_was_not_used_for_longest() -> None:
    memory = Memory(most=3)
    for name in ("a", "b", "a", "c", "d"):
        await memory.take([Bucket(name, 10)], 5)
    assert list(memory._windows) == ["a", "c", "d"]
    for number in range(1_000):
        await memory.take([Bucket(str(number), 10)], 1)
    assert len(memory._windows) == 3


async def test_redis_forgets_buckets_by_itself(redis_server: RedisServer) -> None:
    redis = Redis(redis_server.url)
    await redis.take([named("forgotten")], 1)
    client = redis._client
    keys = [key async for key in client.scan_iter("waybill:{forgotten*")]
    assert keys
    for key in keys:
        assert 0 < await client.ttl(key) <= 2 * MINUTE
    await redis.close()


async def test_redis_shifts_its_minute_as_memory_does(redis_server: RedisServer, clock: Clock) -> None:
    """The clock of Redis cannot be turned, but what it keeps can be made older."""
    redis, memory, bucket = Redis(redis_server.url), Memory(), named("shifted", 100)
    for storage in (redis, memory):
        assert (await storage.take([bucket], 80)).fits
    await redis._client.pexpire(f"waybill:{{{bucket.name}}}", 45_000)
    clock.now += 75
    for amount in (0, 50, 30, 20):
        [ours], [theirs] = (await memory.take([bucket], amount)).levels, (await redis.take([bucket], amount)).levels
        assert (ours.before, ours.now) == (theirs.before, theirs.now)
        assert abs(ours.before_seconds - theirs.before_seconds) < 1
        assert abs(ours.now_seconds - theirs.now_seconds) < 1
    await redis.close()
