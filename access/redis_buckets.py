"""Buckets that several processes share, in Redis."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from limits.aio.storage import RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as Client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from access.buckets import MINUTE, Bucket, Buckets, Level, Memory, Taken

SECONDS = 1.0  # that Redis may take
AGAIN_SECONDS = 5.0
_MOST_CONNECTIONS = 20
_PROBE = Bucket("probe", 1)

_log = logging.getLogger(__name__)

# All buckets or none, in one round trip: limits takes two for each, to take and to look. The clock is Redis' own.
# ARGV: a minute in ms, the amount, the points of each bucket. KEYS: the minute before and the present one of each.
_TAKE = """
local minute, amount, fits, answer = tonumber(ARGV[1]), tonumber(ARGV[2]), 1, {}
local function level(before, now)
    local ttl = redis.call('pttl', now)
    if ttl > 0 and ttl < minute then
        redis.call('rename', now, before)
        redis.call('set', now, 0, 'px', ttl + minute)
    end
    return tonumber(redis.call('get', before)) or 0, math.max(0, redis.call('pttl', before)),
        tonumber(redis.call('get', now)) or 0, math.max(0, redis.call('pttl', now))
end
for i = 1, #KEYS, 2 do
    local before, before_ttl, now = level(KEYS[i], KEYS[i + 1])
    if math.floor(before * before_ttl / minute) + now + amount > tonumber(ARGV[(i + 5) / 2]) then
        fits = 0
    end
end
for i = 1, #KEYS, 2 do
    if fits == 1 and redis.call('exists', KEYS[i + 1]) == 1 then
        redis.call('incrby', KEYS[i + 1], amount)
    elseif fits == 1 then
        redis.call('set', KEYS[i + 1], amount, 'px', 2 * minute)
    end
    for _, number in ipairs({level(KEYS[i], KEYS[i + 1])}) do
        table.insert(answer, number)
    end
end
return {fits, answer}
"""


class Redis(RedisStorage):
    """Under limits' own names, so that its strategies see the same."""

    def __init__(self, url: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MOST_CONNECTIONS,
            timeout=SECONDS,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        options: dict[str, Any] = {"connection_pool": pool}
        super().__init__("redis://", implementation="redispy", key_prefix="waybill", **options)
        self._client: Any = Client(connection_pool=pool)
        self._take = self._client.register_script(_TAKE)

    async def take(self, buckets: Sequence[Bucket], amount: int) -> Taken:
        keys = [key for name, _ in buckets for key in (self._previous_window_key(name), self._current_window_key(name))]
        points = [points for _, points in buckets]
        fits, numbers = await self._take([*map(self.bridge.prefixed_key, keys)], [MINUTE * 1000, amount, *points])
        windows = zip(*[iter(numbers)] * 4, strict=True)
        return Taken(fits == 1, [Level(one, ttl / 1000, other, rest / 1000) for one, ttl, other, rest in windows])

    async def close(self) -> None:
        await self._client.aclose(close_connection_pool=True)


class Shared:
    """Redis' as long as it answers. While it does not, each process has buckets of its own: nobody is kept waiting for
    want of Redis, and nobody is without a limit.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._own = Memory()
        self._asking: asyncio.Task[None] | None = None  # while it does not answer

    async def take(self, buckets: Sequence[Bucket], amount: int) -> Taken:
        if self._asking is None:
            try:
                async with asyncio.timeout(SECONDS):
                    return await self._redis.take(buckets, amount)
            except (RedisError, OSError) as error:  # TimeoutError is an OSError
                self._without(error)
        return await self._own.take(buckets, amount)

    def _without(self, error: Exception) -> None:
        if self._asking is None:  # another request may have found out
            _log.warning(
                "Redis does not answer: each process counts by itself until it does", extra={"cause": repr(error)}
            )
            self._own = Memory()
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            with suppress(RedisError, OSError):
                async with asyncio.timeout(SECONDS):
                    await self._redis.take([_PROBE], 0)  # which writes, as all of them do
                break
        _log.info("Redis answers again")
        self._asking = None

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
        await self._redis.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Buckets]:
    """Of the Redis at this URL, which need not answer yet."""
    shared = Shared(Redis(url))
    try:
        yield shared
    finally:
        await shared.close()
