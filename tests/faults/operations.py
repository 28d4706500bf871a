"""What clients ask for, each operation a function in ``OPERATIONS`` with how often it is chosen."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from tests.faults.client import Answer, Client
from tests.faults.ledger import Batch, Call, Object, Said, Thing, Write
from tests.faults.sending import complete, new_body, send_all, told, uploads_of
from tests.uploads import file_of

Operation: TypeAlias = Callable[[Client], Awaitable[None]]

_UPLOADS = "uploads { id url headers { name value } partCount object { objectId } }"
CREATE_BATCH = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { " + _UPLOADS + " } }"
CREATE_OBJECTS = "mutation($input: CreateObjectsInput!) { createObjects(input: $input) { " + _UPLOADS + " } }"
CREATE_UPLOADS = "mutation($input: CreateUploadsInput!) { createUploads(input: $input) { " + _UPLOADS + " } }"
ABORT = """mutation($input: AbortUploadsInput!) { abortUploads(input: $input) {
  results { uploadId state problem } } }"""
SEAL = "mutation($input: SealBatchInput!) { sealBatch(input: $input) { batch { digest } } }"
UPDATE = "mutation($input: UpdateObjectDataInput!) { updateObjectData(input: $input) { object { id } } }"
DELETE_OBJECTS = "mutation($input: DeleteObjectsInput!) { deleteObjects(input: $input) { deletedObjectIds } }"
DELETE_BATCH = "mutation($input: DeleteBatchInput!) { deleteBatch(input: $input) { deletedObjectCount } }"
READ = """query($id: String!) { object(objectId: $id) { data { key value } file { state } } }"""


async def create_batch(client: Client) -> None:
    batch = Batch(client.new_id("b"))
    objects = _new_objects(client, batch, client.rng.randint(0, 3))
    await _create(client, "createBatch", CREATE_BATCH, batch, [batch, *objects])


async def create_objects(client: Client) -> None:
    if batches := client.ledger.known_batches():
        batch = client.rng.choice(batches)
        await _create(client, "createObjects", CREATE_OBJECTS, batch, _new_objects(client, batch, 2))


def _new_objects(client: Client, batch: Batch, count: int) -> list[Object]:
    ids = [client.new_id("o") for _ in range(count)]
    return [Object(one, batch=batch, first=f"{client.rng.random()}") for one in ids]


async def _create(client: Client, what: str, query: str, batch: Batch, things: list[Any]) -> None:
    """Asked again until it is answered: it says ALREADY_EXISTS where it was done the first time."""
    objects = [thing for thing in things if isinstance(thing, Object)]
    bodies = {one.id: new_body(client) for one in objects if client.rng.random() < 0.7}
    given: list[dict[str, Any]] = [
        {
            "objectId": one.id,
            "data": [{"key": "first", "value": one.first}],
            "file": file_of(bodies[one.id][0], proved=bodies[one.id][1]) if one.id in bodies else None,
        }
        for one in objects
    ]
    before: list[Call] = []
    for _ in range(client.rng.choice((1, 3))):
        call = client.ledger.call(client.number, f"{what} {batch.id} {[one.id for one in objects]}")
        client.ledger.making(call, things)
        answer = await client.mutate(call, query, input={"batchId": batch.id, "objects": given})
        if answer.code == "ALREADY_EXISTS":
            if not before:
                client.ledger.violations.append(f"(4) of {call} nothing was there before")
            for earlier in before[-1:]:
                earlier.said = Said.YES
        if answer.code == "NOT_FOUND":
            client.ledger.not_there(batch, str(call))
        if answer.data is not None:
            await send_all(client, uploads_of(client, call, answer, bodies))
        if call.said is not Said.NOTHING:
            return
        before.append(call)


async def replace_file(client: Client) -> None:
    if objects := client.ledger.known_objects():
        some = client.rng.sample(objects, min(len(objects), client.rng.choice((1, 1, 2))))
        bodies = {one.id: new_body(client) for one in some}
        call = client.ledger.call(client.number, f"createUploads {list(bodies)}")
        files = [{"objectId": id_, "file": file_of(body[0], proved=body[1])} for id_, body in bodies.items()]
        answer = await client.mutate(call, CREATE_UPLOADS, input={"files": files})
        _told(client, call, answer, some)
        if answer.data is not None:
            await send_all(client, uploads_of(client, call, answer, bodies))


async def complete_again(client: Client) -> None:
    """Of uploads that any client has: twice, too late, or before there is anything."""
    if uploads := list(client.ledger.uploads.values()):
        await complete(client, client.rng.sample(uploads, min(len(uploads), 2)))


async def abort(client: Client) -> None:
    """One of any client's newest uploads, half of which are still under way."""
    if uploads := list(client.ledger.uploads.values())[-5:]:
        some = client.rng.sample(uploads, min(len(uploads), client.rng.choice((1, 2))))
        call = client.ledger.call(client.number, f"abortUploads {[one.id for one in some]}")
        told(client, call, some, await client.mutate(call, ABORT, input={"uploadIds": [one.id for one in some]}))


async def seal(client: Client) -> None:
    """Once its files are complete, as far as anybody knows."""
    if batches := client.ledger.known_batches():
        batch = client.rng.choice(batches)
        if waiting := [one.uploads[-1] for one in batch.objects if one.is_known and one.uploads]:
            await complete(client, waiting)
        call = client.ledger.call(client.number, f"sealBatch {batch.id}")
        batch.seals.append(call)
        answer = await client.mutate(call, SEAL, input={"batchId": batch.id})
        _told(client, call, answer, [batch])
        if answer.data is not None:
            batch.digests.add(answer.data["batch"]["digest"])


async def repeat(client: Client) -> None:
    if client.ledger.answered:
        await client.repeat(client.rng.choice(client.ledger.answered))


async def update_data(client: Client) -> None:
    """The client's own key of any object."""
    if objects := client.ledger.known_objects():
        one = client.rng.choice(objects)
        key, value = f"client-{client.number}", f"{client.rng.random()}"
        call = client.ledger.call(client.number, f"updateObjectData {one.id} {value}")
        one.writes[key].append(Write(call, value))
        change = {"objectId": one.id, "set": [{"key": key, "value": value}]}
        _told(client, call, await client.mutate(call, UPDATE, input=change), [one])


async def delete_objects(client: Client) -> None:
    if objects := client.ledger.known_objects():
        some = client.rng.sample(objects, min(len(objects), client.rng.choice((1, 2))))
        call = client.ledger.call(client.number, f"deleteObjects {[one.id for one in some]}")
        client.ledger.deleting(call, some)
        answer = await client.mutate(call, DELETE_OBJECTS, input={"objectIds": [one.id for one in some]})
        _told(client, call, answer, some)


async def delete_batch(client: Client) -> None:
    if batches := client.ledger.known_batches():
        batch = client.rng.choice(batches)
        cascade = client.rng.random() < 0.7
        call = client.ledger.call(client.number, f"deleteBatch {batch.id} cascade={cascade}")
        client.ledger.deleting(call, [batch])
        answer = await client.mutate(call, DELETE_BATCH, input={"batchId": batch.id, "cascade": cascade})
        _told(client, call, answer, [batch])


async def read(client: Client) -> None:
    """An object, which is as it was answered; only this client changes its key meanwhile."""
    if objects := list(client.ledger.objects.values()):
        one = client.rng.choice(objects)
        key = f"client-{client.number}"
        absent = not one.may_exist  # before it is asked: others go on meanwhile
        answer = await client.query(READ, id=one.id)
        found = answer.data and answer.data.get("data")
        if found is None:
            client.ledger.not_there(one, "read")
            return
        if absent:
            client.ledger.there(one, "read")
        data = {pair["key"]: pair["value"] for pair in found}
        if data.get(key) not in one.values(key):
            client.ledger.violations.append(f"(4) {one.id} has {data} and not {one.values(key)}")


OPERATIONS: dict[Operation, int] = {
    create_batch: 5,
    create_objects: 3,
    replace_file: 4,
    complete_again: 3,
    abort: 2,
    seal: 2,
    repeat: 3,
    update_data: 4,
    delete_objects: 2,
    delete_batch: 2,
    read: 3,
}


def _told(client: Client, call: Call, answer: Answer, things: list[Any]) -> None:
    """What a refusal says of the things that the call was about."""
    if answer.code == "NOT_FOUND":
        missing = answer.extensions.get("objectIds")
        named: list[Thing] = [one for one in things if len(things) == 1 or one.id in (missing or ())]
        for one in named:
            client.ledger.not_there(one, str(call))
