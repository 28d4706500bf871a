"""What an object's pending upload is, with a real S3 server, and for whom."""

from models import AccessLevel, KeyScope, Role
from tests.access.test_grants import grant
from tests.access.test_scopes import with_scope
from tests.conftest import Caller, NewCaller
from tests.graph.test_parts import BODY, PENDING, _small_parts, complete, send
from tests.statements import count_statements
from tests.uploads import CREATE_UPLOADS, again, announced, file_of

__all__ = ["_small_parts"]


async def test_broken_off_upload_is_found_and_goes_on_with_what_is_missing(admin: Caller) -> None:
    upload = await announced(admin, BODY, proved=False)
    await send(admin, upload, 2)
    pending = (await admin.execute(PENDING, id="o"))["object"]["pendingUpload"]
    assert pending["id"] == upload["id"]
    assert [part["etag"] is None for part in pending["parts"]["nodes"]] == [True, False]
    assert await complete(admin, pending) == ("PENDING", "FILE_MISSING", [1])
    await send(admin, pending, 1)
    assert await complete(admin, pending) == ("COMPLETE", None, [])
    assert (await admin.execute(PENDING, id="o"))["object"]["pendingUpload"] is None


async def test_pending_uploads_of_a_page_are_two_statements_more_however_many(new_caller: NewCaller) -> None:
    admin = await new_caller()
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    await admin.create_batch("b", {f"o{number}": [] for number in range(30)})
    await grant(admin, member, "EDIT", batch="b")
    files = [{"objectId": f"o{number}", "file": file_of(b"")} for number in range(20)]
    await admin.execute(CREATE_UPLOADS, files=files)
    query = "{{ objects(first: 30) {{ nodes {{ objectId {} }} }} }}"
    await member.execute(query.format(""))  # what is asked before a member's page is remembered
    alone, _ = await count_statements(member, query.format(""))
    statements, data = await count_statements(member, query.format("pendingUpload { id }"))
    assert statements == alone + 2
    found = {one["objectId"]: one["pendingUpload"] for one in data["objects"]["nodes"]}
    assert [number for number in range(30) if found[f"o{number}"]] == list(range(20))


async def test_pending_upload_is_for_those_who_may_change_the_object(new_caller: NewCaller) -> None:
    owner = await new_caller(member_access=AccessLevel.VIEW)
    old = await announced(owner, b"hello")
    new = await again(owner, b"hello")
    query = 'query { object(objectId: "o") { objectId pendingUpload { id } } }'
    assert (await owner.execute(query))["object"]["pendingUpload"] == {"id": new["id"]} != {"id": old["id"]}
    reader = await new_caller(owner.tenant, role=Role.MEMBER)
    reading = await with_scope(owner, KeyScope.READ)
    for caller in (reader, reading):
        assert (await caller.execute(query))["object"]["pendingUpload"] is None
    await grant(owner, reader, "EDIT", object="o")
    assert (await reader.execute(query))["object"]["pendingUpload"] == {"id": new["id"]}
