"""What is asked at the same time is read together: one statement for all that ask in one turn of the event loop.

The first of a turn is not held up for those who may follow, and who asks while nothing is under way is taken to be the
only one. Those who ask while two statements of the kind are under way wait for the end of one, and are answered by the
next. No statement is shared that was sent before somebody asked, as it may not see what was written until then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from contextvars import copy_context
from typing import Any, TypeAlias, TypeVar

from models import database, reads
from models.pages import Row, Scope
from models.reads import Parts
from models.trace import RequestTrace, current

T = TypeVar("T")
_Answers: TypeAlias = Mapping[Any, Any]
_Future: TypeAlias = "asyncio.Future[_Answers | None]"

_AT_ONCE = 2  # statements of a kind, so that one is read while the other is answered from

_lines: dict[Hashable, "_Line"] = {}  # of this turn of the event loop, or until one of two statements has ended
_tasks: set[asyncio.Task[None]] = set()
_under_way: dict[Hashable, int] = {}  # statements, by kind


class _Line:
    """Those who wait for the next statement of a kind, and what they ask for."""

    def __init__(self, key: Hashable, tenant_id: int, read: Callable[[set[Any]], Awaitable[_Answers]]) -> None:
        self.waiting: list[tuple[Any, _Future]] = []
        self._key = key
        self._tenant_id = tenant_id
        self._read = read
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if not self._is_waited_for():
            return
        _under_way[self._key] = _under_way.get(self._key, 0) + 1
        context = copy_context()
        context.run(current.set, RequestTrace("", tenant_id=self._tenant_id))  # it is no single request's
        self._task = task = asyncio.create_task(self._serve(), context=context)
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    def left(self) -> None:
        """By one of those who wait: with the last one the statement ends."""
        if self._task is not None and not self._is_waited_for():
            self._task.cancel()

    def _is_waited_for(self) -> bool:
        return not all(future.cancelled() for _, future in self.waiting)

    async def _serve(self) -> None:
        answers: _Answers | None = None
        try:
            answers = await self._read({question for question, _ in self.waiting})
        except Exception:  # noqa: BLE001, S110 - each of them asks alone then, which says what is wrong
            pass
        finally:
            for _, future in self.waiting:
                if not future.done():
                    future.set_result(answers)
            _ended(self._key)


async def ask(
    of: Hashable,
    scope: Scope,
    question: Any,
    alone: Callable[[Any], Awaitable[T]],
    together: Callable[[set[Any]], Awaitable[Mapping[Any, T]]],
) -> T | None:
    """What ``alone`` finds for the question; questions ``of`` one kind are also answered ``together``.

    None where that leaves it out. Not for transactions.
    """
    key = database.client(), of, scope
    if (line := _lines.get(key)) is None:
        count = _under_way.get(key, 0)
        if count >= _AT_ONCE or _under_way:
            line = _lines[key] = _Line(key, scope.tenant_id, together)
        if count < _AT_ONCE:
            if line is not None:
                asyncio.get_running_loop().call_soon(_turn_over, key)
            _under_way[key] = count + 1
            try:
                return await alone(question)
            finally:
                _ended(key)
    assert line is not None  # noqa: S101 - for the type checker
    future: _Future = asyncio.get_running_loop().create_future()
    line.waiting.append((question, future))
    try:
        answers = await future
    except asyncio.CancelledError:
        line.left()
        raise
    if answers is None:
        return await alone(question)
    if (trace := current.get()) is not None:
        trace.statements += 1
    return answers.get(question)


def _turn_over(key: Hashable) -> None:
    line = _lines.get(key)
    if line is not None and (not line.waiting or _under_way.get(key, 0) < _AT_ONCE):
        _lines.pop(key)
        if line.waiting:
            line.start()


def _ended(key: Hashable) -> None:
    _under_way[key] -= 1
    if not _under_way[key]:
        del _under_way[key]
    line = _lines.get(key)
    if line is not None and line.waiting:
        _lines.pop(key).start()


async def object_with_id(scope: Scope, object_id: str, parts: Parts) -> Row | None:
    """As ``reads.object_with_id``."""
    return await ask(
        ("object", parts),
        scope,
        object_id,
        lambda one: reads.object_with_id(scope, one, parts),
        lambda several: reads.objects_with_ids(scope, several, parts),
    )
