"""How many SQL statements an operation takes."""

import logging
from typing import Any

from tests.conftest import Caller


class AccessLog(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record)


async def count_statements(caller: Caller, query: str, **variables: object) -> tuple[int, Any]:
    """How many SQL statements an operation took by its line in the log, besides the one that authenticates."""
    logger, log = logging.getLogger("waybill.access"), AccessLog()
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        data = await caller.execute(query, **variables)
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)
    [line] = log.lines
    return line.__dict__["statements"] - 1, data
