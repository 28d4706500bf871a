"""Whose turn it is at the database: neither one request nor one tenant may take all connections of a process."""

import asyncio
from weakref import WeakValueDictionary

_OF_A_REQUEST = 3


class _Gate(asyncio.Semaphore):
    def entered_at_once(self) -> bool:
        """Whether that was possible without waiting for anybody."""
        if self._value <= 0 or self._waiters:
            return False
        self._value -= 1
        return True


class Turns(_Gate):
    """One request's. Whoever has a turn holds a connection, or soon will; whoever waits for one holds nothing."""

    def __init__(self, of_tenant: _Gate) -> None:
        super().__init__(_OF_A_REQUEST)
        self._of_tenant = of_tenant

    def taken_at_once(self) -> bool:
        """Whether there was one without waiting."""
        if not self.entered_at_once():
            return False
        if self._of_tenant.entered_at_once():
            return True
        self.release()
        return False

    async def take(self) -> None:
        await self.acquire()
        try:
            await self._of_tenant.acquire()
        except BaseException:
            self.release()
            raise

    def give_back(self) -> None:
        self._of_tenant.release()
        self.release()


class Tenants:
    """Each has half of the connections at most, so that it takes two to keep the others waiting."""

    def __init__(self, connections: int) -> None:
        self._most = max(1, connections // 2)
        self._gates: WeakValueDictionary[int, _Gate] = WeakValueDictionary()

    def turns(self, tenant_id: int) -> Turns:
        """For one request of the tenant."""
        gate = self._gates.get(tenant_id)
        if gate is None:  # it lives as long as one of the tenant's requests
            self._gates[tenant_id] = gate = _Gate(self._most)
        return Turns(gate)
