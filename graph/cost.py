"""What an operation costs in points, known before it runs; README.md has the table.

A point is the work of the smallest request, or of ten objects read with their data (0.7 ms, both). Below a list
everything counts as often as the list may have nodes. What @skip and @include leave out counts all the same.

Each definition of a document is walked once, when an operation that uses it is first asked about; what depends on
variables is left open and filled in by each request, once per definition, however often a fragment is used.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInputType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    get_named_type,
    get_nullable_type,
    value_from_ast_untyped,
)

from graph import filter_cost, introspection
from graph.by_variables import ByVariables
from graph.cost_levels import Definition, Filter, Given, Large, Level, Longest, Page, PageSizes, Sent, Units
from graph.literals import Variables, has_variable, plain

# In tenths of a point.
POINT = 10
ROW = 1  # a node, a thing that a mutation is given
URL = 1
MUTATION = POINT  # for its transaction
_FIELDS = {
    ("File", "access"): URL,
    ("LocalCopy", "access"): URL,
    ("LocalCopy", "thumbnail"): URL,
    ("Upload", "url"): URL,
    ("UploadPart", "url"): URL,
    ("Upload", "parts"): POINT,  # S3 may be asked
    ("File", "checksum"): POINT,
    ("Object", "localCopy"): ROW,
    ("SyncSource", "stats"): ROW,
    ("SyncSource", "drift"): POINT,  # with up to 600 names, which are read from JSON
    ("SyncSource", "driftAskedAt"): ROW,
    ("Batch", "state"): ROW,
    ("Batch", "sealedAt"): ROW,
    ("Batch", "digest"): ROW,
    ("Batch", "progress"): 10 * POINT,  # linear in the files
    ("Mutation", "deleteBatch"): 10 * POINT,  # which takes all objects with it
    ("Mutation", "sealBatch"): 100 * POINT,  # which reads all of them
    ("Mutation", "checkSyncSource"): 100 * POINT,  # which reads a bucket and a directory
    ("Query", "syncStats"): POINT,  # of all sources together
    ("Query", "dataKeys"): 10 * POINT,
    ("Query", "dataValues"): 10 * POINT,
}
_TOTAL = 10 * POINT  # linear in the matches: as long as 70,000 of them take
_NODES = {"DataKey": 10 * POINT, "DataValue": 10 * POINT}  # each is counted, up to 10,000
_ENTRIES = {"completeUploads": POINT}  # of the longest list: S3 is asked about each
_LARGE = POINT  # a file in parts, which S3 is asked to begin


@dataclass(slots=True)
class _Operation:
    used: list[tuple[str, Definition]]  # fragments before whatever uses them; the operation is the last
    defaults: dict[str, Any]
    most: int
    names: frozenset[str]  # of the variables that it depends on
    fixed: int | None = None
    known: ByVariables[int] = field(default_factory=ByVariables)

    def points(self, variables: Variables, *, remembered: bool) -> int:
        if self.fixed is not None:
            return self.fixed
        if remembered:
            counted = {name: variables[name] for name in self.names if name in variables}
            return self.known.get(counted, lambda: self._counted(counted))
        return self._counted(variables)

    def _counted(self, variables: Variables) -> int:
        if self.defaults:
            variables = self.defaults | dict(variables)
        given = {one: one.counted(variables) for _, each in self.used for one in each.given}
        sent = Sent(variables, given, max((one.longest for one in given.values()), default=0))
        units: dict[str, Units] = {}
        for name, each in self.used:
            units[name] = each.units(sent, units, self.most)
        points = max(1, -(-units[""].each // POINT))
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
        self._definitions: dict[str, Definition] = {}  # of fragments
        self._operations: dict[int, _Operation] = {}

    def points(self, operation: OperationDefinitionNode, variables: Variables, *, remembered: bool = True) -> int:
        """At least 1. ``variables`` are as they were sent; wrong ones count as if they were left out.

        Large ones are not worth being ``remembered``.
        """
        if (known := self._operations.get(id(operation))) is None:  # of the document, so that its id stays its own
            self._operations[id(operation)] = known = self._read(operation)
        return known.points(variables, remembered=remembered)

    def _read(self, operation: OperationDefinitionNode) -> _Operation:
        own = self._walk.definition(operation, self._walk.root(operation))
        used: dict[str, Definition] = {}
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
        names = frozenset(name for one in (*used.values(), own) for name in one.variables())
        return _Operation([*used.items(), ("", own)], defaults, self._walk.sizes.rows, names)

    def _fragment(self, name: str) -> Definition:
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

    def definition(self, node: OperationDefinitionNode | FragmentDefinitionNode, type_: GraphQLNamedType) -> Definition:
        found = Definition()
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
                elif isinstance(selection, FieldNode):
                    inside = self._field(found, selection, type_, level)
                    if selection.selection_set:
                        definition = self._definition_of(type_, selection.name.value)
                        stack.append((selection.selection_set, get_named_type(definition.type), inside))
        return found

    def _definition_of(self, type_: GraphQLNamedType, name: str) -> GraphQLField:
        if name in introspection.META:
            return introspection.META[name]
        assert isinstance(type_, GraphQLObjectType | GraphQLInterfaceType)  # noqa: S101 - the document was validated
        definition: GraphQLField = type_.fields[name]
        return definition

    def _field(self, found: Definition, node: FieldNode, type_: GraphQLNamedType, level: int) -> int:
        """Counts a field; the level of what is selected below it."""
        name = node.name.value
        if introspection.is_introspection(type_, name):
            if name != "__typename":
                found.levels[level].units += introspection.units(node, self._definition_of(type_, name))
            return level
        definition = self._definition_of(type_, name)
        found.levels[level].units += _FIELDS.get((type_.name, name), 0)
        in_list = type_.name.endswith(("Connection", "Edge"))
        if name == "totalCount" and in_list:
            _count_total(found, level)
        arguments = {one.name.value: one for one in node.arguments or ()}
        if type_ is self._mutation:
            found.levels[level].units += MUTATION
            given = Given(tuple(_listed(arguments, definition.args)), self.sizes.large_bytes)
            found.given.append(given)
            found.levels += [Level(level, given, ROW), Level(level, Large(given), _LARGE)]
            if name in _ENTRIES:
                found.levels.append(Level(level, Longest(given), _ENTRIES[name]))
            return level
        if "where" in arguments:
            _count_filter(found, level, arguments["where"].value)
        result = get_named_type(definition.type)
        if (size := _size(arguments, definition.args, self.sizes)) is not None:
            found.levels.append(Level(level, size, _NODES.get(result.name, ROW)))
            return len(found.levels) - 1
        if (
            type_ in self._payloads
            and node.selection_set
            and isinstance(get_nullable_type(definition.type), GraphQLList)
        ):
            found.levels.append(Level(level, None, ROW))
            return len(found.levels) - 1
        if not in_list and _is_node(result):
            found.levels[level].units += ROW
        return level


def _count_total(found: Definition, level: int) -> None:
    """Once for the list, whose nodes the level is of."""
    if level:
        found.levels[found.levels[level].around].units += _TOTAL
    else:
        found.of_list += _TOTAL


def _count_filter(found: Definition, level: int, where: ValueNode) -> None:
    """As often as there are lists of it, of which the level is around."""
    if has_variable(where):
        found.levels.append(Level(level, Filter(where), 1))
    else:
        found.levels[level].units += filter_cost.units(plain(where, {}))


def _is_node(type_: GraphQLNamedType) -> bool:
    if isinstance(type_, GraphQLObjectType):
        return any(interface.name == "Node" for interface in type_.interfaces)
    return type_.name == "Node"


def _size(
    given: Mapping[str, ArgumentNode], possible: Mapping[str, GraphQLArgument], sizes: PageSizes
) -> int | Page | None:
    """None if the field has no arguments that say how many nodes there may be."""
    if not possible.keys() & {"first", "last", "ids"}:
        return None
    nodes = tuple(given[name].value for name in ("first", "last", "ids") if name in given)
    if not nodes:
        return sizes.usual
    page = Page(nodes, sizes)
    return page if any(map(has_variable, nodes)) else page.of({})


def _listed(
    given: Mapping[str, ArgumentNode], possible: Mapping[str, GraphQLArgument]
) -> Iterator[tuple[ValueNode, GraphQLInputType]]:
    return ((one.value, possible[name].type) for name, one in given.items())
