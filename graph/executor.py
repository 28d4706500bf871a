"""graphql-core's executor with what a service needs: mutations that are kept or undone whole, and other requests served
meanwhile.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import FieldNode, GraphQLField, GraphQLObjectType, GraphQLOutputType, GraphQLResolveInfo
from graphql.execution.collect_fields import FieldDetails, FieldDetailsList, GroupedFieldSet
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path, gather_with_cancel

from access.policy import Caller
from graph.bounded import BoundedExecutor
from graph.idempotency import ARGUMENT, Part, Repeatable, asked, checked
from graph.writers import PageWriter
from models import database
from models.errors import WaybillError

_PORTION = 10  # items of a list that are completed at once
_RECORDED = 500  # items of a mutation after which what was noted of them begins to be written down
_LONGEST_SECONDS = 0.001  # that a request works before it lets others work


@dataclass(slots=True)
class _Field:
    """What is the same wherever a field of the document is executed, however many objects have it."""

    definition: GraphQLField
    details: FieldDetailsList  # kept, so that its id stays its own: graphql-core lets go of those that are done
    nodes: list[FieldNode]
    arguments: Mapping[str, Any] | None = None


class _UndoneError(Exception):
    pass


class Executor(BoundedExecutor):
    def __init__(
        self,
        *arguments: Any,
        variables: VariableValues | None,
        record: Callable[[Any], Awaitable[None]],
        confirm: Callable[[Any], Awaitable[None]],
        caller: Caller,
        idempotency_key: str | None,
        page_writer: Callable[[list[FieldNode]], PageWriter | None],
        **options: Any,
    ) -> None:
        """``variables`` are those that are coerced already, ``page_writer`` gives what writes a page of objects, where
        it is compiled (``writers.py``).
        """
        super().__init__(*arguments, **options)
        if variables is not None:
            self.variable_values = variables
        self._page_writer = page_writer
        self.has_guessed = False  # how large they are, as no less than that
        self._record = record
        self._confirm = confirm
        self._caller = caller
        self._idempotency_key = idempotency_key
        self._fields: dict[int, _Field] = {}
        self._working_since = time.perf_counter()
        self._turn = asyncio.Lock()

    # -- mutations -----------------------------------------------------------------------------------------------

    async def execute_fields_serially(  # type: ignore[override]  # None is what a null that nothing contains leaves
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> dict[str, Any] | None:
        """Each mutation with all that is selected of its payload, and what is recorded of it, is one transaction.

        An error anywhere below a mutation undoes it and leaves its field, which is non-null, and so the answer, without
        data; those before it stay, those after it are not begun.

        Before each, and again where its transaction begins, the caller is confirmed: a request may last a minute, and
        who is revoked meanwhile is to change nothing more.
        """
        results: dict[str, Any] = {}
        for index, (name, details) in enumerate(grouped_field_set.items()):
            field_path = Path(path, name, parent_type.name)
            part = Part(index, len(grouped_field_set))
            try:
                results[name] = await self._mutate(
                    part, parent_type, source_value, details, field_path, position_context
                )
            except _UndoneError:
                return None
        return results

    async def _mutate(self, part: Part, parent_type: GraphQLObjectType, *arguments: Any) -> Any:
        """With a key, the answer that was given to the same request before, if there is one."""
        _, details, path, *_ = arguments
        errors = self.collected_errors.errors
        before = len(errors)
        try:
            await self._confirm(self.context_value)
            repeatable = self._repeatable(part, parent_type, details)
            if repeatable is None:
                return await self._change(None, parent_type, *arguments)
            answer = await repeatable.answer()
            if answer is None:
                try:
                    return await self._change(repeatable, parent_type, *arguments)
                except Exception:
                    # Another one may have done it meanwhile, which is what has gone wrong, or a commit that was lost.
                    answer = await repeatable.answer()
                    if answer is None:
                        raise
                    del errors[before:]
            return orjson.Fragment(answer)
        except WaybillError as error:  # not of the field, whose errors have a place already: it was not to be kept
            field = self._fields.get(id(details)) or self._field(parent_type, details)
            self.handle_field_error(error, field.definition.type, details, path)

    async def _change(self, repeatable: Repeatable | None, parent_type: GraphQLObjectType, *arguments: Any) -> Any:
        errors = self.collected_errors.errors
        before = len(errors)

        async def begun() -> None:
            await self._confirm(self.context_value)
            if repeatable is not None:
                await repeatable.claim()

        async with database.one_transaction(begun):
            value = self.execute_field(parent_type, *arguments)
            if self.is_awaitable(value):
                value = await value
            if len(errors) > before:
                raise _UndoneError
            await self._record(self.context_value)
            if repeatable is not None:
                answer = orjson.dumps(value)
                async with database.transaction():  # which is this one, unless nothing has begun it yet
                    await repeatable.keep(answer)
                value = orjson.Fragment(answer)
        return value

    def _repeatable(self, part: Part, parent_type: GraphQLObjectType, details: FieldDetailsList) -> Repeatable | None:
        """None without a key. Raises BadInput for a key that is none."""
        field = self._fields.get(id(details)) or self._field(parent_type, details)
        if ARGUMENT not in field.definition.args:  # __typename
            return None
        try:
            arguments = dict(self._arguments(field.definition, details[0]))
        except Exception:  # noqa: BLE001 - execute_field says what is wrong with them, where it belongs
            return None
        given = arguments.pop(ARGUMENT, None)
        field.arguments = arguments
        key = self._idempotency_key
        if given is not None:
            key, part = checked(given), Part(0, 1)  # for this mutation, whatever stands beside it
        if key is None:
            return None
        what = asked(part, arguments, field.nodes, self.fragment_definitions, self.variable_values.coerced)
        return Repeatable.of(self._caller, key, part, what)

    # -- fields --------------------------------------------------------------------------------------------------

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        """As graphql-core's, but the arguments are coerced once, not for each of a thousand objects."""
        field = self._fields.get(id(field_details_list)) or self._field(parent_type, field_details_list)
        definition = field.definition
        info = self.build_resolve_info(definition, field.nodes, parent_type, path)
        try:
            if field.arguments is None:
                field.arguments = self._arguments(definition, field_details_list[0])
            result = (definition.resolve or self.field_resolver)(source, info, **field.arguments)
            if self.is_awaitable(result):
                return self.complete_awaitable_value(
                    definition.type, field_details_list, info, path, result, position_context
                )
            completed = self.complete_value(definition.type, field_details_list, info, path, result, position_context)
            if self.is_awaitable(completed):
                return self._settled(completed, definition.type, field_details_list, path)
        except Exception as error:  # noqa: BLE001 - whatever a resolver raises is an error of its field
            self.handle_field_error(error, definition.type, field_details_list, path)
            return None
        return completed

    def _field(self, parent_type: GraphQLObjectType, details: FieldDetailsList) -> _Field:
        definition = self.schema.get_field(parent_type, details[0].node.name.value)
        assert definition is not None  # noqa: S101 - the document was validated
        field = self._fields[id(details)] = _Field(definition, details, [one.node for one in details])
        return field

    def _arguments(self, definition: GraphQLField, details: FieldDetails) -> Mapping[str, Any]:
        if not definition.args:
            return {}
        return get_argument_values(
            definition, details.node, self.variable_values, details.fragment_variable_values, self.hide_suggestions
        )

    async def _settled(self, completed: Any, type_: GraphQLOutputType, details: FieldDetailsList, path: Path) -> Any:
        try:
            return await completed
        except Exception as error:  # noqa: BLE001 - whatever a resolver raises is an error of its field
            self.handle_field_error(error, type_, details, path)
            return None

    # -- pages of objects ----------------------------------------------------------------------------------------

    def complete_object_value(
        self,
        return_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        result: Any,
        position_context: Any,
    ) -> Any:
        if return_type.name == "ObjectConnection":
            write = self._page_writer([one.node for one in field_details_list])
            if write is not None and (written := self._written(write, result)) is not None:
                return written
        return super().complete_object_value(return_type, field_details_list, info, path, result, position_context)

    def _written(self, write: PageWriter, connection: Any) -> orjson.Fragment | None:
        """None where something is wrong with it, which is for others to say."""
        context = self.context_value
        signed = dict(context.signed)
        try:
            written = write(connection.page, connection.digest, context)
        except (WaybillError, TypeError, AttributeError):
            context.signed = signed
            return None
        self.has_guessed = True
        self.count(written.values, written.characters)
        return orjson.Fragment(written.json)

    # -- other requests meanwhile --------------------------------------------------------------------------------

    def complete_iterable_value(
        self,
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> Any:
        if isinstance(items, list) and len(items) > _PORTION:
            return self._complete_in_portions(item_type, field_details_list, info, path, items, position_context)
        return super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)

    async def _complete_in_portions(
        self,
        item_type: GraphQLOutputType,
        details: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        path: Path,
        items: list[Any],
        position_context: Any,
    ) -> list[Any]:
        completed: list[Any] = []
        pending: list[int] = []
        for index, item in enumerate(items):
            # Not once items wait for something: they are to begin together, so that it is asked for in one statement.
            if index and index % _PORTION == 0 and not pending:
                await self._pause()
                if index % _RECORDED == 0 and database.is_in_transaction():
                    await database.meanwhile(self._record(self.context_value))
            item_path = path.add_key(index, None)
            try:
                if self.complete_list_item_value(
                    item, completed, item_type, details, info, item_path, position_context
                ):
                    pending.append(index)
            except Exception:
                self.settle_in_background([completed[one] for one in pending])
                raise
        for index, value in zip(pending, await gather_with_cancel(*(completed[one] for one in pending)), strict=True):
            completed[index] = value
        return completed

    async def _pause(self) -> None:
        """Let other requests work when this one has for long, of all its tasks together."""
        if time.perf_counter() - self._working_since < _LONGEST_SECONDS:
            return
        async with self._turn:  # one at a time, for all of them would go on in the same turn of the event loop
            if time.perf_counter() - self._working_since > _LONGEST_SECONDS:
                await asyncio.sleep(0)
                self._working_since = time.perf_counter()
