"""Values as documents write them, before they are coerced."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from graphql import ListValueNode, ObjectValueNode, ValueNode, VariableNode, value_from_ast_untyped

Variables: TypeAlias = Mapping[str, Any]


def has_variable(node: ValueNode) -> bool:
    if isinstance(node, ObjectValueNode):
        return any(has_variable(one.value) for one in node.fields)
    return isinstance(node, VariableNode) or (isinstance(node, ListValueNode) and any(map(has_variable, node.values)))


def variables_of(node: ValueNode) -> Iterator[str]:
    """Their names."""
    if isinstance(node, VariableNode):
        yield node.name.value
    elif isinstance(node, ObjectValueNode | ListValueNode):
        for one in [field.value for field in node.fields] if isinstance(node, ObjectValueNode) else node.values:
            yield from variables_of(one)


def plain(node: ValueNode, variables: Variables) -> Any:
    """As JSON would say it. Variables that are not given are None, or missing from the object they stand in."""
    if isinstance(node, VariableNode):
        return variables.get(node.name.value)
    return value_from_ast_untyped(node, dict(variables))
