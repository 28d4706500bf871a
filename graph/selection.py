"""What a request selects below a field, so that nothing else is read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    SelectionSetNode,
)

from graph.context import Info
from models.reads import Parts


def selects(info: Info, name: str) -> bool:
    """Whether a field of this name stands anywhere below the present one; it may still be left out by a directive."""
    raw = info._raw_info  # noqa: SLF001 - Strawberry's own view of the selection makes an object per field
    known = info.context.selected
    key = id(raw.field_nodes), name
    if key not in known:
        # With the nodes, which keep their id their own, whoever executes it.
        known[key] = raw.field_nodes, _stands_below(list(raw.field_nodes), raw.fragments, name)
    return known[key][1]


def parts_of_objects(info: Info) -> Parts:
    return Parts(data=selects(info, "data"), file=selects(info, "file"))


def _stands_below(nodes: list[FieldNode], fragments: Mapping[str, FragmentDefinitionNode], name: str) -> bool:
    entered: set[str] = set()
    left = [node.selection_set for node in nodes]
    while left:
        selection_set = left.pop()
        for selection in selection_set.selections if selection_set else ():
            match selection:
                case FieldNode() if selection.name.value == name:
                    return True
                case FieldNode() | InlineFragmentNode():
                    left.append(selection.selection_set)
                case FragmentSpreadNode() if selection.name.value not in entered:
                    entered.add(selection.name.value)
                    left.append(fragments[selection.name.value].selection_set)
    return False


class NotPlain(Exception):
    """Something is selected that is not in the rows."""


@dataclass(slots=True)
class Selected:
    """A field of an answer, with what all its nodes select below it."""

    name: str
    nodes: list[FieldNode] = field(default_factory=list)
    below: list[SelectionSetNode] = field(default_factory=list)

    @property
    def node(self) -> FieldNode:
        return self.nodes[0]


def fragments_of(document: DocumentNode) -> dict[str, FragmentDefinitionNode]:
    return {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}


def select(
    schema: GraphQLSchema,
    type_: GraphQLNamedType,
    selection_sets: Iterable[SelectionSetNode],
    fragments: Mapping[str, FragmentDefinitionNode],
) -> dict[str, Selected]:
    """By response name, in the order of the answer. Raises NotPlain where directives decide."""
    found: dict[str, Selected] = {}
    stack = [selection for each in reversed(list(selection_sets)) for selection in reversed(each.selections)]
    entered: set[str] = set()
    while stack:
        selection = stack.pop()
        if selection.directives:
            raise NotPlain
        if isinstance(selection, FieldNode):
            name = selection.alias.value if selection.alias else selection.name.value
            one = found.setdefault(name, Selected(selection.name.value))
            one.nodes.append(selection)
            if selection.selection_set:
                one.below.append(selection.selection_set)
            continue
        if isinstance(selection, FragmentSpreadNode):
            if selection.name.value in entered:
                continue
            entered.add(selection.name.value)
            fragment: FragmentDefinitionNode | InlineFragmentNode = fragments[selection.name.value]
        else:
            assert isinstance(selection, InlineFragmentNode)  # noqa: S101 - there is no other selection
            fragment = selection
        if fragment.type_condition is None or _applies(schema, type_, fragment.type_condition.name.value):
            stack.extend(reversed(fragment.selection_set.selections))
    return found


def _applies(schema: GraphQLSchema, type_: GraphQLNamedType, condition: str) -> bool:
    if type_.name == condition:
        return True
    other = schema.type_map[condition]
    return isinstance(type_, GraphQLObjectType) and schema.is_sub_type(other, type_)  # type: ignore[arg-type]
