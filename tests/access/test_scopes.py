"""A key lets its user do no more than its scope, and never more than the user may."""

import dataclasses

import pytest

from access.credentials import create_key
from models import AccessLevel, KeyScope, Role
from tests.access.test_policy import (
    CREATE_BATCH,
    CREATE_OBJECTS,
    DELETE_BATCH,
    DELETE_OBJECTS,
    LIST,
    READ,
    UPDATE,
    member_of_tenant_with,
)
from tests.conftest import Caller, NewCaller

NEEDS = {
    READ: "READ",
    LIST: "READ",
    CREATE_BATCH: "WRITE",
    CREATE_OBJECTS: "WRITE",
    UPDATE: "WRITE",
    DELETE_OBJECTS: "ADMIN",
    DELETE_BATCH: "ADMIN",
}


async def with_scope(caller: Caller, scope: KeyScope) -> Caller:
    return dataclasses.replace(caller, key=await create_key(caller.user, "test", scope))


@pytest.mark.parametrize("scope", list(KeyScope))
@pytest.mark.parametrize("operation", NEEDS)
async def test_admins_key_does_what_its_scope_allows(new_caller: NewCaller, operation: str, scope: KeyScope) -> None:
    admin, _ = await member_of_tenant_with(new_caller, AccessLevel.NONE)
    limited = await with_scope(admin, scope)
    if scope.includes(KeyScope(NEEDS[operation])):
        await limited.execute(operation)
    else:
        assert await limited.error(operation) | {"locations": [], "path": []} == {
            "message": f"This needs a key of the scope {NEEDS[operation]}; yours has {scope}.",
            "locations": [],
            "path": [],
            "extensions": {
                "code": "FORBIDDEN",
                "required": "EDIT" if NEEDS[operation] == "WRITE" else "ADMIN",
                "requiredScope": NEEDS[operation],
            },
        }


@pytest.mark.parametrize("access", [AccessLevel.NONE, AccessLevel.VIEW, AccessLevel.EDIT])
@pytest.mark.parametrize("scope", list(KeyScope))
async def test_scope_gives_a_member_nothing(new_caller: NewCaller, access: AccessLevel, scope: KeyScope) -> None:
    _, member = await member_of_tenant_with(new_caller, access)
    limited = await with_scope(member, scope)
    allowed = {KeyScope.READ: AccessLevel.VIEW, KeyScope.WRITE: AccessLevel.EDIT, KeyScope.ADMIN: AccessLevel.ADMIN}
    lower = min(access, allowed[scope], key=list(AccessLevel).index)
    assert (await limited.execute("{ viewer { access scope } }"))["viewer"] == {"access": lower, "scope": scope}
    code = await member.refused(DELETE_OBJECTS)
    assert await limited.refused(DELETE_OBJECTS) == code


async def test_member_is_told_of_its_access_where_no_key_would_help(new_caller: NewCaller) -> None:
    _, member = await member_of_tenant_with(new_caller, AccessLevel.VIEW)
    error = await (await with_scope(member, KeyScope.READ)).error(UPDATE)
    assert error["message"] == "This needs EDIT access; yours is VIEW."


async def test_what_a_key_may_not_change_but_see_is_forbidden_and_stays(new_caller: NewCaller) -> None:
    admin = await new_caller(role=Role.ADMIN)
    await admin.create_batch("b", {"o": [("k", "v")]})
    reader = await with_scope(admin, KeyScope.READ)
    assert await reader.refused(DELETE_BATCH) == "FORBIDDEN"
    assert await admin.object_ids() == ["o"]
