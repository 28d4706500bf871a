"""Single objects that are asked for at once: those that come while one is read are read together, in one statement.

The statement that is under way is never shared, as it may not see what was written since: only the next one is.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from contextvars import copy_context
from typing import TypeAlias

from models import database, reads
from models.pages import Row, Scope
from models.reads import Parts
from models.trace import RequestTrace, current

_MOST = 100  # objects of one statement

_Of: TypeAlias = tuple[object, Scope, Parts]  # the first is the database's client
_Answer: TypeAlias = asyncio.Future[Mapping[str, Row] | None]

_lines: dict[_Of, list[tuple[str, _Answer]]] = {}  # of those who wait while a statement is under way
_tasks: set[asyncio.Task[None]] = set()


async def object_with_id(scope: Scope, object_id: str, parts: Parts) -> Row | None:
    """As ``reads.object_with_id``; not for transactions."""
    key = database.client(), scope, parts
    if (line := _lines.get(key)) is not None:
        answer: _Answer = asyncio.get_running_loop().create_future()
        line.append((object_id, answer))
        if (rows := await answer) is None:  # something went wrong: to read it alone says what
            return await reads.object_with_id(scope, object_id, parts)
        if (trace := current.get()) is not None:
            trace.statements += 1
        return rows.get(object_id)
    _lines[key] = line = []
    try:
        return await reads.object_with_id(scope, object_id, parts)
    finally:
        if line:
            _start(key, line)
        else:
            del _lines[key]


def _start(key: _Of, line: list[tuple[str, _Answer]]) -> None:
    context = copy_context()
    context.run(current.set, RequestTrace("", tenant_id=key[1].tenant_id))  # it is no single request's
    task = asyncio.create_task(_serve(key, line), context=context)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _serve(key: _Of, line: list[tuple[str, _Answer]]) -> None:
    """Until nobody waits."""
    _, scope, parts = key
    served: list[tuple[str, _Answer]] = []
    try:
        while line:
            served, line[:] = line[:_MOST], line[_MOST:]
            rows: Mapping[str, Row] | None = None
            with contextlib.suppress(Exception):
                rows = await reads.objects_with_ids(scope, {object_id for object_id, _ in served}, parts)
            _tell(served, rows)
    finally:
        del _lines[key]
        _tell([*served, *line], None)


def _tell(served: list[tuple[str, _Answer]], rows: Mapping[str, Row] | None) -> None:
    for _, answer in served:
        if not answer.done():
            answer.set_result(rows)
