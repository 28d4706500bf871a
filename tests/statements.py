"""How many SQL statements an operation takes."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from unittest.mock import patch

from tests.conftest import Caller

T = TypeVar("T")


class AccessLog(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record)


async def statements_of(ask: Callable[[], Awaitable[T]], *, quick: bool = True) -> tuple[T, int]:
    """What a single request gave, and how many SQL statements it took by its line in the log.

    A ``quick`` one need not be confirmed, however busy the machine is.
    """
    logger, log = logging.getLogger("waybill.access"), AccessLog()
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        with patch("graph.context._CONFIRMED_SECONDS", math.inf if quick else 0):
            result = await ask()
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
    [line] = log.lines
    return result, line.__dict__["statements"]


async def count_statements(caller: Caller, query: str, **variables: object) -> tuple[int, Any]:
    """How many statements an operation without errors took, besides the one that authenticates; and its data."""
    data, statements = await statements_of(lambda: caller.execute(query, **variables))
    return statements - 1, data
