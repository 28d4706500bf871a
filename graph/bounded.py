"""graphql-core's executor with answers that are bounded, and items of lists that are completed the short way."""

import weakref
from collections.abc import Callable
from typing import Any

import strawberry
from graphql import FieldNode, GraphQLLeafType, GraphQLOutputType, GraphQLResolveInfo, Undefined
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path
from graphql.type.definition import GraphQLResolveInfoHelpers
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.items import Complete, Field
from graph.limits import AnswerLimits, too_complex


class BoundedExecutor(StrawberryGraphQLCoreExecutionContext):
    """``item`` gives what completes the items of a list (``items.py``)."""

    def __init__(
        self,
        *arguments: Any,
        answer_limits: AnswerLimits,
        item: Callable[[GraphQLOutputType, list[FieldNode]], Complete | None],
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        # Not bound to it, lest each waits for the collector, with all that it was given.
        own = weakref.proxy(self)
        self.async_helpers = GraphQLResolveInfoHelpers(
            gather=lambda work: own.gather_async_work(work),  # noqa: PLW0108 - a method would be bound to it
            track=lambda work: own.track_async_work(work),  # noqa: PLW0108
        )
        self._limits = answer_limits
        self._values = 0
        self._characters = 0
        self._item = item
        self._items: dict[int, Complete | None] = {}
        self._infos: dict[Field, strawberry.Info] = {}

    # -- bounded answers -----------------------------------------------------------------------------------------

    def complete_leaf_value(self, return_type: GraphQLLeafType, result: Any) -> Any:  # type: ignore[override]
        """Raises TooComplex where the answer becomes too large, whatever multiplied it: lists, aliases, long texts."""
        value = return_type.coerce_output_value(result)
        if value is None or value is Undefined:
            return super().complete_leaf_value(return_type, result)  # which says what is wrong with it
        self.count(1, len(value) if isinstance(value, str) else 0)
        return value

    def count(self, values: int, characters: int) -> None:
        """Raises TooComplex."""
        self._values += values
        self._characters += characters
        if self._values > self._limits.values:
            raise too_complex("values", self._limits.values)
        if self._characters > self._limits.characters:
            raise too_complex("characters", self._limits.characters)

    # -- items of lists ------------------------------------------------------------------------------------------

    def complete_list_item_value(
        self,
        item: Any,
        complete_results: list[Any],
        item_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo[Any],
        item_path: Path,
        position_context: Any,
    ) -> bool:
        key = id(field_details_list)  # of a field that the executor keeps
        if key not in self._items:
            self._items[key] = self._item(item_type, [one.node for one in field_details_list])
        if (complete := self._items[key]) is not None:
            before = self._values, self._characters
            try:
                complete_results.append(complete(item, self))
            except Exception:  # noqa: BLE001 - it is said below, where it belongs
                self._values, self._characters = before
                self._items[key] = None  # the others are hardly better
            else:
                return False
        return super().complete_list_item_value(
            item, complete_results, item_type, field_details_list, info, item_path, position_context
        )

    def info(self, field: Field) -> strawberry.Info:
        """Its path is that of none of the items."""
        if field not in self._infos:
            path = Path(None, field.nodes[0].name.value, field.parent_type.name)
            raw = self.build_resolve_info(field.definition, field.nodes, field.parent_type, path)
            self._infos[field] = strawberry.Info(_raw_info=raw, _field=field.of)
        return self._infos[field]
