"""Batches of files: all uploads from one call, and how far they are."""

from typing import Any

from models import Role, database, files
from tests.access.test_grants import grant
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements
from tests.uploads import CREATE_BATCH, again, announced, completed, file_of, forget, put, stored

FILES = """query($id: String!) { batch(batchId: $id) { state
  progress { files complete pending expired bytes completeBytes } } }"""
PAGE = "{ batches(first: 100) { nodes { batchId state progress { files } sealedAt sealedBy { name } digest } } }"


async def state_of(caller: Caller, batch_id: str = "batch of o") -> tuple[str, dict[str, int]]:
    """And what is counted, without zeros."""
    batch = (await caller.execute(FILES, id=batch_id))["batch"]
    return batch["state"], {name: count for name, count in batch["progress"].items() if count}


async def upload_keys(caller: Caller) -> list[int]:
    rows = await database.fetch("SELECT id FROM uploads WHERE tenant_id = $1 ORDER BY id", caller.tenant.id)
    return [row["id"] for row in rows]


async def test_one_call_gives_the_uploads_of_thousands_of_objects_in_their_order(admin: Caller) -> None:
    def given(count: int) -> Any:
        every = [{"objectId": f"{count}-{n}"} | ({} if n % 3 else {"file": file_of(b"x" * n)}) for n in range(count)]
        return {"batchId": f"b{count}", "objects": every}

    few, _ = await count_statements(admin, CREATE_BATCH, input=given(3))
    many, data = await count_statements(admin, CREATE_BATCH, input=given(3_000))
    assert many == few + 1  # what was signed is written down in portions, while the rest is completed
    uploads = data["createBatch"]["uploads"]
    assert [upload["object"]["objectId"] for upload in uploads] == [f"3000-{n}" for n in range(0, 3_000, 3)]
    assert len({upload["url"] for upload in uploads}) == len({upload["id"] for upload in uploads}) == 1_000
    assert await put(uploads[7], b"x" * 21) == 200
    assert await completed(admin, uploads[7]) == [("COMPLETE", None)]
    assert await state_of(admin, "b3000") == (
        "UPLOADING",
        {"files": 1_000, "complete": 1, "pending": 999, "bytes": sum(range(0, 3_000, 3)), "completeBytes": 21},
    )
    await forget(admin)


async def test_state_follows_the_files(admin: Caller) -> None:
    await admin.create_batch("none", {"without a file": []})
    assert await state_of(admin, "none") == ("OPEN", {})
    upload = await announced(admin, b"hello")
    assert await state_of(admin) == ("UPLOADING", {"files": 1, "pending": 1, "bytes": 5})
    await put(upload, b"hello")
    await completed(admin, upload)
    complete = ("COMPLETE", {"files": 1, "complete": 1, "bytes": 5, "completeBytes": 5})
    assert await state_of(admin) == complete
    # What is to replace it does not count before it is complete.
    new = await again(admin, b"hello, world")
    assert await state_of(admin) == complete
    await put(new, b"hello, world")
    await completed(admin, new)
    assert await state_of(admin) == ("COMPLETE", {"files": 1, "complete": 1, "bytes": 12, "completeBytes": 12})


async def test_file_being_proved_is_under_way_and_one_given_up_leaves_the_batch_open(admin: Caller) -> None:
    await announced(admin, b"hello")
    keys = await upload_keys(admin)
    await files.settle(admin.tenant.id, [], keys)
    assert await state_of(admin) == ("UPLOADING", {"files": 1, "pending": 1, "bytes": 5})
    await files.give_up(keys, "CHECKSUM_MISMATCH")
    assert await state_of(admin) == ("OPEN", {"files": 1, "expired": 1, "bytes": 5})
    await again(admin, b"again")
    assert await state_of(admin) == ("UPLOADING", {"files": 1, "pending": 1, "bytes": 5})
    await forget(admin)


async def test_who_sees_single_objects_learns_of_their_files_only(admin: Caller, new_caller: NewCaller) -> None:
    await stored(admin, b"hello")
    create = """mutation($id: String!, $file: FileInput!) {
      createObjects(input: {batchId: "batch of o", objects: [{objectId: $id, file: $file}]}) { uploads { id } } }"""
    await admin.execute(create, id="hidden", file=file_of(b"hidden"))
    one = await new_caller(admin.tenant, role=Role.MEMBER)
    await grant(admin, one, "VIEW", object="o")
    assert await state_of(one) == ("COMPLETE", {"files": 1, "complete": 1, "bytes": 5, "completeBytes": 5})
    whole = await new_caller(admin.tenant, role=Role.MEMBER)
    await grant(admin, whole, "VIEW", batch="batch of o")
    assert await state_of(whole) == await state_of(admin)
    assert (await state_of(whole))[0] == "UPLOADING"
    await forget(admin)


async def test_digest_is_for_those_who_see_the_whole_batch(admin: Caller, new_caller: NewCaller) -> None:
    await admin.create_batch("b", {"o": [], "hidden": [("secret", "7")]})
    seal = 'mutation { sealBatch(input: {batchId: "b"}) { batch { sealedAt digest } } }'
    sealed = (await admin.execute(seal))["sealBatch"]["batch"]
    single, whole = [await new_caller(admin.tenant, role=Role.MEMBER) for _ in range(2)]
    await grant(admin, single, "ADMIN", object="o")
    await grant(admin, whole, "VIEW", batch="b")
    query = '{ batch(batchId: "b") { sealedAt digest } }'
    assert (await single.execute(query))["batch"] == {"sealedAt": sealed["sealedAt"], "digest": None}
    assert (await whole.execute(query))["batch"] == sealed


async def test_page_of_batches_takes_one_statement_for_the_state_and_one_for_progress(admin: Caller) -> None:
    await admin.create_batch("b0")
    one, _ = await count_statements(admin, PAGE)
    for number in range(1, 12):
        await admin.create_batch(f"b{number}", {f"o{number}": []})
    several, data = await count_statements(admin, PAGE)
    assert (one, several) == (3, 3)
    assert [batch["batchId"] for batch in data["batches"]["nodes"]] == [f"b{number}" for number in reversed(range(12))]
    assert {batch["state"] for batch in data["batches"]["nodes"]} == {"OPEN"}
