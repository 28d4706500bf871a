"""Everything that changes batches and objects: each function is one transaction, kept whole or not at all."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import asyncpg
import orjson

from models import batches, database, files, grants
from models.calls import Call
from models.errors import AlreadyExists, BatchNotEmpty, Conflict, NotFound, short
from models.files import NewFile
from models.filters import Condition, Everything
from models.grants import Thing
from models.pages import Row, Scope
from models.people import AccessLevel
from models.sql import Sql

Pair: TypeAlias = dict[str, str]  # {"key": ..., "value": ...}
_ALL = Everything()
_MOST_NAMED = 100  # ids that one error names
_DELETED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class NewObject:
    object_id: str
    data: str  # JSON of a list of pairs
    file: NewFile | None = None


@dataclass(frozen=True, slots=True)
class Made:
    """What one call created, in the order given."""

    at: datetime
    batch: Row
    object_keys: Sequence[int]
    objects: Sequence[NewObject]
    uploads: Mapping[int, Row]  # by the object's key

    def rows(self) -> Iterator[Row]:
        """The new objects as a page would have read them."""
        for key, one in zip(self.object_keys, self.objects, strict=True):
            yield {
                "id": key,
                "object_id": one.object_id,
                "data": one.data,
                "updated_at": self.at,
                "batch_pk": self.batch["id"],
                "batch_id": self.batch["batch_id"],
                "created_by_id": self.batch["created_by_id"],
                **self.uploads.get(key, files.NO_FILE),
            }


async def create_batch(
    tenant_id: int, user_id: int, batch_id: str, objects: Sequence[NewObject], seen: Condition = _ALL
) -> Made:
    """Raises AlreadyExists naming the batch or the objects whose ids are taken, those that are ``seen``."""
    async with _naming_taken(Scope(tenant_id, seen), objects), database.transaction():
        call = await Call.begin()
        [batch_pk] = call.keys(1)
        try:
            await database.execute(
                "INSERT INTO batches (id, tenant_id, batch_id, created_by_id) VALUES ($1, $2, $3, $4)",
                *(batch_pk, tenant_id, batch_id, user_id),
            )
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "batches_batch_id_unique":
                raise
            raise AlreadyExists(f"There is a batch {_named([batch_id])} already.", batchIds=[batch_id]) from None
        await grants.give(tenant_id, user_id, Thing(batch_pk), AccessLevel.ADMIN, by_id=user_id)
        batch = {"id": batch_pk, "batch_id": batch_id, "created_by_id": user_id}
        return await _copy_objects(call, tenant_id, batch, objects)


async def create_batches(tenant_id: int, user_id: int, batch_ids: Sequence[str]) -> None:
    """Empty ones; those that are there already stay whose they are."""
    async with database.transaction():
        call = await Call.begin()
        made = await database.fetch(
            "INSERT INTO batches (id, tenant_id, batch_id, created_by_id)"
            " SELECT n.id, $1, n.batch_id, $2 FROM unnest($3::bigint[], $4::text[]) AS n (id, batch_id)"
            " ORDER BY n.batch_id ON CONFLICT ON CONSTRAINT batches_batch_id_unique DO NOTHING RETURNING id",
            *(tenant_id, user_id, list(call.keys(len(batch_ids))), list(batch_ids)),
        )
        await grants.give_each(tenant_id, user_id, [Thing(row["id"]) for row in made])


async def create_objects(
    tenant_id: int, user_id: int, batch: Row, objects: Sequence[NewObject], seen: Condition = _ALL
) -> Made:
    """``batch`` is its row.

    Raises AlreadyExists naming the objects whose ids are taken, those that are ``seen``, NotFound when the batch has
    just been deleted, and BatchSealed.
    """
    async with _naming_taken(Scope(tenant_id, seen), objects), database.transaction():
        await batches.keep_open(tenant_id, [batch["id"]])
        made = await _copy_objects(await Call.begin(), tenant_id, batch, objects)
        await grants.give_creator(tenant_id, user_id, batch["id"], made.object_keys)
        return made


async def update_data(
    tenant_id: int, key: int, change: Callable[[list[Pair]], list[Pair]], if_updated_at: datetime | None
) -> Row:
    """Apply ``change`` to the committed data while the row is locked, and return ``data`` and ``updated_at``.

    ``updated_at`` grows by at least a millisecond with every change: clients whose clocks know no finer unit can send
    it back as ``if_updated_at``. Raises BatchSealed.
    """
    async with database.transaction():
        await batches.keep_open(tenant_id, objects=[key])
        found = await database.fetch(
            "SELECT data, updated_at FROM objects WHERE tenant_id = $1 AND id = $2 FOR UPDATE", tenant_id, key
        )
        if not found:
            raise NotFound
        if if_updated_at is not None and found[0]["updated_at"] != if_updated_at:
            raise Conflict(updatedAt=found[0]["updated_at"].isoformat(timespec="milliseconds").replace("+00:00", "Z"))
        data = change(orjson.loads(found[0]["data"]))
        [row] = await database.fetch(
            "UPDATE objects SET data = $3, updated_at ="
            " greatest(date_trunc('milliseconds', clock_timestamp()), updated_at + interval '1 millisecond')"
            " WHERE tenant_id = $1 AND id = $2 RETURNING data, updated_at",
            *(tenant_id, key, orjson.dumps(data).decode()),
        )
        return row


async def locked_data(tenant_id: int, keys: Sequence[int]) -> dict[int, list[Pair] | None]:
    """The data of those that are still there, locked until the end of the transaction; None where the batch is sealed,
    which nobody may change."""
    sealed = await batches.hold(tenant_id, objects=keys)
    rows = await database.fetch(
        "SELECT id, batch_pk, data FROM objects WHERE tenant_id = $1 AND id = ANY($2::bigint[]) ORDER BY id FOR UPDATE",
        *(tenant_id, list(keys)),
    )
    return {row["id"]: None if row["batch_pk"] in sealed else orjson.loads(row["data"]) for row in rows}


async def set_data(tenant_id: int, changed: Mapping[int, Sequence[Pair]]) -> None:
    """Of objects that ``locked_data`` has locked."""
    if changed:
        await database.execute(
            "UPDATE objects AS o SET data = n.data::jsonb, updated_at ="
            " greatest(date_trunc('milliseconds', clock_timestamp()), o.updated_at + interval '1 millisecond')"
            " FROM unnest($2::bigint[], $3::text[]) AS n (id, data) WHERE o.tenant_id = $1 AND o.id = n.id",
            *(tenant_id, list(changed), [orjson.dumps(data).decode() for data in changed.values()]),
        )


async def delete_objects(scope: Scope, object_ids: Sequence[str]) -> None:
    """All or none: raises NotFound naming those that are not there (any more), and BatchSealed."""
    async with database.transaction():
        sql = Sql(scope.tenant_id, is_open=False)
        wanted = sql.bind(tuple(object_ids), "text[]")
        visible = sql.test(scope.within, "o.id", "o.batch_pk")
        text = f"SELECT o.id FROM objects o WHERE o.tenant_id = {sql.some_tenant} AND o.object_id = ANY({wanted})"
        found = await database.fetch(f"{text} AND {visible}", *sql.arguments)
        keys = [row["id"] for row in found]  # whoever gets an id meanwhile is another, of a batch that is not kept open
        await batches.keep_open(scope.tenant_id, objects=keys)
        rows = await database.fetch(
            "DELETE FROM objects WHERE tenant_id = $1 AND id = ANY(ARRAY("  # in the order of all who lock several
            "SELECT id FROM objects WHERE tenant_id = $1 AND id = ANY($2::bigint[]) ORDER BY id FOR UPDATE"
            ")) RETURNING object_id",
            *(scope.tenant_id, keys),
        )
        require_all(object_ids, rows)


def require_all(object_ids: Sequence[str], rows: Sequence[Row]) -> None:
    """Raises NotFound naming the ids that none of the rows has."""
    there = {row["object_id"] for row in rows}
    if missing := [one for one in object_ids if one not in there]:
        raise NotFound(f"There is no object {_named(missing)}.", objectIds=missing[:_MOST_NAMED])


async def delete_batch(tenant_id: int, batch_pk: int, *, cascade: bool) -> int:
    """Returns how many objects went with it; raises BatchNotEmpty unless ``cascade``."""
    async with database.transaction():
        # Locked, so that nobody adds objects meanwhile: their reference waits for us and then finds nothing.
        if not await database.fetch(
            "SELECT FROM batches WHERE tenant_id = $1 AND id = $2 FOR UPDATE", tenant_id, batch_pk
        ):
            raise NotFound
        deleted = await _delete_objects_of(tenant_id, batch_pk) if cascade else 0
        try:
            await database.execute("DELETE FROM batches WHERE tenant_id = $1 AND id = $2", tenant_id, batch_pk)
        except (asyncpg.RestrictViolationError, asyncpg.ForeignKeyViolationError) as error:  # from 18 on, and before
            if error.constraint_name != "objects_batch_fkey":
                raise
            raise BatchNotEmpty from None
        return deleted


async def _delete_objects_of(tenant_id: int, batch_pk: int) -> int:
    """In portions that each stay within the statement time-out."""
    deleted = 0
    while portion := await database.execute(
        # An array, so that the planner cannot join; locked, so that what somebody else deletes is not counted as ours.
        "DELETE FROM objects WHERE tenant_id = $1 AND id = ANY(ARRAY("
        "SELECT id FROM objects WHERE tenant_id = $1 AND batch_pk = $2 ORDER BY id LIMIT $3 FOR UPDATE))",
        *(tenant_id, batch_pk, _DELETED_AT_ONCE),
    ):
        deleted += portion
    return deleted


async def _copy_objects(call: Call, tenant_id: int, batch: Row, objects: Sequence[NewObject]) -> Made:
    keys = call.keys(len(objects))
    columns = ("id", "tenant_id", "batch_pk", "object_id", "data", "updated_at")
    # In the order of their ids: two calls with the same ones wait for each other and do not deadlock.
    ordered = sorted(zip(keys, objects, strict=True), key=lambda pair: pair[1].object_id)
    records = ((key, tenant_id, batch["id"], one.object_id, one.data, call.now) for key, one in ordered)
    if objects:
        await database.copy("objects", columns, records)
    announced = [(key, one.file) for key, one in zip(keys, objects, strict=True) if one.file is not None]
    of_batch = dict.fromkeys(keys, batch["id"])
    uploads = await files.copy(call, tenant_id, announced, of_batch) if announced else []
    return Made(call.now, batch, keys, objects, {upload["object_pk"]: upload for upload in uploads})


@asynccontextmanager
async def _naming_taken(scope: Scope, objects: Sequence[NewObject]) -> AsyncIterator[None]:
    """Turns the refusal of a taken object id into AlreadyExists with all taken ids that exist for the scope.

    Around the transaction, not inside: the refusal has ended it, and naming them takes a statement.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name != "objects_object_id_unique":
            raise
        sql = Sql(scope.tenant_id, is_open=False)
        wanted = sql.bind(tuple(one.object_id for one in objects), "text[]")
        rows = await database.fetch(
            f"SELECT o.object_id FROM objects o WHERE o.tenant_id = {sql.some_tenant} AND o.object_id = ANY({wanted})"
            f" AND {sql.test(scope.within, 'o.id', 'o.batch_pk')} ORDER BY o.object_id LIMIT {_MOST_NAMED}",
            *sql.arguments,
        )
        taken = [row["object_id"] for row in rows]
        which = f"There is an object {_named(taken)} already." if taken else "One of the ids is in use already."
        raise AlreadyExists(which, objectIds=taken) from None


def _named(ids_: Sequence[str]) -> str:
    """At most three ids for a message; the rest is counted."""
    shown = ", ".join(f'"{short(one)}"' for one in ids_[:3])
    return shown if len(ids_) <= 3 else f"{shown} and {len(ids_) - 3} more"
