"""Whose turn it is at the database: neither one request nor one tenant may take all connections of a process."""

import asyncio
from weakref import WeakValueDictionary

_OF_A_REQUEST = 3


class Turns:
    """One request's. Whoever has a turn holds a connection, or soon will; whoever waits for one holds nothing."""

    def __init__(self, of_tenant: asyncio.Semaphore) -> None:
        self._of_request = asyncio.Semaphore(_OF_A_REQUEST)
        self._of_tenant = of_tenant

    async def take(self) -> None:
        await self._of_request.acquire()
        try:
            await self._of_tenant.acquire()
        except BaseException:
            self._of_request.release()
            raise

    def give_back(self) -> None:
        self._of_tenant.release()
        self._of_request.release()


class Tenants:
    """Each has half of the connections at most, so that it takes two to keep the others waiting."""

    def __init__(self, connections: int) -> None:
        self._most = max(1, connections // 2)
        self._semaphores: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()

    def turns(self, tenant_id: int) -> Turns:
        """For one request of the tenant."""
        semaphore = self._semaphores.get(tenant_id)
        if semaphore is None:  # it lives as long as one of the tenant's requests
            self._semaphores[tenant_id] = semaphore = asyncio.Semaphore(self._most)
        return Turns(semaphore)
