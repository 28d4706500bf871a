"""The shortest way from a request to its answer, for what is asked most: one page of objects, or one object.

What the operation selects is compiled once per document (``writers.py``). Then a request is its arguments, one
statement, and the text made of its rows. Whatever is not of this kind, and whatever goes wrong on the way, graphql-core
executes from the start: these only read.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
)

from access.policy import Viewer
from graph.arguments import Arguments
from graph.by_variables import ByVariables
from graph.context import Context
from graph.inputs import is_id
from graph.limits import AnswerLimits
from graph.loads import Filter
from graph.selection import NotPlain, fragments_of, select
from graph.types.files import Reading, unknown
from graph.types.filters import filter_of
from graph.writers import PageWriter, Writer, Written
from models import pages, reads, together
from models.errors import WaybillError
from models.pages import Page, Row
from models.reads import Parts

_digest = lru_cache(1_000)(pages.digest)


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
                self._read = _Objects(writer.of_page(root.below), writer.parts, tuple(writer.readings))
            case "object":
                self._read = _Object(writer.of_object(root.below), writer.parts)
            case _:
                raise NotPlain
        self._arguments = Arguments(schema, document, operation, query.fields[root.name], root.node)
        self._remembered: ByVariables[Any] = ByVariables()

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

        return self._remembered.get(variables, lambda: self._read.asked(context, self._arguments.of(variables)))


class _Objects(NamedTuple):
    write: PageWriter
    parts: Parts
    readings: tuple[Reading, ...]  # what is asked for of URLs, which are somebody's own

    def asked(self, context: Context, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], Filter]:
        part = {name: arguments.get(name) for name in ("first", "after", "last", "before")}
        return part, filter_of(arguments.get("where"), context)

    async def __call__(self, context: Context, asked: tuple[dict[str, Any], Filter]) -> Written:
        part, wanted = asked
        digest = _digest("objects", context.viewer.tenant_id, wanted.digest)
        bounds = context.bounds(**part, digest=digest)
        scope = context.scope

        async def read(_: object = None) -> Written:
            page = await reads.objects(scope, wanted.condition, bounds, self.parts)
            return await self._written(page, digest, context)

        async def read_for_all(_: object) -> Mapping[None, Written]:
            return {None: await read()}

        async def read_for_each(viewers: set[Viewer]) -> Mapping[Viewer, Written]:
            page = await reads.objects(scope, wanted.condition, bounds, self.parts)
            found: dict[Viewer, Written] = {}
            for viewer in viewers:
                own = context.of(viewer)
                with suppress(WaybillError, TypeError, AttributeError):  # graphql-core says to each what is wrong
                    found[viewer] = await self._written(page, digest, own)
            return found

        of = self, digest, bounds
        if self.readings:
            written = await together.ask(of, scope, context.viewer, read, read_for_each)
        else:
            written = await together.ask(of, scope, None, read, read_for_all)
        if written is None:
            raise NotPlain
        return written

    async def _written(self, page: Page, digest: bytes, context: Context) -> Written:
        """Its new URLs are signed while PostgreSQL writes them down, which is done when it is returned.

        So are those of an answer that is too large then: the log may have URLs that nobody was given, never others.
        """
        if not self.readings or not (new := unknown(context, page.rows, self.readings)):
            return self.write(page, digest, context)
        recording = asyncio.create_task(context.record_readings(new))
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # the statement is on its way: what is written is sent at the end of a turn
            written = self.write(page, digest, context)
        finally:
            await recording
        context.keep()
        return written


class _Object(NamedTuple):
    write: Callable[[Row, Context], Written]
    parts: Parts

    def asked(self, _: Context, arguments: Mapping[str, Any]) -> str:
        return str(arguments["objectId"])

    async def __call__(self, context: Context, object_id: str) -> Written:
        if not is_id(object_id, context.limits):
            raise NotPlain
        row = await together.object_with_id(context.scope, object_id, self.parts)
        if row is None:
            raise NotPlain  # graphql-core says so, and where
        return self.write(row, context)


def quick(schema: GraphQLSchema, document: DocumentNode, operation: OperationDefinitionNode) -> Quick | None:
    """None where graphql-core executes it."""
    try:
        return Quick(schema, document, operation)
    except NotPlain:
        return None
