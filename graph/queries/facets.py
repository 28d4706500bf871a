import strawberry

from graph.context import Info
from models import facets
from models.errors import BadInput
from models.facets import MOST_COUNTED
from models.filters import HEAD_CHARACTERS

_COUNT = f"How many objects have it; counting stops at {MOST_COUNTED}."
_CAPPED = f"Whether there are more than {MOST_COUNTED}."


@strawberry.type(description="A key that occurs in the data.")
class DataKey:
    key: str = strawberry.field(description="The key.")
    count: int = strawberry.field(description=_COUNT)
    is_capped: bool = strawberry.field(description=_CAPPED)


@strawberry.type(description="A value that occurs with a key.")
class DataValue:
    value: str = strawberry.field(description="The value.")
    count: int = strawberry.field(description=_COUNT)
    is_capped: bool = strawberry.field(description=_CAPPED)


@strawberry.type
class FacetQuery:
    @strawberry.field(description="The keys that occur in objects' data, in code point order.")
    async def data_keys(self, info: Info, prefix: str | None = None, first: int | None = None) -> list[DataKey]:
        rows = await facets.data_keys(info.context.scope, _prefix(prefix), _first(info, first))
        return [
            DataKey(key=row["key"], count=_shown(row["count"]), is_capped=row["count"] > MOST_COUNTED) for row in rows
        ]

    @strawberry.field(description="The values that occur with a key, in code point order.")
    async def data_values(
        self, info: Info, key: str, prefix: str | None = None, first: int | None = None
    ) -> list[DataValue]:
        rows = await facets.data_values(info.context.scope, key, _prefix(prefix), _first(info, first))
        return [
            DataValue(value=row["value"], count=_shown(row["count"]), is_capped=row["count"] > MOST_COUNTED)
            for row in rows
        ]


def _first(info: Info, first: int | None) -> int:
    return info.context.bounds(first, None, None, None, b"").limit


def _prefix(prefix: str | None) -> str:
    if prefix is not None and len(prefix) > HEAD_CHARACTERS:
        raise BadInput(f'"prefix" has {len(prefix)} characters; at most {HEAD_CHARACTERS} are allowed.')
    return prefix or ""


def _shown(count: int) -> int:
    return min(count, MOST_COUNTED)
