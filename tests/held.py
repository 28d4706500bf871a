"""How many entries there are in whatever a process keeps: everything that can be reached from some of its objects."""

import functools
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakValueDictionary

_CACHE = type(functools.cache(lambda: None))
_COLLECTIONS = (dict, list, set, tuple, frozenset, deque, OrderedDict, WeakValueDictionary)
_NOTHING_INSIDE = (str, bytes, int, float, type(None), ModuleType, BuiltinFunctionType)


def entries(roots: Iterable[object]) -> Counter[str]:
    """By where they are held: the class and attribute, or the variable; of all instances together."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    left = [("root", root) for root in roots]
    while left:
        name, one = left.pop()
        if isinstance(one, _NOTHING_INSIDE) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, _CACHE):
            # One with a bound is full sooner or later.
            found[name] += 0 if one.cache_parameters()["maxsize"] else one.cache_info().currsize
        elif isinstance(one, _COLLECTIONS):
            found[name] += len(one)
        left += _inside(name, one)
    return found


def _inside(name: str, one: Any) -> Iterator[tuple[str, object]]:
    if isinstance(one, dict | WeakValueDictionary):
        for key, value in list(one.items()):
            yield f"{name}[]", value
            yield f"{name}[]", key
    elif isinstance(one, _COLLECTIONS):
        for value in list(one):
            yield f"{name}[]", value
    elif isinstance(one, FunctionType):  # not its module, which is everybody's
        variables = zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
        for variable, cell in variables:
            try:
                yield f"{one.__qualname__} {variable}", cell.cell_contents
            except ValueError:  # not yet given
                continue
        for value in one.__defaults__ or ():
            yield f"{one.__qualname__} default", value
    elif isinstance(one, MethodType | functools.partial):
        yield name, one.__self__ if isinstance(one, MethodType) else one.args
        yield name, one.__func__ if isinstance(one, MethodType) else one.func
    elif not isinstance(one, type):
        kind = type(one)
        slots = (slot for base in kind.__mro__ for slot in _slots(base))
        for attribute in (*getattr(one, "__dict__", ()), *slots):
            try:
                yield f"{kind.__module__}.{kind.__qualname__}.{attribute}", object.__getattribute__(one, attribute)
            except AttributeError:  # a slot with nothing in it
                continue


def _slots(kind: type) -> Iterable[str]:
    given = vars(kind).get("__slots__", ())
    return (given,) if isinstance(given, str) else given
