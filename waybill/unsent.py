"""What clients have not taken of their answers."""

import asyncio
import logging
from collections import OrderedDict

TAKE_SECONDS = 30  # for something of an answer
MOST_BYTES = 256 * 1024**2  # of all connections of the process

_access = logging.getLogger("waybill.access")


class Unsent:
    """Closes connections whose client takes nothing for a while, and those that wait longest where it is too much.

    An answer may have megabytes and cost little, so that clients that ask and do not read would fill the memory.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[asyncio.Transport, tuple[int, asyncio.TimerHandle]] = OrderedDict()
        self._bytes = 0

    def began(self, transport: asyncio.Transport) -> None:
        """More is left than the system takes."""
        self._wait(transport, transport.get_write_buffer_size())
        while self._bytes > MOST_BYTES and len(self._waiting) > 1:
            self._abort(next(iter(self._waiting)), f"{MOST_BYTES:,} bytes of answers are waiting for their clients")

    def ended(self, transport: asyncio.Transport) -> None:
        """Little is left, or nobody who could take it."""
        if (waiting := self._waiting.pop(transport, None)) is not None:
            size, timer = waiting
            timer.cancel()
            self._bytes -= size

    def _wait(self, transport: asyncio.Transport, size: int) -> None:
        timer = asyncio.get_running_loop().call_later(TAKE_SECONDS, self._look, transport)
        self._waiting[transport] = size, timer
        self._bytes += size

    def _look(self, transport: asyncio.Transport) -> None:
        before, _ = self._waiting[transport]
        size = transport.get_write_buffer_size()
        if size >= before:
            self._abort(transport, f"nothing of an answer was taken for {TAKE_SECONDS} seconds")
        else:
            self.ended(transport)
            self._wait(transport, size)

    def _abort(self, transport: asyncio.Transport, why: str) -> None:
        self.ended(transport)
        _access.warning("a connection was closed: %s", why)
        transport.abort()
