"""How large an operation may be, measured in one pass over the document.

Not a validation rule on purpose: graphql-core runs all rules side by side, and the costly ones (a thousand fields with
arguments take it half a second) must not see what the limits refuse.
"""

from dataclasses import dataclass, field, fields
from operator import itemgetter

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from models.errors import TooComplex

_MANY = 1_000_000_000  # where sums stop: nested fragments can make them hundreds of digits long
_INTROSPECTION = ("__schema", "__type")


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """The most of each that one operation may have; what is in a fragment counts wherever the fragment is used."""

    depth: int = 15
    fields: int = 1_000
    aliases: int = 50
    root_fields: int = 20
    directives: int = 50
    tokens: int = 10_000


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """The most that one answer may have, counted while it is made."""

    values: int = 250_000
    characters: int = 32_000_000  # of all values that are text


@dataclass(slots=True)
class Size:
    """Of an operation or fragment. The depth of introspection is the schema's, not the data's, and counts as one."""

    depth: int = 0
    fields: int = 0
    aliases: int = 0
    root_fields: int = 0
    directives: int = 0


@dataclass(slots=True)
class _Spread:
    fragment: str
    depth: int  # of the field it stands in, 0 at the top
    introspection: bool


@dataclass(slots=True)
class _Definition:
    own: Size = field(default_factory=Size)
    spreads: list[_Spread] = field(default_factory=list)


def exceeded(document: DocumentNode, limits: QueryLimits) -> list[GraphQLError]:
    """At most one error (TOO_COMPLEX) per limit, for the largest operation or fragment of the document.

    Linear in the document: every definition is walked once, and every fragment added up once.
    """
    walked = [
        (node, _walk(node))
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    totals = _totals({node.name.value: found for node, found in walked if isinstance(node, FragmentDefinitionNode)})
    sizes = [(node, _sum(found, totals)) for node, found in walked]
    for node, size in sizes:
        if isinstance(node, FragmentDefinitionNode):  # measured for the sake of validation, which walks unused ones too
            size.depth = size.root_fields = 0  # known only where it is used
    errors = []
    for limit in (each.name for each in fields(Size)):
        maximum = getattr(limits, limit)
        over = [(getattr(size, limit), node) for node, size in sizes if getattr(size, limit) > maximum]
        if over:
            amount, node = max(over, key=itemgetter(0))
            error = too_complex(limit, maximum, amount)
            errors.append(GraphQLError(str(error), node, extensions=error.extensions))
    return errors


def too_complex(limit: str, maximum: int, amount: int | None = None) -> TooComplex:
    """``amount`` is None where counting stopped at the maximum."""
    name = limit.replace("_", " ")
    if amount is None:
        message = f"It is too large: more than {maximum:,} {name}. Ask for less at once."
        return TooComplex(message, limit=limit, maximum=maximum)
    message = f"The operation is too large: {name} {amount:,}, at most {maximum:,} is allowed."
    return TooComplex(message, limit=limit, maximum=maximum, amount=amount)


def _walk(definition: OperationDefinitionNode | FragmentDefinitionNode) -> _Definition:
    found = _Definition()
    own = found.own
    own.directives += len(definition.directives or ())
    for variable in definition.variable_definitions or ():
        own.directives += len(variable.directives or ())
    # A stack instead of recursion, so that no document can exhaust Python's.
    stack: list[tuple[SelectionSetNode, int, bool]] = [(definition.selection_set, 0, False)]
    while stack:
        selection_set, depth, introspection = stack.pop()
        for selection in selection_set.selections:
            own.directives += len(selection.directives or ())
            if isinstance(selection, FragmentSpreadNode):
                found.spreads.append(_Spread(selection.name.value, depth, introspection))
            elif isinstance(selection, InlineFragmentNode):
                stack.append((selection.selection_set, depth, introspection))
            elif isinstance(selection, FieldNode):
                own.fields += 1
                own.aliases += selection.alias is not None
                own.root_fields += depth == 0
                if not introspection:
                    own.depth = max(own.depth, depth + 1)
                if selection.selection_set:
                    inside = introspection or selection.name.value in _INTROSPECTION
                    stack.append((selection.selection_set, depth + 1, inside))
    return found


def _totals(fragments: dict[str, _Definition]) -> dict[str, Size]:
    """The size of every fragment with all it uses. A cycle counts once around; validation refuses it."""
    totals: dict[str, Size] = {}
    entered: set[str] = set()
    stack = list(fragments)
    while stack:
        name = stack[-1]
        if name not in entered:
            entered.add(name)
            used = (spread.fragment for spread in fragments[name].spreads)
            stack.extend(fragment for fragment in used if fragment in fragments and fragment not in entered)
        else:
            stack.pop()
            if name not in totals:
                totals[name] = _sum(fragments[name], totals)
    return totals


def _sum(definition: _Definition, totals: dict[str, Size]) -> Size:
    own = definition.own
    total = Size(own.depth, own.fields, own.aliases, own.root_fields, own.directives)
    for spread in definition.spreads:
        if (part := totals.get(spread.fragment)) is None:
            continue
        total.fields = min(total.fields + part.fields, _MANY)
        total.aliases = min(total.aliases + part.aliases, _MANY)
        total.directives = min(total.directives + part.directives, _MANY)
        if spread.depth == 0:
            total.root_fields = min(total.root_fields + part.root_fields, _MANY)
        if not spread.introspection:
            total.depth = max(total.depth, spread.depth + part.depth)
    return total
