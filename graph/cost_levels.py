"""How often what a definition of a document selects is counted: as often as the lists around it may have nodes.

What depends on variables is left open, and filled in by each request.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from graphql import GraphQLInputType, ValueNode

from graph import filter_cost
from graph.entries import Entries, entries
from graph.literals import Variables, plain, variables_of

_MANY = 1_000_000_000  # where sums and products stop: nested fragments can make them hundreds of digits long


@dataclass(frozen=True, slots=True)
class PageSizes:
    """As far as lists count; all are settings."""

    usual: int = 10
    most: int = 100
    rows: int = 20_000  # of all lists: an operation whose lists may have more is stopped while it runs
    large_bytes: int = 64 * 1024**2  # of a file, which is uploaded in parts if it has more


@dataclass(frozen=True, slots=True)
class Page:
    """How many nodes a list may have: the larger of ``first`` and ``last``, or as many as ``ids`` has."""

    given: tuple[ValueNode, ...]
    sizes: PageSizes

    @property
    def nodes(self) -> tuple[ValueNode, ...]:
        return self.given

    def of(self, variables: Variables) -> int:
        numbers = [number for node in self.given if (number := _number(plain(node, variables))) is not None]
        return min(max(numbers, default=self.sizes.usual), self.sizes.most)


def _number(value: object) -> int | None:
    """None where nothing is said; what is no number is refused before anything runs."""
    if isinstance(value, list):
        return len(value)
    return int(min(max(value, 0), _MANY)) if isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list is filtered by, where variables say some of it; counts units instead of nodes."""

    where: ValueNode

    @property
    def nodes(self) -> tuple[ValueNode, ...]:
        return (self.where,)

    def units(self, variables: Variables) -> int:
        return filter_cost.units(plain(self.where, variables))


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What a mutation is given."""

    arguments: tuple[tuple[ValueNode, GraphQLInputType], ...]
    large_bytes: int

    @property
    def nodes(self) -> tuple[ValueNode, ...]:
        return tuple(node for node, _ in self.arguments)

    def counted(self, variables: Variables) -> Entries:
        counts = [entries(plain(node, variables), type_, self.large_bytes) for node, type_ in self.arguments]
        longest = max((one.longest for one in counts), default=0)
        return Entries(sum(one.all for one in counts), longest, sum(one.large for one in counts))


@dataclass(frozen=True, slots=True)
class Longest:
    """The longest list of what a mutation is given."""

    given: Given


@dataclass(frozen=True, slots=True)
class Large:
    """The files in parts of what a mutation is given."""

    given: Given


@dataclass(slots=True)
class Level:
    """What is counted equally often: as often as the level around it, times ``size``."""

    around: int
    # None: the longest list of all mutations of the operation
    size: int | Page | Filter | Given | Longest | Large | None
    units: int = 0


class Units(NamedTuple):
    """Of a fragment where it is used once."""

    each: int
    of_list: int = 0  # what a list costs as a whole, where the fragment is on a connection


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request fills in."""

    variables: Variables
    given: Mapping[Given, Entries]
    longest: int


@dataclass(slots=True)
class Definition:
    levels: list[Level] = field(default_factory=lambda: [Level(0, 1)])
    of_list: int = 0
    spreads: list[tuple[int, str]] = field(default_factory=list)  # level, fragment
    given: list[Given] = field(default_factory=list)

    def variables(self) -> Iterator[str]:
        """The names of those that it depends on."""
        for size in [level.size for level in self.levels] + self.given:
            if isinstance(size, Page | Filter | Given):
                for node in size.nodes:
                    yield from variables_of(node)

    @property
    def is_fixed(self) -> bool:
        return all(isinstance(level.size, int) for level in self.levels)

    def units(self, sent: Sent, fragments: Mapping[str, Units], most: int) -> Units:
        times = [1]
        total, of_list = self.levels[0].units, self.of_list
        for level in self.levels[1:]:
            size, around = level.size, times[level.around]
            if size is None:
                count = min(sent.longest * around, _MANY)
            elif isinstance(size, Given):
                count = min(sent.given[size].all * around, _MANY)
            elif isinstance(size, Longest):
                count = min(sent.given[size.given].longest * around, _MANY)
            elif isinstance(size, Large):
                count = min(sent.given[size.given].large * around, _MANY)
            elif isinstance(size, Filter):
                count = min(size.units(sent.variables) * around, _MANY)
            else:
                count = min((size if isinstance(size, int) else size.of(sent.variables)) * around, most)
            times.append(count)
            total += count * level.units
        for index, fragment in self.spreads:
            total += times[index] * fragments[fragment].each
            if index:
                total += times[self.levels[index].around] * fragments[fragment].of_list
            else:
                of_list += fragments[fragment].of_list
        return Units(min(total, _MANY), min(of_list, _MANY))
