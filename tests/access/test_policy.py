"""What a member may, by the tenant's default for members."""

import pytest

from graph.types.node import global_id
from models import AccessLevel, Role
from tests.conftest import Caller, NewCaller

READ = '{ object(objectId: "o") { objectId } }'
LIST = "{ objects { totalCount nodes { objectId } } dataKeys { key } }"
CREATE_BATCH = 'mutation { createBatch(input: {batchId: "new"}) { batch { batchId } } }'
CREATE_OBJECTS = """mutation { createObjects(input: {batchId: "b", objects: [{objectId: "new", data: []}]}) {
  objects { objectId } } }"""
UPDATE = 'mutation { updateObjectData(input: {objectId: "o", replace: []}) { object { objectId } } }'
DELETE_OBJECTS = 'mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }'
DELETE_BATCH = 'mutation { deleteBatch(input: {batchId: "b", cascade: true}) { deletedBatchId } }'

EXPECTED = {
    # operation: code for a member whose tenant gives members NONE, VIEW, EDIT; None is allowed
    READ: ("NOT_FOUND", None, None),
    CREATE_BATCH: ("FORBIDDEN", "FORBIDDEN", None),
    CREATE_OBJECTS: ("NOT_FOUND", "FORBIDDEN", None),
    UPDATE: ("NOT_FOUND", "FORBIDDEN", None),
    DELETE_OBJECTS: ("NOT_FOUND", "FORBIDDEN", "FORBIDDEN"),
    DELETE_BATCH: ("NOT_FOUND", "FORBIDDEN", "FORBIDDEN"),
}


async def member_of_tenant_with(new_caller: NewCaller, access: AccessLevel) -> tuple[Caller, Caller]:
    admin = await new_caller(member_access=access)
    await admin.create_batch("b", {"o": [("k", "v")]})
    return admin, await new_caller(tenant=admin.tenant, role=Role.MEMBER)


@pytest.mark.parametrize(("index", "access"), list(enumerate([AccessLevel.NONE, AccessLevel.VIEW, AccessLevel.EDIT])))
@pytest.mark.parametrize("operation", EXPECTED)
async def test_member_may_what_the_tenant_gives_members(
    new_caller: NewCaller, operation: str, index: int, access: AccessLevel
) -> None:
    _, member = await member_of_tenant_with(new_caller, access)
    code = EXPECTED[operation][index]
    if code is None:
        await member.execute(operation)
    else:
        assert await member.refused(operation) == code


async def test_admin_may_everything(new_caller: NewCaller) -> None:
    admin, _ = await member_of_tenant_with(new_caller, AccessLevel.NONE)
    for operation in (READ, LIST, CREATE_BATCH, CREATE_OBJECTS, UPDATE, DELETE_OBJECTS, DELETE_BATCH):
        await admin.execute(operation)


async def test_member_without_access_sees_empty_lists(new_caller: NewCaller) -> None:
    _, member = await member_of_tenant_with(new_caller, AccessLevel.NONE)
    assert await member.execute(LIST) == {"objects": {"totalCount": 0, "nodes": []}, "dataKeys": []}
    assert (await member.execute("{ viewer { access } }"))["viewer"] == {"access": "NONE"}


async def test_forbidden_says_what_is_needed_and_what_is_there(new_caller: NewCaller) -> None:
    _, member = await member_of_tenant_with(new_caller, AccessLevel.VIEW)
    error = await member.error(UPDATE)
    assert error["message"] == "This needs EDIT access; yours is VIEW."
    assert error["extensions"] == {"code": "FORBIDDEN", "required": "EDIT"}


USER = "query($id: ID!) { node(id: $id) { ... on User { name role } } }"


async def test_member_without_access_sees_no_user_but_itself(new_caller: NewCaller) -> None:
    for access, code in ((AccessLevel.NONE, "NOT_FOUND"), (AccessLevel.VIEW, None)):
        admin, member = await member_of_tenant_with(new_caller, access)
        own, other = global_id("User", member.user.id), global_id("User", admin.user.id)
        assert (await member.execute(USER, id=own))["node"] == {"name": member.user.name, "role": "MEMBER"}
        if code is None:
            assert (await member.execute(USER, id=other))["node"] == {"name": admin.user.name, "role": "ADMIN"}
        else:
            assert await member.refused(USER, id=other) == code
        assert (await admin.execute(USER, id=own))["node"] == {"name": member.user.name, "role": "MEMBER"}
