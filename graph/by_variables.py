"""What an operation's variables come to, remembered: clients send the same ones again and again."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import orjson

_MOST = 32  # sets of variables of one operation
_LONGEST = 1_000  # bytes of one, as JSON

T = TypeVar("T")


class ByVariables(Generic[T]):
    """Of one operation. Those used last are remembered, unless they are long."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, T] = OrderedDict()

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
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        return made

    def __len__(self) -> int:
        return len(self._known)
