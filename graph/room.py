"""Memory for large requests: decoded, one is some 15 times as large as it was sent."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Room:
    """As many bytes of large bodies are read and worked on at once as two of the largest have, one tenant's half of it.

    The others wait, before anything of them is read.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._most = max_body_bytes
        self._taken: Counter[int] = Counter()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def taken(self, tenant_id: int, size: int) -> AsyncIterator[None]:
        while not self._fits(tenant_id, size):
            await self._freed.wait()
        self._taken[tenant_id] += size
        try:
            yield
        finally:
            self._taken[tenant_id] -= size
            self._taken += Counter()  # drops those that have nothing
            self._freed.set()
            self._freed = asyncio.Event()

    def _fits(self, tenant_id: int, size: int) -> bool:
        return self._taken[tenant_id] + size <= self._most and self._taken.total() + size <= 2 * self._most
