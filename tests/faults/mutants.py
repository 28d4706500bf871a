"""Faults of ours, put into a process when it is started: the harness has to find each of them."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import replace
from typing import Any

import graph.context
import worker.deletions
import worker.looks
import worker.verification
from graph.idempotency import Repeatable
from models import answers, batches, database, files, writes
from models.pages import Scope
from storage.client import Storage
from storage.proof import Finding, Verdict


def complete_without_proof() -> None:
    async def believe(_: Storage, claims: Sequence[Any], **__: object) -> list[Verdict]:
        return [Verdict.RIGHT for _ in claims]

    async def find(_: Storage, claims: Sequence[Any], **__: object) -> list[Finding]:
        return [Finding(Verdict.RIGHT) for _ in claims]

    graph.context.examine = find  # type: ignore[attr-defined, assignment]
    for module in (worker.looks, worker.verification):
        module.prove = believe  # type: ignore[attr-defined]


def bytes_before_commit() -> None:
    """The bytes of objects go first, and then the rows."""
    original = writes.delete_objects
    storages: list[Storage] = []
    made = Storage.__init__

    def noting(self: Storage, *arguments: Any) -> None:
        made(self, *arguments)
        storages.append(self)

    async def delete(scope: Scope, object_ids: Sequence[str]) -> None:
        rows = await database.fetch(
            "SELECT bucket, key FROM uploads WHERE object_pk IN (SELECT id FROM objects WHERE object_id = ANY($1))",
            list(object_ids),
        )
        for row in rows:
            await storages[0].delete_many(row["bucket"], [row["key"]])
        await original(scope, object_ids)

    Storage.__init__ = noting  # type: ignore[method-assign, assignment]
    writes.delete_objects = delete


def rows_before_bytes() -> None:
    """A key is forgotten before its bytes are deleted."""
    original = Storage.delete_many

    async def delete(self: Storage, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        await database.execute(
            "DELETE FROM deletions WHERE bucket = $1 AND key = ANY($2) AND until_at <= now()", bucket, list(keys)
        )
        return await original(self, bucket, keys)

    Storage.delete_many = delete  # type: ignore[method-assign]


def reserve_not_given_back() -> None:
    """By what is deleted when its URL is over."""
    original = files.deleted

    async def deleted(done: Sequence[int], failed: Sequence[tuple[int, str]]) -> None:
        rows = await database.fetch(
            "SELECT tenant_id, sum(reserved_bytes)::bigint AS bytes FROM deletions WHERE id = ANY($1) GROUP BY 1",
            list(done),
        )
        await original(done, failed)
        for row in rows:
            await database.execute(
                "INSERT INTO usage_changes (tenant_id, objects, used_bytes, reserved_bytes, kept_bytes)"
                " VALUES ($1, 0, 0, 0, $2)",
                *(row["tenant_id"], row["bytes"]),
            )

    files.deleted = deleted


def two_commits_for_one_call() -> None:
    """A batch is kept before its objects are."""
    original = writes.create_batch

    async def create(tenant_id: int, user_id: int, batch_id: str, objects: Any, seen: Any) -> Any:
        made = await original(tenant_id, user_id, batch_id, [], seen)
        outer = database._whole.get()
        assert outer is not None
        await outer.stack.aclose()
        database._whole.set(replace(outer, begun=_nothing))  # the idempotency key is claimed
        return await writes.create_objects(tenant_id, user_id, made.batch, objects, seen)

    writes.create_batch = create  # type: ignore[assignment]


async def _nothing() -> None:
    pass


def answer_before_commit() -> None:
    original = writes.delete_objects
    tasks = set()

    async def delete(scope: Scope, object_ids: Sequence[str]) -> None:
        async def later() -> None:
            database._whole.set(None)
            await asyncio.sleep(0.05)
            await original(scope, object_ids)

        tasks.add(asyncio.create_task(later()))

    writes.delete_objects = delete


def answer_kept_by_itself() -> None:
    """The answer to an idempotency key is committed before what it tells of is."""

    async def claim(_: Repeatable) -> None:
        pass

    async def keep(self: Repeatable, answer: bytes) -> None:
        await asyncio.create_task(_kept(self, answer), context=Context())  # another connection's

    async def _kept(one: Repeatable, answer: bytes) -> None:
        async with database.transaction():
            if await answers.claim(one._place, one._request_sha256):
                await answers.keep(one._place, one._seal(answer))

    Repeatable.claim = claim  # type: ignore[method-assign, assignment]
    Repeatable.keep = keep  # type: ignore[method-assign]


def parts_not_aborted() -> None:
    """By the deletion of the key that they were for."""

    async def abort(_: Storage, __: Sequence[Any]) -> dict[str, str]:
        return {}

    worker.deletions.abort_many = abort  # type: ignore[attr-defined, assignment]


def seal_not_looked_at() -> None:
    async def keep_open(*_: object, **__: object) -> None:
        pass

    batches.keep_open = keep_open


MUTANTS: dict[str, Callable[[], None]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        complete_without_proof,
        bytes_before_commit,
        rows_before_bytes,
        reserve_not_given_back,
        two_commits_for_one_call,
        answer_before_commit,
        answer_kept_by_itself,
        parts_not_aborted,
        seal_not_looked_at,
    )
}
