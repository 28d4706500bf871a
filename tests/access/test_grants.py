"""Grants on batches and objects: who may what, who sees what, and what nobody learns."""

from typing import Any

import pytest

from graph.types.node import global_id
from models import AccessLevel, Role, database
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements
from tests.uploads import CREATE_UPLOADS, announced, content, file_of, put, stored

GRANT = """mutation($user: ID!, $level: AccessLevel!, $batch: String, $object: String) {
  grantAccess(input: {userId: $user, level: $level, batchId: $batch, objectId: $object}) {
    grant { id level user { id } grantedBy { name } batch { batchId } object { objectId } } } }"""
REVOKE = """mutation($user: ID!, $batch: String, $object: String) {
  revokeAccess(input: {userId: $user, batchId: $batch, objectId: $object}) { revokedGrantId } }"""
READ = '{ object(objectId: "o") { objectId } }'
UPDATE = 'mutation { updateObjectData(input: {objectId: "o", set: [{key: "k", value: "w"}]}) { object { id } } }'
UPLOAD = """mutation { createUploads(input: {files: [
  {objectId: "o", file: {name: "a", contentType: "a/b", size: 1}}]}) { uploads { url } } }"""
ADD = 'mutation { createObjects(input: {batchId: "b", objects: [{objectId: "new"}]}) { objects { id } } }'
DELETE = 'mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }'
DELETE_BATCH = 'mutation { deleteBatch(input: {batchId: "b", cascade: true}) { deletedBatchId } }'
LISTS = """{ objects { totalCount nodes { objectId access } } batches { totalCount nodes { batchId access
  objects { totalCount nodes { objectId } } } } dataKeys { key count } dataValues(key: "k") { value count } }"""

NOTHING, NO = "NOT_FOUND", "FORBIDDEN"
# What a member gets who has a grant of this level on the object, or on its batch, and nothing else: a code, or None.
EXPECTED: dict[str, dict[str, tuple[str | None, str | None]]] = {
    READ: {"NONE": (NOTHING, NOTHING), "VIEW": (None, None), "EDIT": (None, None), "ADMIN": (None, None)},
    UPDATE: {"NONE": (NOTHING, NOTHING), "VIEW": (NO, NO), "EDIT": (None, None), "ADMIN": (None, None)},
    UPLOAD: {"NONE": (NOTHING, NOTHING), "VIEW": (NO, NO), "EDIT": (None, None), "ADMIN": (None, None)},
    ADD: {"NONE": (NOTHING, NOTHING), "VIEW": (NO, NO), "EDIT": (NO, None), "ADMIN": (NO, None)},
    DELETE: {"NONE": (NOTHING, NOTHING), "VIEW": (NO, NO), "EDIT": (NO, NO), "ADMIN": (None, None)},
    DELETE_BATCH: {"NONE": (NOTHING, NOTHING), "VIEW": (NO, NO), "EDIT": (NO, NO), "ADMIN": (NO, None)},
}


def id_of(caller: Caller) -> str:
    return global_id("User", caller.user.id)


def ids(tenant_of: Caller, user: Caller) -> tuple[int, int]:
    return tenant_of.tenant.id, user.user.id


async def grant(by: Caller, to: Caller, level: str, **thing: str) -> Any:
    return (await by.execute(GRANT, user=id_of(to), level=level, **thing))["grantAccess"]["grant"]


@pytest.fixture
async def admin(new_caller: NewCaller) -> Caller:
    """Of a tenant whose members have access to nothing, with one object and another."""
    admin = await new_caller()
    await admin.create_batch("b", {"o": [("k", "v")], "hidden": [("k", "v"), ("secret", "x")]})
    return admin


@pytest.fixture
async def member(admin: Caller, new_caller: NewCaller) -> Caller:
    return await new_caller(admin.tenant, role=Role.MEMBER)


@pytest.mark.parametrize("level", ["NONE", "VIEW", "EDIT", "ADMIN"])
@pytest.mark.parametrize(("index", "thing"), [(0, {"object": "o"}), (1, {"batch": "b"})], ids=["object", "batch"])
async def test_grant_of_a_level_allows_this_and_no_more(
    admin: Caller, member: Caller, index: int, thing: dict[str, str], level: str
) -> None:
    if level != "NONE":
        await grant(admin, member, level, **thing)
    for operation, expected in EXPECTED.items():
        code = expected[level][index]
        answer = (await member.post(operation)).json()
        assert [error["extensions"]["code"] for error in answer.get("errors", [])] == ([code] if code else [])
        if code is None and operation == DELETE:
            return  # there is nothing left to try the rest on


@pytest.mark.parametrize("default", [AccessLevel.NONE, AccessLevel.VIEW, AccessLevel.EDIT])
@pytest.mark.parametrize("on_object", [None, "VIEW", "EDIT", "ADMIN"])
@pytest.mark.parametrize("on_batch", [None, "VIEW", "EDIT", "ADMIN"])
async def test_highest_of_tenant_batch_and_object_counts(
    new_caller: NewCaller, default: AccessLevel, on_object: str | None, on_batch: str | None
) -> None:
    admin = await new_caller(member_access=default)
    await admin.create_batch("b", {"o": []})
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    for level, thing in ((on_object, {"object": "o"}), (on_batch, {"batch": "b"})):
        if level is not None:
            await grant(admin, member, level, **thing)
    order = ["NONE", "VIEW", "EDIT", "ADMIN"]
    of_batch = max(default, on_batch or "NONE", key=order.index)
    of_object = max(of_batch, on_object or "NONE", key=order.index)
    if of_object == "NONE":
        assert await member.refused('{ object(objectId: "o") { access } }') == "NOT_FOUND"
    else:
        data = await member.execute('{ object(objectId: "o") { access batch { access } } }')
        assert data["object"] == {"access": of_object, "batch": {"access": of_batch}}


async def test_lists_show_what_is_granted_and_nothing_of_the_rest(admin: Caller, member: Caller) -> None:
    await admin.create_batch("other", {"p": [("k", "w"), ("secret", "y")]})
    nothing = {"totalCount": 0, "nodes": []}
    assert await member.execute(LISTS) == {"objects": nothing, "batches": nothing, "dataKeys": [], "dataValues": []}
    await grant(admin, member, "VIEW", object="o")
    inside = {"totalCount": 1, "nodes": [{"objectId": "o"}]}
    assert await member.execute(LISTS) == {
        "objects": {"totalCount": 1, "nodes": [{"objectId": "o", "access": "VIEW"}]},
        "batches": {"totalCount": 1, "nodes": [{"batchId": "b", "access": "NONE", "objects": inside}]},
        "dataKeys": [{"key": "k", "count": 1}],
        "dataValues": [{"value": "v", "count": 1}],
    }
    # Filters find nothing by what is hidden, in a batch that is not.
    assert await member.object_ids({"data": [{"key": "secret"}]}) == []
    by_hidden = '{ batches(where: {data: [{key: "secret"}]}) { totalCount nodes { batchId } } }'
    assert (await member.execute(by_hidden))["batches"] == nothing
    await grant(admin, member, "EDIT", batch="other")
    assert await member.object_ids() == ["p", "o"]
    assert await member.object_ids({"data": [{"key": "secret"}]}) == ["p"]
    assert (await member.execute(by_hidden))["batches"]["nodes"] == [{"batchId": "other"}]
    assert await member.object_ids({"not": {"data": [{"key": "k", "value": {"eq": "v"}}]}}) == ["p"]
    assert await member.object_ids({"batchId": "b"}) == ["o"]
    assert await member.object_ids({"objectIds": ["o", "hidden"]}) == ["o"]


async def test_filter_that_names_a_batch_among_alternatives_shows_nothing_else(admin: Caller, member: Caller) -> None:
    await grant(admin, member, "VIEW", object="o")
    of_batch = {"batchId": "b", "data": [{"key": "k"}]}
    for where in ({"or": [of_batch, {"data": [{"key": "none"}]}]}, {"or": [{"batchId": "b"}, of_batch]}):
        assert await member.object_ids(where) == ["o"]


async def test_grant_on_a_batch_and_the_tenants_default_are_for_what_comes_later_too(
    admin: Caller, member: Caller
) -> None:
    await grant(admin, member, "VIEW", batch="b")
    await admin.execute(ADD)
    assert await member.object_ids() == ["new", "hidden", "o"]
    update = (
        "mutation($level: AccessLevel!) { updateTenant(input: {memberAccess: $level}) { tenant { memberAccess } } }"
    )
    data = await admin.execute(update, level="VIEW")
    assert data["updateTenant"]["tenant"] == {"memberAccess": "VIEW"}
    await admin.create_batch("later", {"q": []})
    assert await member.object_ids() == ["q", "new", "hidden", "o"]
    await admin.execute(update, level="NONE")
    assert await member.object_ids() == ["new", "hidden", "o"]
    assert await admin.refused(update, level="ADMIN") == "BAD_INPUT"
    assert await member.refused(update, level="VIEW") == "FORBIDDEN"


async def test_revoked_grant_is_gone_with_the_next_request(admin: Caller, member: Caller) -> None:
    given = await grant(admin, member, "EDIT", object="o")
    await member.execute(UPDATE)
    data = await admin.execute(REVOKE, user=id_of(member), object="o")
    assert data["revokeAccess"]["revokedGrantId"] == given["id"]
    assert await member.refused(UPDATE) == "NOT_FOUND"
    assert await admin.refused(REVOKE, user=id_of(member), object="o") == "NOT_FOUND"


async def test_later_grant_takes_the_place_of_the_one_before(admin: Caller, member: Caller) -> None:
    first = await grant(admin, member, "ADMIN", batch="b")
    second = await grant(admin, member, "VIEW", batch="b")
    assert (second["id"], second["level"]) == (first["id"], "VIEW")
    assert await member.refused(UPDATE) == "FORBIDDEN"


async def test_creator_has_admin_access_to_what_it_made_and_to_nothing_else(new_caller: NewCaller) -> None:
    admin = await new_caller(member_access=AccessLevel.EDIT)
    await admin.create_batch("b", {"o": []})
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    await member.create_batch("mine", {"m": []})
    await member.execute(ADD)
    data = await member.execute("{ objects { nodes { objectId access } } batches { nodes { batchId access } } }")
    levels = {node["objectId"]: node["access"] for node in data["objects"]["nodes"]}
    assert levels == {"o": "EDIT", "m": "ADMIN", "new": "ADMIN"}
    assert data["batches"]["nodes"] == [{"batchId": "mine", "access": "ADMIN"}, {"batchId": "b", "access": "EDIT"}]
    assert await member.refused(DELETE) == "FORBIDDEN"
    await member.execute('mutation { deleteObjects(input: {objectIds: ["new", "m"]}) { deletedObjectIds } }')
    await member.execute('mutation { deleteBatch(input: {batchId: "mine"}) { deletedBatchId } }')


async def test_admin_who_becomes_a_member_keeps_what_it_made(admin: Caller, new_caller: NewCaller) -> None:
    other = await new_caller(admin.tenant)
    update = "mutation($user: ID!) { updateUser(input: {userId: $user, role: MEMBER}) { user { role } } }"
    await other.execute(update, user=id_of(admin))
    assert await admin.object_ids() == ["hidden", "o"]
    await admin.execute(DELETE_BATCH)


async def test_who_has_admin_access_to_a_thing_grants_it_and_no_one_else_does(
    admin: Caller, member: Caller, new_caller: NewCaller
) -> None:
    third = await new_caller(admin.tenant, role=Role.MEMBER)
    await grant(admin, member, "EDIT", batch="b")
    assert await member.refused(GRANT, user=id_of(third), level="VIEW", batch="b") == "FORBIDDEN"
    assert await member.refused(REVOKE, user=id_of(member), batch="b") == "FORBIDDEN"
    await grant(admin, member, "ADMIN", object="o")
    assert (await grant(member, third, "VIEW", object="o"))["grantedBy"] == {"name": member.user.name}
    assert await member.refused(GRANT, user=id_of(third), level="VIEW", batch="b") == "FORBIDDEN"
    assert await third.object_ids() == ["o"]
    await member.execute(REVOKE, user=id_of(third), object="o")
    assert await third.object_ids() == []


async def test_grants_stay_within_the_tenant(admin: Caller, member: Caller, new_caller: NewCaller) -> None:
    stranger = await new_caller()
    await stranger.create_batch("b", {"theirs": []})
    error = await admin.error(GRANT, user=id_of(stranger), level="VIEW", batch="b")
    assert error["extensions"]["code"] == "CROSS_TENANT_GRANT"
    absent = await admin.error(GRANT, user=global_id("User", 1 << 40), level="VIEW", batch="b")
    assert absent == error  # nobody learns which users there are elsewhere
    assert await stranger.refused(GRANT, user=id_of(member), level="VIEW", object="o") == "NOT_FOUND"
    assert await admin.refused(REVOKE, user=id_of(stranger), batch="b") == "NOT_FOUND"
    assert (
        await database.fetch(
            "SELECT FROM grants WHERE tenant_id = $1 AND user_id = $2", admin.tenant.id, stranger.user.id
        )
        == []
    )


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"level": "NONE", "batch": "b"}, "BAD_INPUT"),
        ({"level": "VIEW"}, "BAD_INPUT"),
        ({"level": "VIEW", "batch": "b", "object": "o"}, "BAD_INPUT"),
        ({"level": "VIEW", "batch": "none"}, "NOT_FOUND"),
        ({"level": "VIEW", "object": "none"}, "NOT_FOUND"),
        ({"level": "OWNER", "batch": "b"}, "BAD_INPUT"),
        ({"level": "VIEW", "batch": "b", "user": "nonsense"}, "BAD_INPUT"),
        ({"level": "VIEW", "batch": "b", "user": global_id("Batch", 1)}, "CROSS_TENANT_GRANT"),
    ],
)
async def test_wrong_grant_is_refused(admin: Caller, member: Caller, wrong: dict[str, str], code: str) -> None:
    assert await admin.refused(GRANT, **{"user": id_of(member), **wrong}) == code


async def test_grants_are_listed_for_who_may_grant_and_ones_own_for_everybody(
    admin: Caller, member: Caller, new_caller: NewCaller
) -> None:
    third = await new_caller(admin.tenant, role=Role.MEMBER)
    await grant(admin, member, "VIEW", batch="b")
    await grant(admin, third, "EDIT", batch="b")
    await grant(admin, third, "ADMIN", object="o")
    of_batch = '{ batch(batchId: "b") { grants { totalCount nodes { level user { name } } } } }'
    listed = (await admin.execute(of_batch))["batch"]["grants"]
    everybody = [(third, "EDIT"), (member, "VIEW"), (admin, "ADMIN")]
    assert listed["nodes"] == [{"level": level, "user": {"name": who.user.name}} for who, level in everybody]
    assert listed["totalCount"] == 3
    own = (await member.execute(of_batch))["batch"]["grants"]
    assert own == {"totalCount": 1, "nodes": [{"level": "VIEW", "user": {"name": member.user.name}}]}
    of_object = '{ object(objectId: "o") { grants { totalCount nodes { level object { objectId } } } } }'
    expected = {"totalCount": 1, "nodes": [{"level": "ADMIN", "object": {"objectId": "o"}}]}
    assert (await third.execute(of_object))["object"]["grants"] == expected
    assert (await member.execute(of_object))["object"]["grants"] == {"totalCount": 0, "nodes": []}
    of_user = """query($id: ID!) { node(id: $id) { ... on User {
      grants { totalCount nodes { level batch { batchId } object { objectId } } } } } }"""
    listed = (await admin.execute(of_user, id=id_of(third)))["node"]["grants"]
    assert listed["totalCount"] == 2
    assert [(node["level"], node["object"]) for node in listed["nodes"]] == [
        ("ADMIN", {"objectId": "o"}),
        ("EDIT", None),
    ]
    assert (await third.execute(of_user, id=id_of(third)))["node"]["grants"] == listed
    answer = (await third.post(of_user, id=id_of(admin))).json()
    assert answer["data"]["node"] == {"grants": None}
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_grant_is_a_node_for_those_who_may_list_it(
    admin: Caller, member: Caller, new_caller: NewCaller
) -> None:
    third = await new_caller(admin.tenant, role=Role.MEMBER)
    given = await grant(admin, member, "VIEW", batch="b")
    await grant(admin, third, "EDIT", batch="b")
    node = "query($id: ID!) { node(id: $id) { id ... on Grant { level } } }"
    for caller in (admin, member):
        assert (await caller.execute(node, id=given["id"]))["node"] == {"id": given["id"], "level": "VIEW"}
    assert await third.refused(node, id=given["id"]) == "NOT_FOUND"
    assert await (await new_caller()).refused(node, id=given["id"]) == "NOT_FOUND"


async def test_grants_and_access_of_a_page_take_a_statement_each(admin: Caller, member: Caller) -> None:
    for number in range(20):
        await admin.create_batch(f"batch{number}", {f"object{number}": []})
        await grant(admin, member, "ADMIN" if number % 2 else "VIEW", batch=f"batch{number}")
    query = """{ batches(first: 20) { nodes { access grants { nodes { level user { name } grantedBy { name } } }
      objects { nodes { access } } } } }"""
    statements, data = await count_statements(member, query)
    assert {node["access"] for node in data["batches"]["nodes"]} == {"ADMIN", "VIEW"}
    assert all(node["objects"]["nodes"] for node in data["batches"]["nodes"])
    # The batches, their levels, all grants of some and one's own of the others, who sees people, the people, objects.
    assert statements <= 9
    page = "{ objects(first: 20) { nodes { objectId data { key } } } }"
    assert (await count_statements(member, page))[0] == 2  # how long lists are is asked before, once
    assert (await count_statements(member, page))[0] == 1
    assert (await count_statements(admin, query))[0] <= 4


async def test_a_file_is_read_by_those_who_may_view_and_sent_by_those_who_may_edit(
    admin: Caller, member: Caller
) -> None:
    await stored(admin, b"hello", "file")
    assert await member.refused('{ object(objectId: "file") { file { name } } }') == "NOT_FOUND"
    await grant(admin, member, "VIEW", object="file")
    assert await content(member, "file") == b"hello"
    again = [{"objectId": "file", "file": file_of(b"again")}]
    assert await member.refused(CREATE_UPLOADS, files=again) == "FORBIDDEN"
    upload = await announced(admin, b"sent", "pending")
    node = "query($id: ID!) { node(id: $id) { ... on Upload { url } } }"
    assert await member.refused(node, id=upload["id"]) == "NOT_FOUND"
    await grant(admin, member, "VIEW", object="pending")
    assert await member.refused(node, id=upload["id"]) == "FORBIDDEN"
    await grant(admin, member, "EDIT", object="pending")
    assert (await member.execute(node, id=upload["id"]))["node"]["url"]
    assert await put(upload, b"sent") == 200


async def test_grants_go_with_what_they_are_on(admin: Caller, member: Caller) -> None:
    await grant(admin, member, "ADMIN", object="o")
    await member.execute(DELETE)
    await admin.execute(DELETE_BATCH)
    assert await database.fetch("SELECT FROM grants WHERE tenant_id = $1", admin.tenant.id) == []


async def test_ids_that_are_taken_by_what_one_does_not_see_are_not_named(admin: Caller, member: Caller) -> None:
    await admin.create_batch("open", {})
    await grant(admin, member, "EDIT", batch="open")
    await grant(admin, member, "VIEW", object="o")
    add = """mutation($ids: [ObjectInput!]!) { createObjects(input: {batchId: "open", objects: $ids}) {
      objects { id } } }"""
    error = await member.error(add, ids=[{"objectId": one} for one in ("o", "hidden", "new")])
    assert error["extensions"] == {"code": "ALREADY_EXISTS", "objectIds": ["o"]}
    error = await member.error(add, ids=[{"objectId": one} for one in ("hidden", "new")])
    assert error["extensions"] == {"code": "ALREADY_EXISTS", "objectIds": []}
    assert "hidden" not in error["message"]
