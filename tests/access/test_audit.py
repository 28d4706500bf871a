"""The audit log: each thing done is one entry in the tenant it was done in, kept with what it records or not at all."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from graph.types.node import global_id
from models import AccessLevel, Action, KeyScope, Role, audit, database
from models.audit import Actor, Entry
from tests.access.test_grants import GRANT, REVOKE, admin, id_of, member
from tests.access.test_keys import CREATE, ROTATE, at, public
from tests.access.test_keys import REVOKE as REVOKE_KEY
from tests.access.test_people import CREATE_USER, REVOKE_USER, UPDATE_USER
from tests.access.test_scopes import with_scope
from tests.conftest import Caller, NewCaller
from tests.models.conftest import observing, until
from tests.statements import count_statements
from tests.uploads import CREATE_BATCH, CREATE_UPLOADS, announced, file_of

__all__ = ["admin", "member"]  # fixtures

LOG = """query($where: AuditWhere, $first: Int, $after: String) {
  auditLog(where: $where, first: $first, after: $after) {
  totalCount pageInfo { endCursor } nodes { id at action user { name } byOperator keyId batchId objectId uploadId until
    details { key value } } } }"""
NAMES = "{ auditLog(first: 100) { nodes { action user { name } details { key value } } } }"
PAGE = "{ objects(first: 100) { nodes { file { access { url } } } } }"
UPDATE_TENANT = "mutation { updateTenant(input: {memberAccess: VIEW}) { tenant { memberAccess } } }"
READ = 'query($in: Int) { object(objectId: "f0") { file { access(expiresIn: $in) { url expiresAt } } } }'
WAITING = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def log(caller: Caller, **where: object) -> list[Any]:
    return list((await caller.execute(LOG, where=where, first=100))["auditLog"]["nodes"])


async def actions(caller: Caller, **where: object) -> list[str]:
    return [entry["action"] for entry in await log(caller, **where)]


async def with_complete_files(caller: Caller, count: int) -> list[Any]:
    """In a batch "files": f0, f1, ... Nobody's bytes are asked for here."""
    objects = [{"objectId": f"f{number}", "file": file_of(b"x")} for number in range(count)]
    made = """mutation($input: CreateBatchInput!) { createBatch(input: $input) { uploads { id } } }"""
    data = await caller.execute(made, input={"batchId": "files", "objects": objects})
    await database.execute(
        "UPDATE uploads SET state = 'COMPLETE', completed_at = now() WHERE tenant_id = $1", caller.tenant.id
    )
    return list(data["createBatch"]["uploads"])


async def test_url_to_read_says_who_what_and_until_when(admin: Caller) -> None:
    [upload] = await with_complete_files(admin, 1)
    assert await actions(admin, objectId="f0") == []
    access = (await admin.execute(READ, **{"in": 60}))["object"]["file"]["access"]
    [entry] = await log(admin, objectId="f0")
    assert at(entry["until"]) - at(entry["at"]) <= timedelta(seconds=60)
    del entry["id"], entry["at"]
    assert entry == {
        "action": "READ_URL",
        "user": {"name": admin.user.name},
        "byOperator": False,
        "keyId": public(admin.key),
        "batchId": "files",
        "objectId": "f0",
        "uploadId": upload["id"],
        "until": access["expiresAt"],
        "details": [],
    }


async def test_url_to_write_is_recorded_wherever_it_is_given_out(admin: Caller) -> None:
    files = [{"objectId": name, "file": file_of(b"x")} for name in ("new", "other")]
    [upload, _] = (await admin.execute(CREATE_BATCH, input={"batchId": "w", "objects": files}))["createBatch"][
        "uploads"
    ]
    made = "mutation($input: CreateObjectsInput!) { createObjects(input: $input) { uploads { url } } }"
    await admin.execute(made, input={"batchId": "w", "objects": [{"objectId": "third", "file": file_of(b"x")}]})
    assert [one["objectId"] for one in await log(admin, batchId="w")] == ["third", "other", "new"]
    found = (await admin.execute(CREATE_UPLOADS, files=[{"objectId": "new", "file": file_of(b"xy")}]))["createUploads"]
    replacing = """mutation($f: [ObjectFileInput!]!) { createUploads(input: {files: $f}) {
      uploads { url object { file { name } } } } }"""
    await admin.execute(
        replacing,
        f=[{"objectId": "other", "file": file_of(b"xy")}],
    )
    again = "query($id: ID!) { node(id: $id) { ... on Upload { url expiresAt } } }"
    node = (await admin.execute(again, id=found["uploads"][0]["id"]))["node"]
    complete = "mutation($id: ID!) { completeUploads(input: {uploadIds: [$id]}) { results { upload { url } } } }"
    await admin.execute(complete, id=found["uploads"][0]["id"])
    entries = await log(admin, batchId="w")
    assert [one["objectId"] for one in entries] == ["new", "new", "other", "new", "third", "other", "new"]
    assert {one["action"] for one in entries} == {"WRITE_URL"}
    assert entries[-1]["uploadId"] == upload["id"]
    assert at(entries[0]["until"]) == at(node["expiresAt"]).replace(microsecond=0)


async def test_url_that_is_not_asked_for_is_not_recorded(admin: Caller) -> None:
    await with_complete_files(admin, 1)
    await admin.execute('{ object(objectId: "f0") { file { name state } } }')
    assert await actions(admin, batchId="files") == []


async def test_same_url_twice_in_a_request_is_one_entry_and_others_are_their_own(admin: Caller) -> None:
    await with_complete_files(admin, 1)
    query = """{ object(objectId: "f0") { file { a: access(expiresIn: 60) { url } b: access(expiresIn: 60) { url }
      c: access(expiresIn: 3600) { url } d: access(expiresIn: 86400, disposition: INLINE) { url } } } }"""
    await admin.execute(query)
    assert 3 <= len(await log(admin, objectId="f0")) <= 4  # the second may end between a and b


async def test_page_of_100_urls_takes_one_statement_more_and_none_without_urls(admin: Caller) -> None:
    await with_complete_files(admin, 100)
    without, _ = await count_statements(admin, "{ objects(first: 100) { nodes { file { name } } } }")
    with_urls, _ = await count_statements(admin, PAGE)
    assert (without, with_urls) == (1, 2)
    assert await actions(admin, batchId="files") == ["READ_URL"] * 100


async def test_mutation_that_gives_urls_takes_one_statement_more(admin: Caller) -> None:
    def files(batch: str) -> Any:
        return {"batchId": batch, "objects": [{"objectId": f"{batch}{n}", "file": file_of(b"x")} for n in range(50)]}

    made = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { uploads { %s } } }"
    without, _ = await count_statements(admin, made % "id", input=files("p"))
    with_urls, _ = await count_statements(admin, made % "url headers { name }", input=files("q"))
    assert with_urls == without + 1
    assert len(await log(admin, batchId="q")) == 50


async def test_url_of_a_long_list_is_one_entry_however_often_it_stands_in_the_answer(admin: Caller) -> None:
    """Entries are written while the rest of the list is completed."""
    objects = [{"objectId": f"l{number}", "file": file_of(b"x")} for number in range(1_100)]
    made = (
        "mutation($input: CreateBatchInput!) { createBatch(input: $input) { a: uploads { url } b: uploads { url } } }"
    )
    await admin.execute(made, input={"batchId": "long", "objects": objects})
    written = "SELECT object_id FROM audit_log WHERE tenant_id = $1 AND action = 'WRITE_URL'"
    rows = await database.fetch(written, admin.tenant.id)
    assert sorted(row["object_id"] for row in rows) == sorted(f"l{number}" for number in range(1_100))


async def test_no_page_is_answered_before_its_urls_are_written_down(admin: Caller, database_url: str) -> None:
    await with_complete_files(admin, 3)
    async with observing(database_url) as locker:
        async with locker.transaction():
            await locker.execute("LOCK TABLE audit_log IN SHARE MODE")
            asked = asyncio.create_task(admin.post(PAGE))
            await until(lambda: locker.fetch(WAITING))
            assert not asked.done()
        answer = await asked
    assert answer.text.count("http://") == 3
    assert await actions(admin, batchId="files") == ["READ_URL"] * 3


async def test_undone_mutation_leaves_no_entry_and_the_ones_before_it_keep_theirs(admin: Caller) -> None:
    operation = """mutation($a: CreateBatchInput!, $b: CreateBatchInput!) {
      a: createBatch(input: $a) { uploads { url } }
      b: createBatch(input: $b) { uploads { url } batch { objects(first: 1000) { totalCount } } } }"""

    def batch(name: str) -> Any:
        return {"batchId": name, "objects": [{"objectId": name, "file": file_of(b"x")}]}

    assert await admin.refused(operation, a=batch("kept"), b=batch("undone")) == "BAD_INPUT"
    assert await actions(admin, batchId="kept") == ["WRITE_URL"]
    assert await actions(admin, batchId="undone") == []
    undone = CREATE_USER[:-1] + ' x: deleteBatch(input: {batchId: "none"}) { deletedBatchId } }'
    assert await admin.refused(undone, name="kept") == "NOT_FOUND"
    assert await actions(admin, actions=["USER_CREATED"]) == ["USER_CREATED"]


async def test_mutation_that_fails_when_it_is_committed_leaves_no_entry(admin: Caller) -> None:
    await database.execute("UPDATE tenants SET quota_bytes = 0 WHERE id = $1", admin.tenant.id)
    files = [{"objectId": "o1", "file": file_of(b"x")}]
    assert await admin.refused(CREATE_BATCH, input={"batchId": "w", "objects": files}) == "QUOTA_EXCEEDED"
    assert await actions(admin, batchId="w") == []


@pytest.mark.parametrize("operation", [PAGE, "mutation"])
async def test_url_that_cannot_be_recorded_is_not_given_out(
    admin: Caller, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_complete_files(admin, 2)
    variables: dict[str, Any] = {}
    if operation == "mutation":
        operation = CREATE_UPLOADS
        variables = {"files": [{"objectId": "f0", "file": file_of(b"other")}]}
    execute = database.execute

    async def failing(sql: str, *arguments: object) -> int:
        if sql.startswith("INSERT INTO audit_log"):
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return await execute(sql, *arguments)

    monkeypatch.setattr(database, "execute", failing)
    answer = await admin.post(operation, **variables)
    monkeypatch.undo()
    assert answer.status_code == 503
    [error] = answer.json()["errors"]
    assert error["extensions"]["code"] == "UNAVAILABLE"
    assert "http://" not in answer.text
    assert await actions(admin, batchId="files") == []
    uploads = await database.fetch("SELECT FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    assert len(uploads) == 2  # what the mutation announced is undone


async def test_each_change_is_one_entry_with_what_was_changed(admin: Caller) -> None:
    ada = (await admin.execute(CREATE_USER, name="ada", role="MEMBER"))["createUser"]["user"]["id"]
    await admin.execute(UPDATE_USER, id=ada, role="ADMIN")
    await admin.execute(GRANT, user=ada, level="EDIT", object="o")
    await admin.execute(GRANT, user=ada, level="VIEW", batch="b")
    await admin.execute(REVOKE, user=ada, batch="b")
    await admin.execute(UPDATE_TENANT)
    made = (await admin.execute(CREATE, name="ci", scope="WRITE", userName="ada"))["createKey"]["key"]["keyId"]
    new = (await admin.execute(ROTATE, keyId=made))["rotateKey"]["key"]["keyId"]
    await admin.execute(REVOKE_KEY, keyId=made)
    await admin.execute(REVOKE_USER, id=ada)
    key = {"keyId": made, "name": "ci", "scope": "WRITE", "userName": "ada"}
    entries = await log(admin, userId=id_of(admin))
    assert [
        (one["action"], one["batchId"], one["objectId"], {each["key"]: each["value"] for each in one["details"]})
        for one in reversed(entries)
    ] == [
        ("USER_CREATED", None, None, {"userName": "ada", "role": "MEMBER"}),
        ("USER_CHANGED", None, None, {"userName": "ada", "role": "ADMIN"}),
        ("GRANT_GIVEN", "b", "o", {"userName": "ada", "level": "EDIT"}),
        ("GRANT_GIVEN", "b", None, {"userName": "ada", "level": "VIEW"}),
        ("GRANT_TAKEN", "b", None, {"userName": "ada", "level": "VIEW"}),
        ("TENANT_CHANGED", None, None, {"memberAccess": "VIEW"}),
        ("KEY_CREATED", None, None, key),
        ("KEY_ROTATED", None, None, key | {"newKeyId": new}),
        ("KEY_REVOKED", None, None, key),
        ("USER_REVOKED", None, None, {"userName": "ada"}),
    ]
    assert {(one["user"]["name"], one["keyId"]) for one in entries} == {(admin.user.name, public(admin.key))}


async def test_change_that_is_refused_leaves_no_entry(admin: Caller, member: Caller) -> None:
    before = await log(admin)
    await member.refused(CREATE_USER, name="eve")
    await admin.refused(CREATE_USER, name=member.user.name)
    await admin.refused(UPDATE_USER, id=id_of(admin), role="MEMBER")
    await admin.refused(REVOKE, user=id_of(member), batch="b")
    await admin.refused(REVOKE_KEY, keyId="none")
    assert await log(admin) == before


async def test_log_outlives_what_it_is_about(admin: Caller) -> None:
    await with_complete_files(admin, 1)
    await admin.execute(READ)
    await admin.execute('mutation { deleteBatch(input: {batchId: "files", cascade: true}) { deletedBatchId } }')
    assert await actions(admin, objectId="f0", batchId="files") == ["READ_URL"]


async def test_only_admins_with_an_admin_key_read_the_log(admin: Caller, new_caller: NewCaller) -> None:
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    assert (await member.error(NAMES))["extensions"] == {"code": "FORBIDDEN", "required": "ADMIN"}
    reader = await with_scope(admin, KeyScope.WRITE)
    error = await reader.error(NAMES)
    assert (error["extensions"]["code"], error["extensions"]["requiredScope"]) == ("FORBIDDEN", "ADMIN")
    [entry, *_] = await log(admin)
    node = "query($id: ID!) { node(id: $id) { ... on AuditEntry { action } } }"
    assert (await admin.execute(node, id=entry["id"]))["node"] == {"action": entry["action"]}
    for other in (member, reader, await new_caller()):
        assert await other.refused(node, id=entry["id"]) == "NOT_FOUND"


async def test_entries_of_other_tenants_and_of_none_never_show(admin: Caller, new_caller: NewCaller) -> None:
    stranger = await new_caller()
    await announced(stranger, b"x", "o")
    await audit.record(Actor(None, operator_id=7), Entry(Action.OPERATOR_CREATED, object_id="o"))
    for where in ({}, {"objectId": "o"}, {"actions": ["WRITE_URL", "OPERATOR_CREATED"]}, {"userId": id_of(stranger)}):
        assert {one["action"] for one in await log(admin, **where)} <= {"KEY_CREATED"}
    assert await actions(admin, userId=id_of(stranger)) == []
    assert await actions(stranger, objectId="o") == ["WRITE_URL"]


async def test_what_an_operator_did_to_the_tenant_is_seen_by_its_admins(admin: Caller) -> None:
    await audit.record(Actor(admin.tenant.id, admin.user.id, 7, "key"), Entry(Action.OPERATOR_ACTED))
    [entry] = await log(admin, actions=["OPERATOR_ACTED"])
    assert (entry["byOperator"], entry["user"], entry["keyId"]) == (True, {"name": admin.user.name}, "key")


async def test_filters_and_cursors(admin: Caller) -> None:
    await with_complete_files(admin, 3)
    await admin.execute(PAGE)
    await asyncio.sleep(0.002)
    await admin.execute(CREATE_USER, name="ada")
    user, *urls = await log(admin)
    assert user["action"] == "USER_CREATED"
    assert await log(admin, after=urls[0]["at"]) == [user]
    assert await log(admin, before=user["at"]) == urls
    assert await actions(admin, actions=[]) == []
    assert await actions(admin, actions=["READ_URL", "USER_CREATED"], batchId="files") == ["READ_URL"] * 3
    assert await actions(admin, actions=["READ_URL", "USER_CREATED", "READ_URL"]) == ["USER_CREATED", *["READ_URL"] * 3]
    assert [one["objectId"] for one in await log(admin, objectId="f1")] == ["f1"]
    assert await admin.refused(LOG, where={"userId": global_id("Batch", 1)}) == "BAD_INPUT"
    for where in ({}, {"actions": ["USER_CREATED", "READ_URL", "KEY_CREATED"]}):
        whole, after = await log(admin, **where), None
        seen: list[Any] = []
        while len(seen) < len(whole):
            page = (await admin.execute(LOG, where=where, first=2, after=after))["auditLog"]
            assert page["totalCount"] == len(whole)
            seen += page["nodes"]
            after = page["pageInfo"]["endCursor"]
        assert seen == whole


async def test_page_of_the_log_is_one_statement_and_one_for_its_users(admin: Caller) -> None:
    await with_complete_files(admin, 20)
    await admin.execute(PAGE)
    number, data = await count_statements(admin, NAMES)
    assert len(data["auditLog"]["nodes"]) > 20
    assert number == 2


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET action = 'READ_URL'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
async def test_log_is_only_added_to(admin: Caller, statement: str) -> None:
    before = await log(admin)
    assert before
    with pytest.raises(asyncpg.RaiseError, match="only ever added to"):
        await database.fetch(statement)
    assert await log(admin) == before


async def test_whoever_owns_the_table_prunes_it_as_the_readme_says(admin: Caller) -> None:
    await audit.record(Actor(admin.tenant.id), Entry(Action.TENANT_CHANGED))
    async with database.transaction():
        await database.fetch("ALTER TABLE audit_log DISABLE TRIGGER audit_log_keep")
        assert await database.execute("DELETE FROM audit_log WHERE tenant_id = $1", admin.tenant.id) > 0
        await database.fetch("ALTER TABLE audit_log ENABLE TRIGGER audit_log_keep")
    with pytest.raises(asyncpg.RaiseError):
        await database.fetch("DELETE FROM audit_log")


async def test_member_who_signs_is_named(admin: Caller, member: Caller) -> None:
    await with_complete_files(admin, 1)
    await admin.execute(GRANT, user=id_of(member), level=AccessLevel.VIEW, object="f0")
    await member.execute(READ)
    entries = await log(admin, userId=id_of(member))
    assert [(one["action"], one["objectId"]) for one in entries] == [("READ_URL", "f0")]
