"""The shortest way from a request to its answer, for what is asked most: one page of objects, or one object.

What the operation selects is compiled once per document (``writers.py``). Then a request is its arguments, one
statement, and the text made of its rows. Whatever is not of this kind, and whatever goes wrong on the way, graphql-core
executes from the start: these only read.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLField,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
)
from graphql.execution.values import get_argument_values, get_variable_values

from graph import lookups
from graph.context import Context, Filter
from graph.limits import AnswerLimits
from graph.selection import NotPlain, fragments_of, select
from graph.types.filters import filter_of
from graph.writers import PageWriter, Writer, Written
from models import pages, reads
from models.errors import WaybillError
from models.pages import Row
from models.reads import Parts

_MOST_REMEMBERED = 32  # sets of variables of one operation
_LONGEST_REMEMBERED = 1_000  # bytes of one


class Quick:
    """An operation. Raises NotPlain where it is not of the kind."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> None:
        if operation.operation is not OperationType.QUERY or operation.directives:
            raise NotPlain
        fragments = fragments_of(document)
        query = schema.query_type
        assert query is not None  # noqa: S101 - for the type checker
        fields = select(schema, query, [operation.selection_set], fragments)
        if len(fields) != 1:
            raise NotPlain
        [(self._name, root)] = fields.items()
        writer = Writer(schema, fragments)
        self._read: _Objects | _Object
        match root.name:
            case "objects":
                self._read = _Objects(writer.of_page(root.below), writer.parts)
            case "object":
                self._read = _Object(writer.of_object(root.below), writer.parts)
            case _:
                raise NotPlain
        self._schema = schema
        self._variables = operation.variable_definitions or ()
        self._node = root.node
        self._definition: GraphQLField = query.fields[root.name]
        self._remembered: OrderedDict[bytes, Any] = OrderedDict()

    async def answer(self, context: Context, variables: Mapping[str, Any] | None, limits: AnswerLimits) -> str | None:
        """``data`` of the answer as JSON; None where graphql-core has to find out what is wrong."""
        try:
            written = await self._read(context, self._asked(context, variables or {}))
        except (NotPlain, WaybillError, GraphQLError, TypeError, AttributeError):
            context.rows, context.signed = 0, {}
            return None
        if written.values > limits.values or written.characters > limits.characters:
            context.rows, context.signed = 0, {}
            return None
        return f'{{"{self._name}":{written.json}}}'

    def _asked(self, context: Context, variables: Mapping[str, Any]) -> Any:
        """The arguments, as far as they are the same for everybody. Raises NotPlain where they are none."""
        key = orjson.dumps(variables)
        if (known := self._remembered.get(key)) is not None:
            self._remembered.move_to_end(key)
            return known
        values = get_variable_values(self._schema, self._variables, dict(variables))
        if isinstance(values, list):
            raise NotPlain
        asked = self._read.asked(context, get_argument_values(self._definition, self._node, values))
        if len(key) <= _LONGEST_REMEMBERED:
            self._remembered[key] = asked
            if len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return asked


class _Objects(NamedTuple):
    write: PageWriter
    parts: Parts

    def asked(self, context: Context, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], Filter]:
        part = {name: arguments.get(name) for name in ("first", "after", "last", "before")}
        return part, filter_of(arguments.get("where"), context)

    async def __call__(self, context: Context, asked: tuple[dict[str, Any], Filter]) -> Written:
        part, wanted = asked
        digest = pages.digest("objects", context.viewer.tenant_id, wanted.digest)
        bounds = context.bounds(**part, digest=digest)
        return self.write(await reads.objects(context.scope, wanted.condition, bounds, self.parts), digest, context)


class _Object(NamedTuple):
    write: Callable[[Row, Context], Written]
    parts: Parts

    def asked(self, _: Context, arguments: Mapping[str, Any]) -> str:
        return str(arguments["objectId"])

    async def __call__(self, context: Context, object_id: str) -> Written:
        return self.write(await lookups.object_(context, object_id, self.parts), context)


def quick(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Quick | None:
    """None where graphql-core executes it."""
    try:
        return Quick(schema, document, operation)
    except NotPlain:
        return None
