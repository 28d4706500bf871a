"""Waiting for a file system, which no event loop can do."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")


class Threads:
    """Of their own: a file system that hangs must not hang whatever else waits for a thread of the process."""

    def __init__(self, most: int) -> None:
        self._executor = ThreadPoolExecutor(most, "copies")

    async def run(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Ends with the function, even when it is cancelled: whoever closes a file then must be alone with it."""
        future = asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            if not future.cancelled():
                future.exception()  # which nobody asks for any more
            raise

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
