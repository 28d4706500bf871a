"""A sealed batch is what its digest says, whoever changes it at the same moment, and stays so."""

import asyncio
import contextvars
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from models import database, files, notices, sealing, writes
from models.notices import Notice
from models.pages import Scope
from models.writes import Made, NewObject
from storage.client import Storage
from tests.access.test_audit import log
from tests.access.test_matrix import CALLERS, TABLE, World, fields, world
from tests.conftest import Caller, NewCaller
from tests.graph.test_batch_files import state_of, upload_keys
from tests.graph.test_mutations import CREATE_OBJECTS, DELETE_BATCH, DELETE_OBJECTS, UPDATE, contents, pairs
from tests.models.conftest import observing, until
from tests.syncs import REQUEST, copied, failed, file, new_source, requested
from tests.uploads import CREATE_UPLOADS, again, announced, completed, content, file_of, forget, put, stored
from worker import work

T = TypeVar("T")

SEAL = """mutation($id: String!) { sealBatch(input: {batchId: $id}) {
  batch { batchId sealedAt sealedBy { name } digest state } } }"""
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

# Mutations that change nothing in a batch; all others are refused for a sealed one.
APART = {
    "createBatch", "deleteBatch", "sealBatch", "completeUploads", "abortUploads", "grantAccess", "revokeAccess",
    "createKey", "rotateKey", "revokeKey", "createUser", "updateUser", "revokeUser", "updateTenant", "createTenant",
    "suspendTenant", "resumeTenant", "setQuotas", "retrySync", "createSyncSource", "rotateSyncSource",
    "updateSyncSource", "checkSyncSource",
}  # fmt: skip
CHANGES = [name for name in fields("Mutation") if name.partition(".")[2] not in APART]


async def seal(caller: Caller, batch_id: str = "b") -> Any:
    return (await caller.execute(SEAL, id=batch_id))["sealBatch"]["batch"]


async def expected(caller: Caller, batch_id: str = "b") -> str:
    """The digest of what is in the tables, by other means."""
    rows = await database.fetch(
        "SELECT o.object_id, o.data, u.id, u.name, u.content_type, u.size_bytes, u.sha256 FROM objects o"
        " LEFT JOIN uploads u ON u.object_pk = o.id AND u.is_current"
        " WHERE o.batch_pk = (SELECT id FROM batches WHERE tenant_id = $1 AND batch_id = $2)",
        *(caller.tenant.id, batch_id),
    )
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row["object_id"].encode()):
        data = [{"key": pair["key"], "value": pair["value"]} for pair in json.loads(row["data"])]
        name, type_, size, sha256 = row[3:]
        file = {"contentType": type_, "name": name, "sha256": sha256 and sha256.hex(), "size": size}
        whole = {"data": data, "file": file if row["id"] else None, "objectId": row["object_id"]}
        digest.update(json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()


async def test_sealed_batch_says_since_when_by_whom_and_what_it_is(admin: Caller) -> None:
    await admin.create_batch("b", {"z": [("k", "v")], "a": [("k", "\u20ac\n\x7f\u2028\x01"), ("a", '"\\/')], "Z": []})
    sealed = await seal(admin)
    assert sealed["digest"] == await expected(admin)
    assert (sealed["batchId"], sealed["sealedBy"], sealed["state"]) == ("b", {"name": admin.user.name}, "OPEN")
    query = '{ batch(batchId: "b") { batchId sealedAt sealedBy { name } digest state } }'
    assert (await admin.execute(query))["batch"] == sealed


async def test_digest_is_of_many_and_of_large_objects_too(admin: Caller) -> None:
    large = [("k", "\u00e9" * 4_000)] * 20
    await admin.create_batch("b", {f"o{n}": large if n % 400 == 7 else [("k", f"{n}")] for n in range(1_200)})
    assert (await seal(admin))["digest"] == await expected(admin)


async def test_sealing_twice_answers_the_same_and_is_recorded_once(admin: Caller, new_caller: NewCaller) -> None:
    await admin.create_batch("b", {"o": []})
    first = await seal(admin)
    assert await seal(await new_caller(admin.tenant)) == first
    [entry] = await log(admin, batchId="b", actions=["BATCH_SEALED"])
    assert {pair["key"]: pair["value"] for pair in entry["details"]} == {"objects": "1", "digest": first["digest"]}


async def test_batch_with_nothing_in_it_has_the_digest_of_nothing(admin: Caller) -> None:
    await admin.create_batch("b")
    assert (await seal(admin))["digest"] == hashlib.sha256().hexdigest()


async def test_batch_whose_files_are_not_complete_is_not_sealed(admin: Caller) -> None:
    objects = [{"objectId": f"o{n}", "file": file_of(b"x")} for n in range(5)] + [{"objectId": "none"}]
    create = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { uploads { id } } }"
    await admin.execute(create, input={"batchId": "b", "objects": objects})
    keys = await upload_keys(admin)
    await files.settle(admin.tenant.id, keys[:1], keys[1:2])
    await files.give_up(keys[2:3], "SIZE_MISMATCH")
    before = await contents(admin)
    error = await admin.error(SEAL, id="b")
    assert error["extensions"] == {
        "code": "BATCH_NOT_COMPLETE",
        "files": 4,
        "objectIds": ["o1", "o2", "o3", "o4"],
    }
    assert error["message"].startswith('4 files are not complete, of "o1", "o2", "o3" and 1 more: ')
    assert await contents(admin) == before
    await admin.execute(DELETE_OBJECTS, ids=["o1", "o2", "o3", "o4"])
    assert (await seal(admin))["state"] == "COMPLETE"


async def sealed_world(new_caller: NewCaller) -> World:
    """The matrix's, whose batch "b" is sealed with its files."""
    one = await world(new_caller)
    keys = await upload_keys(one.owner)
    await files.settle(one.owner.tenant.id, keys)
    await seal(one.owner)
    return one


@pytest.fixture(scope="module")
def worlds() -> dict[str, World]:
    """One for all: nothing changes in it."""
    return {}


@pytest.mark.parametrize("field", CHANGES)
async def test_nothing_in_a_sealed_batch_is_changed(
    new_caller: NewCaller, worlds: dict[str, World], field: str
) -> None:
    if not worlds:
        worlds["one"] = await sealed_world(new_caller)
    one = worlds["one"]
    before, state = await contents(one.owner), await state_of(one.owner, "b")
    for caller, gets in zip(CALLERS, TABLE[field]["gets"].split(), strict=True):
        if gets == "ok":
            answer = (await one.ask(field, caller)).json()
            assert [error["extensions"] for error in answer["errors"]] == [{"code": "BATCH_SEALED", "batchIds": ["b"]}]
    assert (await contents(one.owner), await state_of(one.owner, "b")) == (before, state)


async def test_sealed_batch_can_be_granted_and_deleted_as_a_whole(new_caller: NewCaller) -> None:
    one = await sealed_world(new_caller)
    for field in ("Mutation.grantAccess", "Mutation.revokeAccess"):
        assert "errors" not in (await one.ask(field, "ADMIN")).json()
    assert await one.callers["ADMIN"].refused(DELETE_BATCH, batchId="b") == "BATCH_NOT_EMPTY"
    deleted = await one.callers["ADMIN"].execute(DELETE_BATCH, batchId="b", cascade=True)
    assert deleted["deleteBatch"] == {"deletedBatchId": "b", "deletedObjectCount": 2}


async def test_upload_that_was_to_replace_a_file_is_given_up_with_its_bytes(admin: Caller, storage: Storage) -> None:
    await stored(admin, b"old")
    new = await again(admin, b"newer")
    assert await put(new, b"newer") == 200
    sealed = await seal(admin, "batch of o")
    assert sealed["digest"] == await expected(admin, "batch of o")
    assert await completed(admin, new) == [("EXPIRED", "BATCH_SEALED")]
    assert await content(admin) == b"old"
    kept = await database.fetch(
        "SELECT state FROM uploads u WHERE u.tenant_id = $1 AND EXISTS (SELECT FROM deletions d WHERE d.key = u.key)",
        admin.tenant.id,
    )
    assert [row["state"] for row in kept] == ["EXPIRED"]
    await work.drain(storage)


async def test_earlier_announcement_that_nobody_finished_keeps_no_batch_open(admin: Caller) -> None:
    await announced(admin, b"hello")
    second = await again(admin, b"hello")
    assert await put(second, b"hello") == 200
    assert await completed(admin, second) == [("COMPLETE", None)]
    assert (await seal(admin, "batch of o"))["state"] == "COMPLETE"
    await forget(admin)


WRITES: dict[str, tuple[str, dict[str, Any]]] = {
    "createObjects": (CREATE_OBJECTS, {"input": {"batchId": "b", "objects": [{"objectId": "new"}]}}),
    "updateObjectData": (UPDATE, {"input": {"objectId": "o", "set": pairs("k=w")}}),
    "deleteObjects": (DELETE_OBJECTS, {"ids": ["p"]}),
    "createUploads": (CREATE_UPLOADS, {"files": [{"objectId": "o", "file": file_of(b"x")}]}),
}


@pytest.mark.parametrize("name", WRITES)
async def test_change_that_comes_while_the_batch_is_being_sealed_is_refused(
    admin: Caller, database_url: str, name: str
) -> None:
    made = await batch_of_two(admin)
    query, variables = WRITES[name]
    outside = contextvars.copy_context()
    async with database.transaction():
        assert await sealing.seal(admin.tenant.id, admin.user.id, made.batch["id"]) is not None
        changing = await waiting(database_url, admin.refused(query, **variables), outside)
    assert await changing == "BATCH_SEALED"
    assert (await seal(admin))["digest"] == await expected(admin)


CHANGED: dict[str, Callable[[Caller, Made], Awaitable[object]]] = {
    "object added": lambda who, made: writes.create_objects(
        who.tenant.id, who.user.id, made.batch, [NewObject("new", "[]")]
    ),
    "data changed": lambda who, made: writes.update_data(who.tenant.id, made.object_keys[0], lambda _: [], None),
    "object deleted": lambda who, _: writes.delete_objects(Scope(who.tenant.id), ["p"]),
}


@pytest.mark.parametrize("name", CHANGED)
async def test_change_that_came_before_is_waited_for_and_in_the_digest(
    admin: Caller, database_url: str, name: str
) -> None:
    made = await batch_of_two(admin)
    before = await expected(admin)
    outside = contextvars.copy_context()
    async with database.transaction():
        await CHANGED[name](admin, made)
        sealing_ = await waiting(database_url, seal(admin), outside)
    digest = (await sealing_)["digest"]
    assert digest == await expected(admin) != before


async def test_file_that_is_just_being_replaced_is_waited_for_and_in_the_digest(
    admin: Caller, database_url: str
) -> None:
    await stored(admin, b"old")
    await again(admin, b"newer")
    outside = contextvars.copy_context()
    async with database.transaction():
        await files.settle(admin.tenant.id, (await upload_keys(admin))[1:])
        sealing_ = await waiting(database_url, seal(admin, "batch of o"), outside)
    assert (await sealing_)["digest"] == await expected(admin, "batch of o")
    assert (await state_of(admin))[1]["bytes"] == 5


@pytest.mark.parametrize("name", WRITES)
async def test_change_that_waits_for_the_batch_has_locked_nothing_in_it(
    admin: Caller, database_url: str, name: str
) -> None:
    """Sealing and deleting lock the batch and then what is in it: the other way round, they would deadlock."""
    made = await batch_of_two(admin)
    query, variables = WRITES[name]
    outside = contextvars.copy_context()
    async with database.transaction():
        await database.fetch("SELECT FROM batches WHERE tenant_id = $1 FOR UPDATE", admin.tenant.id)
        changing = await waiting(database_url, admin.execute(query, **variables), outside)
        lock = "SELECT FROM objects WHERE tenant_id = $1 AND id = ANY($2::bigint[]) FOR UPDATE NOWAIT"
        assert len(await database.fetch(lock, admin.tenant.id, list(made.object_keys))) == 2
    await changing
    await forget(admin)


async def test_of_many_changes_at_once_each_is_in_the_digest_or_refused(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{n}": [("k", "v")] for n in range(30)})
    add = """mutation($id: String!) { createObjects(input: {batchId: "b", objects: [{objectId: $id}]}) {
      objects { id } } }"""
    put_ = """mutation($id: String!) { updateObjectData(input: {objectId: $id, set: [{key: "k", value: "w"}]}) {
      object { id } } }"""
    asked = [admin.post(add, id=f"new{n}") for n in range(10)] + [admin.post(put_, id=f"o{n}") for n in range(10)]
    asked += [admin.post(DELETE_OBJECTS, ids=[f"o{n}"]) for n in range(20, 30)]
    asked[15:15] = [admin.post(SEAL, id="b"), admin.post(SEAL, id="b")]
    answers = [answer.json() for answer in await asyncio.gather(*asked)]
    codes = {error["extensions"]["code"] for answer in answers for error in answer.get("errors", ())}
    assert codes <= {"BATCH_SEALED"}
    digests = {answer["data"]["sealBatch"]["batch"]["digest"] for answer in answers[15:17]}
    assert digests == {await expected(admin)}


async def batch_of_two(caller: Caller) -> Made:
    """With "o" and "p"."""
    objects = [NewObject(one, '[{"key": "k", "value": "v"}]') for one in "op"]
    return await writes.create_batch(caller.tenant.id, caller.user.id, "b", objects)


async def waiting(url: str, request: Coroutine[Any, Any, T], outside: contextvars.Context) -> "asyncio.Task[T]":
    """The request, begun outside of the present transaction, as soon as it waits for a lock."""
    task = asyncio.create_task(request, context=outside)
    async with observing(url) as observer:
        await until(lambda: observer.fetch(WAITING))
    return task


async def test_batch_whose_files_are_still_to_be_copied_is_not_sealed(admin: Caller) -> None:
    await new_source(admin)
    await admin.create_batch("b", {"without": []})
    await requested(admin, *(file(f"o{number}") for number in range(5)))
    await failed(admin, ["o4"])
    error = await admin.error(SEAL, id="b")
    objects = ["o0", "o1", "o2", "o3"]
    assert error["extensions"] == {"code": "BATCH_NOT_COMPLETE", "files": 4, "objectIds": objects}
    assert error["message"].startswith('4 files are still to be copied, of "o0", "o1", "o2" and 1 more: ')
    await copied(admin)
    sealed = await seal(admin)
    assert sealed["digest"] == await expected(admin)
    assert await admin.refused(REQUEST, source="photos", files=[file("o0", name="b.jpg")]) == "BATCH_SEALED"


async def test_copy_that_failed_is_tried_again_in_a_sealed_batch_and_changes_nothing_in_it(admin: Caller) -> None:
    await new_source(admin)
    await requested(admin)
    await failed(admin)
    digest = (await seal(admin))["digest"]
    await requested(admin)
    await copied(admin)
    assert await expected(admin) == digest


async def test_file_that_is_asked_for_while_its_batch_is_being_sealed_is_refused(
    admin: Caller, database_url: str
) -> None:
    await new_source(admin)
    made = await batch_of_two(admin)
    outside = contextvars.copy_context()
    async with database.transaction():
        assert await sealing.seal(admin.tenant.id, admin.user.id, made.batch["id"]) is not None
        asking = await waiting(database_url, admin.refused(REQUEST, source="photos", files=[file("o")]), outside)
    assert await asking == "BATCH_SEALED"


async def test_batch_of_which_a_file_has_just_been_asked_for_is_not_sealed(admin: Caller, database_url: str) -> None:
    source = await new_source(admin)
    made = await batch_of_two(admin)
    [row] = await database.fetch(
        "SELECT id FROM sync_sources WHERE tenant_id = $1 AND name = $2", admin.tenant.id, source["source"]["name"]
    )
    outside = contextvars.copy_context()
    async with database.transaction():
        await notices.request(
            admin.tenant.id, row["id"], [Notice(made.batch["batch_id"], "new", "a.jpg", "image/jpeg")]
        )
        sealing_ = await waiting(database_url, admin.refused(SEAL, id="b"), outside)
    assert await sealing_ == "BATCH_NOT_COMPLETE"


async def test_of_many_notices_and_a_seal_at_once_each_notice_is_refused_or_keeps_the_batch_open(admin: Caller) -> None:
    await new_source(admin)
    await admin.create_batch("b", {"o": []})
    asked = [admin.post(REQUEST, source="photos", files=[file(f"n{number}")]) for number in range(12)]
    asked[6:6] = [admin.post(SEAL, id="b")]
    answers = [answer.json() for answer in await asyncio.gather(*asked)]
    sealed = "errors" not in answers.pop(6)
    refused = [answer["errors"][0]["extensions"]["code"] for answer in answers if "errors" in answer]
    assert refused == (["BATCH_SEALED"] * len(answers) if sealed else [])
