"""What a request selects below a field, so that nothing else is read."""

from collections.abc import Mapping

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode

from graph.context import Info
from models.reads import Parts


def selects(info: Info, name: str) -> bool:
    """Whether a field of this name stands anywhere below the present one; it may still be left out by a directive."""
    raw = info._raw_info  # noqa: SLF001 - Strawberry's own view of the selection makes an object per field
    known = info.context.selected
    key = id(raw.field_nodes), name  # the executor keeps the list for as long as the context
    if key not in known:
        known[key] = _stands_below(list(raw.field_nodes), raw.fragments, name)
    return known[key]


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
