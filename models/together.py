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

_kinds: dict[Hashable, "_Kind"] = {}  # of which there are statements under way
_tasks: set[asyncio.Task[_Answers | None]] = set()


class _Kind:
    """What is asked with one scope about one sort of thing."""

    def __init__(self, key: Hashable) -> None:
        self.under_way = 0  # statements
        self.line: _Line | None = None  # until the turn of the event loop is over, or one of two statements has ended
        self._key = key

    def turn_over(self) -> None:
        line = self.line
        if line is not None and (not line.waiting or self.under_way < _AT_ONCE):
            self.line = None
            if line.waiting:
                line.start()
            self._forget()

    def ended(self) -> None:
        self.under_way -= 1
        line = self.line
        if line is not None and line.waiting:
            self.line = None
            line.start()
        self._forget()

    def _forget(self) -> None:
        if not self.under_way and self.line is None and _kinds.get(self._key) is self:
            del _kinds[self._key]


class _Line:
    """Those who wait for the next statement of a kind, and what they ask for."""

    def __init__(self, kind: _Kind, tenant_id: int, read: Callable[[set[Any]], Awaitable[_Answers]]) -> None:
        self.waiting: list[tuple[Any, _Future]] = []
        self._kind = kind
        self._tenant_id = tenant_id
        self._read = read
        self._task: asyncio.Task[_Answers | None] | None = None

    def start(self) -> None:
        if not self._is_waited_for():
            return
        self._kind.under_way += 1
        context = copy_context()
        context.run(current.set, RequestTrace("", tenant_id=self._tenant_id))  # it is no single request's
        self._task = task = asyncio.create_task(self._answers(), context=context)
        _tasks.add(task)
        task.add_done_callback(self._answer)

    def left(self) -> None:
        """By one of those who wait: with the last one the statement ends."""
        if self._task is not None and not self._is_waited_for():
            self._task.cancel()

    def _is_waited_for(self) -> bool:
        return not all(future.cancelled() for _, future in self.waiting)

    async def _answers(self) -> _Answers | None:
        try:
            return await self._read({question for question, _ in self.waiting})
        except Exception:  # noqa: BLE001 - each of them asks alone then, which says what is wrong
            return None

    def _answer(self, task: "asyncio.Task[_Answers | None]") -> None:
        """Even where it was cancelled before it began."""
        _tasks.discard(task)
        answers = None if task.cancelled() else task.result()
        for _, future in self.waiting:
            if not future.done():
                future.set_result(answers)
        self._kind.ended()


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
    kind = _kinds.get(key)
    line = None if kind is None else kind.line
    if line is None:
        is_alone = not _kinds
        if kind is None:
            kind = _kinds[key] = _Kind(key)
        if not is_alone:
            line = kind.line = _Line(kind, scope.tenant_id, together)
        if kind.under_way < _AT_ONCE:
            if line is not None:
                asyncio.get_running_loop().call_soon(kind.turn_over)
            kind.under_way += 1
            try:
                return await alone(question)
            finally:
                kind.ended()
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


async def object_with_id(scope: Scope, object_id: str, parts: Parts) -> Row | None:
    """As ``reads.object_with_id``."""
    return await ask(
        ("object", parts),
        scope,
        object_id,
        lambda one: reads.object_with_id(scope, one, parts),
        lambda several: reads.objects_with_ids(scope, several, parts),
    )
