"""Users: made, changed and revoked by admins, of whom there is always one."""

import asyncio

from graph.types.node import global_id
from models import database
from tests.access.test_grants import admin, grant, id_of, member
from tests.conftest import Caller, NewCaller

__all__ = ["admin", "member"]  # fixtures

CREATE_USER = (
    "mutation($name: String!, $role: Role) { createUser(input: {name: $name, role: $role}) { user { id name role } } }"
)
UPDATE_USER = "mutation($id: ID!, $role: Role!) { updateUser(input: {userId: $id, role: $role}) { user { role } } }"
REVOKE_USER = "mutation($id: ID!) { revokeUser(input: {userId: $id}) { user { revokedAt } } }"


async def test_admins_make_change_and_revoke_users(admin: Caller, member: Caller, new_caller: NewCaller) -> None:
    made = (await admin.execute(CREATE_USER, name="ada", role="MEMBER"))["createUser"]["user"]
    assert (made["name"], made["role"]) == ("ada", "MEMBER")
    assert await admin.refused(CREATE_USER, name="ada", role="ADMIN") == "ALREADY_EXISTS"
    for name in ("", "x" * 129):
        assert await admin.refused(CREATE_USER, name=name, role="MEMBER") == "BAD_INPUT"
    assert (await admin.execute(UPDATE_USER, id=made["id"], role="ADMIN"))["updateUser"]["user"] == {"role": "ADMIN"}
    names = (await admin.execute("{ users { totalCount nodes { name } } }"))["users"]
    assert names["nodes"] == [{"name": "ada"}, {"name": member.user.name}, {"name": admin.user.name}]
    assert names["totalCount"] == 3
    first = await admin.execute(REVOKE_USER, id=id_of(member))
    assert (await member.post("{ viewer { access } }")).status_code == 401
    assert await admin.execute(REVOKE_USER, id=id_of(member)) == first
    stranger = await new_caller()
    for operation, more in ((UPDATE_USER, {"role": "MEMBER"}), (REVOKE_USER, {})):
        assert await stranger.refused(operation, id=made["id"], **more) == "NOT_FOUND"
        assert await stranger.refused(operation, id=global_id("Batch", 1), **more) == "NOT_FOUND"


async def test_members_decide_nothing_about_people(admin: Caller, member: Caller) -> None:
    await grant(admin, member, "ADMIN", batch="b")
    assert await member.refused(CREATE_USER, name="eve", role="ADMIN") == "FORBIDDEN"
    assert await member.refused(UPDATE_USER, id=id_of(member), role="ADMIN") == "FORBIDDEN"
    assert await member.refused(REVOKE_USER, id=id_of(admin)) == "FORBIDDEN"


async def test_users_are_seen_by_those_who_see_or_grant_something(admin: Caller, member: Caller) -> None:
    query = "{ users { totalCount nodes { name } } }"
    assert (await member.execute(query))["users"] == {"totalCount": 1, "nodes": [{"name": member.user.name}]}
    await grant(admin, member, "EDIT", batch="b")
    assert (await member.execute(query))["users"]["totalCount"] == 1
    await grant(admin, member, "ADMIN", object="o")
    assert (await member.execute(query))["users"]["totalCount"] == 2


async def test_tenant_keeps_an_admin(admin: Caller, member: Caller, new_caller: NewCaller) -> None:
    assert await admin.refused(UPDATE_USER, id=id_of(admin), role="MEMBER") == "LAST_ADMIN"
    assert await admin.refused(REVOKE_USER, id=id_of(admin)) == "LAST_ADMIN"
    await admin.execute(REVOKE_USER, id=id_of(member))
    other = await new_caller(admin.tenant)
    answers = await asyncio.gather(
        admin.post(UPDATE_USER, id=id_of(other), role="MEMBER"), other.post(REVOKE_USER, id=id_of(admin))
    )
    codes = [error["extensions"]["code"] for answer in answers for error in answer.json().get("errors", [])]
    assert codes in (["LAST_ADMIN"], ["FORBIDDEN"], ["UNAUTHENTICATED"])
    rows = await database.fetch(
        "SELECT FROM users WHERE tenant_id = $1 AND role = 'ADMIN' AND revoked_at IS NULL", admin.tenant.id
    )
    assert len(rows) == 1


async def test_who_gives_up_a_grant_sees_nobody_by_it_in_what_follows(admin: Caller, member: Caller) -> None:
    """Not in the same request either."""
    await admin.create_batch("other", {"p": []})
    await grant(admin, member, "ADMIN", batch="b")
    await grant(admin, member, "EDIT", object="p")
    update = 'updateObjectData(input: {objectId: "%s", unset: ["k"]}) { object { batch { createdBy { name } } } }'
    found = await member.execute(
        f"""mutation($user: ID!) {{ before: {update % "o"}
        revokeAccess(input: {{userId: $user, batchId: "b"}}) {{ revokedGrantId }} after: {update % "p"} }}""",
        user=id_of(member),
    )
    assert found["before"]["object"]["batch"]["createdBy"] == {"name": admin.user.name}
    assert found["after"]["object"]["batch"]["createdBy"] is None
