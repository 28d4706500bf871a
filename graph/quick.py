"""The shortest way from a request to its answer, for what is asked most: one page of objects, or one object.

What the operation selects is compiled once per document (``writers.py``). Then a request is its arguments, one
statement, and the text made of its rows. Whatever is not of this kind, and whatever goes wrong on the way, graphql-core
executes from the start: these only read.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
)
from graphql.execution.values import get_argument_values, get_variable_values

from graph.context import Context, Filter
from graph.limits import AnswerLimits
from graph.types.filters import filter_of
from graph.writers import NotPlain, Writer, select
from models import pages, reads
from models.errors import WaybillError
from models.reads import Parts

_MOST_REMEMBERED = 32  # sets of variables of one operation
_LONGEST_REMEMBERED = 1_000  # bytes of one


class _Asked(NamedTuple):
    """Arguments, as far as they are the same for everybody."""

    part: tuple[int | None, str | None, int | None, str | None]
    filter: Filter


class Quick:
    """An operation. Raises NotPlain where it is not of the kind."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        if operation.operation is not OperationType.QUERY or operation.directives:
            raise NotPlain
        fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
        query = schema.query_type
        assert query is not None  # noqa: S101 - for the type checker
        fields = select(schema, query, [operation.selection_set], fragments)
        if len(fields) != 1:
            raise NotPlain
        [(self._name, root)] = fields.items()
        if root.name != "objects":
            raise NotPlain
        self._schema = schema
        self._operation = operation
        self._root = root
        self._definition: GraphQLField = query.fields[root.name]
        self._writer = Writer(schema, root.below, fragments)
        self._parts = Parts(data=self._writer.data, file=self._writer.file, batch=self._writer.batch)
        self._remembered: OrderedDict[bytes, _Asked] = OrderedDict()

    async def answer(self, context: Context, variables: Mapping[str, Any] | None, limits: AnswerLimits) -> str | None:
        """``data`` of the answer as JSON; None where graphql-core has to find out what is wrong."""
        try:
            asked = self._asked(context, variables or {})
            if asked is None:
                return None
            digest = pages.digest("objects", context.viewer.tenant_id, asked.filter.digest)
            bounds = context.bounds(*asked.part, digest)
            page = await reads.objects(context.scope, asked.filter.condition, bounds, self._parts)
            written = self._writer.write(page, digest)
        except (WaybillError, TypeError):
            context.rows = 0
            return None
        if written.values > limits.values or written.characters > limits.characters:
            return None
        return f'{{"{self._name}":{written.json}}}'

    def _asked(self, context: Context, variables: Mapping[str, Any]) -> _Asked | None:
        key = orjson.dumps(variables)
        if (known := self._remembered.get(key)) is not None:
            self._remembered.move_to_end(key)
            return known
        values = get_variable_values(self._schema, self._operation.variable_definitions or (), dict(variables))
        if isinstance(values, list):
            return None
        arguments = get_argument_values(self._definition, self._root.node, values)
        part = tuple(arguments.get(name) for name in ("first", "after", "last", "before"))
        asked = _Asked(part, filter_of(arguments.get("where"), context))  # type: ignore[arg-type]
        if len(key) <= _LONGEST_REMEMBERED:
            self._remembered[key] = asked
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return asked


def quick(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Quick | None:
    """None where graphql-core executes it."""
    try:
        return Quick(schema, document, operation)
    except NotPlain:
        return None
