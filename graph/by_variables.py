"""What an operation's variables come to, remembered: clients send the same ones again and again."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import orjson

_MOST = 32  # sets of variables of one operation
_LONGEST = 1_000  # bytes of one, as JSON
_ENTRY_BYTES = 100  # that one counts for beside them
_MOST_BYTES = 200_000  # of all operations together; what they come to takes some 25 times as much

T = TypeVar("T")

_all: "OrderedDict[int, ByVariables[Any]]" = OrderedDict()  # by their identity, those last that remembered last
_bytes = 0


class ByVariables(Generic[T]):
    """Of one operation. Those used last are remembered, unless they are long, or there are too many of all operations.

    For one thread.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, T] = OrderedDict()
        self._bytes = 0

    def get(self, variables: Mapping[str, Any], make: Callable[[], T]) -> T:
        """What ``make`` returns, or did before. It must depend on nothing else; what it raises is not remembered."""
        try:
            key = orjson.dumps(variables)
        except TypeError:  # numbers of more than 64 bits
            return make()
        if (known := self._known.get(key)) is not None:
            self._known.move_to_end(key)
            return known
        made = make()
        if len(key) <= _LONGEST:
            self._known[key] = made
            self._count(len(key) + _ENTRY_BYTES)
            if len(self._known) > _MOST:
                oldest, _ = self._known.popitem(last=False)
                self._count(-len(oldest) - _ENTRY_BYTES)
            _all[id(self)] = self
            _all.move_to_end(id(self))
            while _bytes > _MOST_BYTES:
                _, other = _all.popitem(last=False)
                other._forget()  # noqa: SLF001 - its own class
        return made

    def __len__(self) -> int:
        return len(self._known)

    def _forget(self) -> None:
        self._known.clear()
        self._count(-self._bytes)

    def _count(self, size: int) -> None:
        global _bytes  # noqa: PLW0603 - of all
        self._bytes += size
        _bytes += size
