"""asyncpg's pool, with the connections that were used last at hand."""

import asyncio
from typing import TYPE_CHECKING, Any

import asyncpg

_SECONDS = 1.0

_DEFAULTS = {  # asyncpg.create_pool's, which makes no pools of other classes
    "loop": None,
    "max_queries": 50_000,
    "max_inactive_connection_lifetime": 300.0,
    "record_class": asyncpg.Record,
}


async def _keep_session(connection: asyncpg.Connection) -> None:
    """Replaces asyncpg's session reset, which doubles the time of a small query.

    Right as long as no pooled connection uses SET, LISTEN or session advisory locks; an open transaction is rolled back
    by asyncpg itself before this is called.
    """


class Pool(asyncpg.Pool):
    """Lends a connection that somebody has just given back, and takes it back, without waiting for anything.

    asyncpg starts a task to take one back, so that nothing can break that off, and lends it by some forty calls, which
    together take as long as a small statement. To asyncpg those at hand are lent. It has them back when nobody has
    wanted them for a second, when others wait for one, and when anything has to be done about them.
    """

    if TYPE_CHECKING:
        _generation: int  # connections of an older one are expired
        _loop: asyncio.AbstractEventLoop
        _closing: bool

    def __init__(self, dsn: str, **options: Any) -> None:
        super().__init__(dsn, **_DEFAULTS | options, reset=_keep_session)
        self._at_hand: list[Any] = []
        self._unused = 0  # of those at hand, the first ones, since somebody looked
        self._look: asyncio.TimerHandle | None = None
        self._waiting = 0

    def at_hand(self) -> Any | None:
        """A connection that is open, if one is at hand."""
        while self._at_hand:
            connection = self._at_hand.pop()
            self._unused = min(self._unused, len(self._at_hand))
            real = connection._con
            if real is not None:
                if not real.is_closed():
                    return connection
                real.terminate()  # which gives it back
        return None

    def take_back(self, connection: Any) -> bool:
        """False where something is left to be done about it: ``release`` does that."""
        holder, real = connection._holder, connection._con
        if (
            self._waiting
            or self._closing
            or real is None
            or real.is_closed()
            or real._protocol.is_in_transaction()
            or real._protocol._is_cancelling()
            or real._protocol.queries_count >= holder._max_queries
            or holder._generation != self._generation
            or connection in self._at_hand
        ):
            return False
        self._at_hand.append(connection)
        if self._look is None:
            self._look = self._loop.call_later(_SECONDS, self._give_back_unused)
        return True

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        if not self.take_back(connection):
            await super().release(connection, timeout=timeout)

    def get_idle_size(self) -> int:
        return super().get_idle_size() + len(self._at_hand)

    async def close(self) -> None:
        self._closing = True  # nothing is taken back from now on
        await self._give_back(self._at_hand)
        await super().close()

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's
        if (connection := self.at_hand()) is not None:
            return connection
        self._waiting += 1
        try:
            return await super()._acquire(timeout)  # type: ignore[misc]  # not in the stubs
        finally:
            self._waiting -= 1

    def _give_back_unused(self) -> None:
        unused = self._at_hand[: self._unused]
        del self._at_hand[: self._unused]
        self._unused = len(self._at_hand)
        self._look = self._loop.call_later(_SECONDS, self._give_back_unused) if self._at_hand else None
        if unused:
            self._giving_back = self._loop.create_task(self._give_back(unused))

    async def _give_back(self, connections: list[Any]) -> None:
        while connections:
            await super().release(connections.pop())
