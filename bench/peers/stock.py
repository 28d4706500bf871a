"""The idiomatic stack: Strawberry's own view, Tortoise's own rows with ``prefetch_related``, nothing else."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import strawberry
import uvicorn
from starlette.applications import Starlette
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache
from tortoise import Tortoise, fields
from tortoise.expressions import Subquery
from tortoise.models import Model


class BatchRow(Model):
    id = fields.BigIntField(primary_key=True)
    batch_id = fields.TextField()

    class Meta:
        table = "batches"


class ObjectRow(Model):
    id = fields.BigIntField(primary_key=True)
    tenant_id = fields.BigIntField()
    batch: fields.ForeignKeyRelation[BatchRow] = fields.ForeignKeyField(
        "peers.BatchRow", related_name="objects", source_field="batch_pk"
    )
    object_id = fields.TextField()
    updated_at = fields.DatetimeField()
    pairs: fields.ReverseRelation["PairRow"]

    class Meta:
        table = "objects"


class PairRow(Model):
    """Tortoise wants a primary key of one column; the value is one within what is read here."""

    object: fields.ForeignKeyRelation[ObjectRow] = fields.ForeignKeyField(
        "peers.ObjectRow", related_name="pairs", source_field="object_pk"
    )
    key = fields.TextField()
    value = fields.TextField(primary_key=True)
    number = fields.FloatField()

    class Meta:
        table = "object_pairs"


@strawberry.type
class Datum:
    key: str
    value: str


@strawberry.type
class Batch:
    batch_id: str


@strawberry.type
class Object:
    id: strawberry.ID
    object_id: str
    created_at: datetime
    row: strawberry.Private[ObjectRow]

    @strawberry.field
    def data(self) -> list[Datum]:
        return [Datum(key=pair.key, value=pair.value) for pair in self.row.pairs]

    @strawberry.field
    def batch(self) -> Batch:
        return Batch(batch_id=self.row.batch.batch_id)


@strawberry.type
class Edge:
    cursor: str
    node: Object


@strawberry.type
class PageInfo:
    has_next_page: bool
    has_previous_page: bool
    start_cursor: str | None
    end_cursor: str | None


@strawberry.type
class Connection:
    edges: list[Edge]
    page_info: PageInfo


@strawberry.input
class ValueWhere:
    eq: str | None = None
    starts_with: str | None = None
    gte: float | None = None

    @property
    def conditions(self) -> dict[str, object]:
        given = {"value": self.eq, "value__startswith": self.starts_with, "number__gte": self.gte}
        return {name: value for name, value in given.items() if value is not None}


@strawberry.input
class DataWhere:
    key: str
    value: ValueWhere


@strawberry.input
class ObjectWhere:
    data: list[DataWhere]


def of(row: ObjectRow) -> Object:
    return Object(id=strawberry.ID(str(row.id)), object_id=row.object_id, created_at=row.updated_at, row=row)


@strawberry.type
class Query:
    @strawberry.field
    async def objects(self, first: int, where: ObjectWhere | None = None) -> Connection:
        wanted = ObjectRow.filter(tenant_id=TENANT[0])
        for one in where.data if where else ():
            pairs = PairRow.filter(key=one.key, **one.value.conditions)
            wanted = wanted.filter(id__in=Subquery(pairs.values("object_id")))
        rows = await wanted.order_by("-id").limit(first + 1).prefetch_related("pairs", "batch")
        edges = [Edge(cursor=str(row.id), node=of(row)) for row in rows[:first]]
        start, end = (edges[0].cursor, edges[-1].cursor) if edges else (None, None)
        info = PageInfo(has_next_page=len(rows) > first, has_previous_page=False, start_cursor=start, end_cursor=end)
        return Connection(edges=edges, page_info=info)

    @strawberry.field
    async def object(self, object_id: str) -> Object | None:
        row = await ObjectRow.get_or_none(tenant_id=TENANT[0], object_id=object_id).prefetch_related("pairs", "batch")
        return None if row is None else of(row)


TENANT = [0]


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    url = os.environ["DATABASE_URL"]
    credentials = {"dsn": url, "minsize": 1, "maxsize": 10}
    await Tortoise.init(
        config={
            "connections": {"default": {"engine": "models.asyncpg_client", "credentials": credentials}},
            "apps": {"peers": {"models": ["bench.peers.stock"], "default_connection": "default"}},
        },
        _enable_global_fallback=True,
    )
    [row] = await Tortoise.get_connection("default").execute_query_dict("SELECT id FROM tenants WHERE slug = 'bench'")
    TENANT[0] = row["id"]
    yield
    await Tortoise.close_connections()


schema = strawberry.Schema(Query, extensions=[ParserCache, ValidationCache])
app = Starlette(lifespan=lifespan)
app.mount("/graphql", GraphQL(schema, graphql_ide=None))

if __name__ == "__main__":
    uvicorn.run("bench.peers.stock:app", port=int(os.environ["PORT"]), access_log=False, log_level="warning")
