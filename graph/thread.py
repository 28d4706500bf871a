"""The one thread for work that would hold up the event loop.

One, because such work is Python's and needs the GIL: more threads would not finish sooner, but each would take its turn
from the event loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

_thread = ThreadPoolExecutor(1, "graph")


async def in_thread(function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Waits for its turn. When cancelled meanwhile, the function is not called."""
    return await asyncio.get_running_loop().run_in_executor(_thread, function, *arguments)
