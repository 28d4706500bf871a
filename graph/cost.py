"""What an operation costs in points, known before it runs; README.md has the table.

A point is the work of the smallest request, or of ten objects read with their data (0.7 ms, both). Below a list
everything counts as often as the list may have nodes. What @skip and @include leave out counts all the same.

Each definition of a document is walked once, when an operation that uses it is first asked about; what depends on
variables is left open and filled in by each request, once per definition, however often a fragment is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    value_from_ast_untyped,
)

from models.ids import MAX_ROWS_PER_CALL

# In tenths of a point.
POINT = 10
ROW = 1  # a node, a thing that a mutation is given
URL = 1
MUTATION = POINT  # for its transaction
_FIELDS = {
    ("File", "access"): URL,
    ("Upload", "url"): URL,
    ("Mutation", "deleteBatch"): 10 * POINT,  # which takes all objects with it
}
_TOTAL = 10 * POINT  # linear in the matches: as long as 70,000 of them take
_NODES = {"DataKey": POINT, "DataValue": POINT}  # each is counted, up to 10,000
_ENTRIES = {"completeUploads": POINT}  # S3 is asked about each

_MANY = 1_000_000_000  # where sums and products stop: nested fragments can make them hundreds of digits long

Variables: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PageSizes:
    """As far as lists count; all are settings."""

    usual: int = 10
    most: int = 100
    rows: int = 20_000  # of all lists: an operation whose lists may have more is stopped while it runs


@dataclass(frozen=True, slots=True)
class _Page:
    """How many nodes a list may have: the larger of ``first`` and ``last``, or as many as ``ids`` has."""

    given: tuple[ValueNode, ...]
    sizes: PageSizes

    def of(self, variables: Variables) -> int:
        numbers = [number for node in self.given if (number := _number(_plain(node, variables))) is not None]
        return min(max(numbers, default=self.sizes.usual), self.sizes.most)


def _number(value: object) -> int | None:
    """None where nothing is said; what is no number is refused before anything runs."""
    if isinstance(value, list):
        return len(value)
    return int(min(max(value, 0), _MANY)) if isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """What a mutation is given."""

    arguments: tuple[tuple[ValueNode, GraphQLInputType], ...]

    def counted(self, variables: Variables) -> "_Counted":
        counts = [_entries(_plain(node, variables), type_) for node, type_ in self.arguments]
        return _Counted(sum(one.entries for one in counts), max((one.longest for one in counts), default=0))


class _Counted(NamedTuple):
    entries: int  # of all lists
    longest: int  # of the lists that are in no other list; the payload's lists are as long


class _Longest:
    """Stands for the longest list that a mutation of the operation is given."""


_LONGEST = _Longest()


@dataclass(slots=True)
class _Level:
    """What is counted equally often: as often as the level around it, times ``size``."""

    around: int
    size: "int | _Page | _Given | _Longest"
    units: int = 0


@dataclass(slots=True)
class _Definition:
    levels: list[_Level] = field(default_factory=lambda: [_Level(0, 1)])
    spreads: list[tuple[int, str]] = field(default_factory=list)  # level, fragment
    given: list[_Given] = field(default_factory=list)

    @property
    def is_fixed(self) -> bool:
        return all(isinstance(level.size, int) for level in self.levels)

    def units(
        self,
        variables: Variables,
        given: Mapping[_Given, _Counted],
        longest: int,
        fragments: Mapping[str, int],
        most: int,
    ) -> int:
        times = [1]
        total = self.levels[0].units
        for level in self.levels[1:]:
            size, around = level.size, times[level.around]
            if isinstance(size, _Given):
                count = min(given[size].entries * around, _MANY)
            elif isinstance(size, _Longest):
                count = min(longest * around, _MANY)
            else:
                count = min((size if isinstance(size, int) else size.of(variables)) * around, most)
            times.append(count)
            total += count * level.units
        for index, fragment in self.spreads:
            total += times[index] * fragments[fragment]
        return min(total, _MANY)


@dataclass(slots=True)
class _Operation:
    used: list[tuple[str, _Definition]]  # fragments before whatever uses them; the operation is the last
    defaults: dict[str, Any]
    most: int
    fixed: int | None = None

    def points(self, variables: Variables) -> int:
        if self.fixed is not None:
            return self.fixed
        sent = self.defaults | dict(variables) if self.defaults else variables
        given = {one: one.counted(sent) for _, each in self.used for one in each.given}
        longest = max((one.longest for one in given.values()), default=0)
        units: dict[str, int] = {}
        for name, each in self.used:
            units[name] = each.units(sent, given, longest, units, self.most)
        points = max(1, -(-units[""] // POINT))
        if all(each.is_fixed for _, each in self.used):
            self.fixed = points
        return points


class Costs:
    """Of the operations of one document, which must be valid."""

    def __init__(self, schema: GraphQLSchema, sizes: PageSizes, document: DocumentNode) -> None:
        self._walk = _Walk(schema, sizes)
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._definitions: dict[str, _Definition] = {}  # of fragments
        self._operations: dict[int, _Operation] = {}

    def points(self, operation: OperationDefinitionNode, variables: Variables) -> int:
        """At least 1. ``variables`` are as they were sent; wrong ones count as if they were left out."""
        if (known := self._operations.get(id(operation))) is None:  # of the document, so that its id stays its own
            self._operations[id(operation)] = known = self._read(operation)
        return known.points(variables)

    def _read(self, operation: OperationDefinitionNode) -> _Operation:
        own = self._walk.definition(operation, self._walk.root(operation))
        used: dict[str, _Definition] = {}
        entered: set[str] = set()
        stack = [name for _, name in own.spreads]
        while stack:
            name = stack[-1]
            definition = self._fragment(name)
            below = [] if name in entered else [other for _, other in definition.spreads if other not in used]
            entered.add(name)
            stack.extend(below)
            if not below:
                used[stack.pop()] = definition
        defaults = {
            one.variable.name.value: value_from_ast_untyped(one.default_value)
            for one in operation.variable_definitions or ()
            if one.default_value is not None
        }
        return _Operation([*used.items(), ("", own)], defaults, self._walk.sizes.rows)

    def _fragment(self, name: str) -> _Definition:
        if name not in self._definitions:
            node = self._fragments[name]
            self._definitions[name] = self._walk.definition(node, self._walk.type(node.type_condition.name.value))
        return self._definitions[name]


class _Walk:
    def __init__(self, schema: GraphQLSchema, sizes: PageSizes) -> None:
        self.sizes = sizes
        self._schema = schema
        self._mutation = schema.mutation_type
        self._payloads = {get_named_type(one.type) for one in self._mutation.fields.values()} if self._mutation else ()

    def root(self, operation: OperationDefinitionNode) -> GraphQLNamedType:
        root = self._schema.get_root_type(operation.operation)
        assert root is not None  # noqa: S101 - the document was validated
        return root

    def type(self, name: str) -> GraphQLNamedType:
        return self._schema.type_map[name]

    def definition(
        self, node: OperationDefinitionNode | FragmentDefinitionNode, type_: GraphQLNamedType
    ) -> _Definition:
        found = _Definition()
        # A stack instead of recursion, so that no document can exhaust Python's.
        stack: list[tuple[SelectionSetNode, GraphQLNamedType, int]] = [(node.selection_set, type_, 0)]
        while stack:
            selection_set, type_, level = stack.pop()
            for selection in selection_set.selections:
                if isinstance(selection, FragmentSpreadNode):
                    found.spreads.append((level, selection.name.value))
                elif isinstance(selection, InlineFragmentNode):
                    condition = selection.type_condition
                    stack.append(
                        (selection.selection_set, self.type(condition.name.value) if condition else type_, level)
                    )
                elif isinstance(selection, FieldNode) and not selection.name.value.startswith("__"):
                    inside = self._field(found, selection, type_, level)
                    if selection.selection_set:
                        definition = self._definition_of(type_, selection.name.value)
                        stack.append((selection.selection_set, get_named_type(definition.type), inside))
        return found

    def _definition_of(self, type_: GraphQLNamedType, name: str) -> GraphQLField:
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)  # noqa: S101 - the document was validated
        definition: GraphQLField = type_.fields[name]
        return definition

    def _field(self, found: _Definition, node: FieldNode, type_: GraphQLNamedType, level: int) -> int:
        """Counts a field; the level of what is selected below it."""
        name = node.name.value
        definition = self._definition_of(type_, name)
        found.levels[level].units += _FIELDS.get((type_.name, name), 0)
        in_list = type_.name.endswith(("Connection", "Edge"))
        if name == "totalCount" and in_list:
            found.levels[level].units += _TOTAL
        arguments = {one.name.value: one for one in node.arguments or ()}
        if type_ is self._mutation:
            found.levels[level].units += MUTATION
            given = _Given(tuple(_listed(arguments, definition.args)))
            found.given.append(given)
            found.levels.append(_Level(level, given, _ENTRIES.get(name, 0) + ROW))
            return level
        result = get_named_type(definition.type)
        if (size := _size(arguments, definition.args, self.sizes)) is not None:
            found.levels.append(_Level(level, size, _NODES.get(result.name, ROW)))
            return len(found.levels) - 1
        if (
            type_ in self._payloads
            and node.selection_set
            and isinstance(get_nullable_type(definition.type), GraphQLList)
        ):
            found.levels.append(_Level(level, _LONGEST, ROW))
            return len(found.levels) - 1
        if not in_list and _is_node(result):
            found.levels[level].units += ROW
        return level


def _is_node(type_: GraphQLNamedType) -> bool:
    if isinstance(type_, GraphQLObjectType):
        return any(interface.name == "Node" for interface in type_.interfaces)
    return type_.name == "Node"


def _size(
    given: Mapping[str, ArgumentNode], possible: Mapping[str, GraphQLArgument], sizes: PageSizes
) -> int | _Page | None:
    """None if the field has no arguments that say how many nodes there may be."""
    if not possible.keys() & {"first", "last", "ids"}:
        return None
    nodes = tuple(given[name].value for name in ("first", "last", "ids") if name in given)
    if not nodes:
        return sizes.usual
    page = _Page(nodes, sizes)
    return page if any(map(_has_variable, nodes)) else page.of({})


def _listed(
    given: Mapping[str, ArgumentNode], possible: Mapping[str, GraphQLArgument]
) -> Iterator[tuple[ValueNode, GraphQLInputType]]:
    return ((one.value, possible[name].type) for name, one in given.items())


def _has_variable(node: ValueNode) -> bool:
    return isinstance(node, VariableNode) or (isinstance(node, ListValueNode) and any(map(_has_variable, node.values)))


def _plain(node: ValueNode, variables: Variables) -> Any:
    """As JSON would say it. Variables that are not given are None, or missing from the object they stand in."""
    if isinstance(node, VariableNode):
        return variables.get(node.name.value)
    return value_from_ast_untyped(node, dict(variables))


def _entries(value: Any, type_: GraphQLInputType) -> _Counted:
    total = longest = 0
    # A stack instead of recursion, so that no input can exhaust Python's.
    stack: list[tuple[Any, GraphQLInputType, bool]] = [(value, type_, True)]
    while stack:
        value, type_, is_outermost = stack.pop()
        if value is None:
            continue
        expected = get_nullable_type(type_)
        if isinstance(expected, GraphQLList):
            items = value if isinstance(value, list) else [value]
            total += len(items)
            if is_outermost:
                longest = max(longest, len(items))
            if _lists_in(get_named_type(expected)):
                # No call may have more; whoever sends more is refused.
                stack.extend((item, expected.of_type, False) for item in islice(items, MAX_ROWS_PER_CALL))
        elif isinstance(value, dict):
            stack.extend((value.get(name), below, is_outermost) for name, below in _lists_in(expected))
    return _Counted(total, longest)


@cache
def _lists_in(type_: GraphQLNamedType) -> list[tuple[str, GraphQLInputType]]:
    """The fields of an input type that are lists or may have some."""
    if not isinstance(type_, GraphQLInputObjectType):
        return []
    return [
        (name, one.type)
        for name, one in type_.fields.items()
        if isinstance(get_nullable_type(one.type), GraphQLList)
        or isinstance(get_named_type(one.type), GraphQLInputObjectType)
    ]
