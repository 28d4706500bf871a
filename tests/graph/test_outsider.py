"""Every field of Query and Mutation, called by somebody of another tenant with the ids of this one."""

from typing import Any

import pytest
from graphql import GraphQLObjectType

from graph.schema import schema
from models import AccessLevel, Role
from tests.conftest import Caller, NewCaller, without_cost
from tests.graph.test_mutations import contents

# What an outsider gets: a code, or data in which nothing of the other tenant is. A field without an entry fails.
NOT_FOUND, NOTHING, ADMINS = "NOT_FOUND", "nothing", "for admins of their own"
CALLS: dict[str, tuple[str, str]] = {
    "Query.node": ("query($object: ID!) { node(id: $object) { id } }", NOT_FOUND),
    "Query.nodes": (
        "query($batch: ID!, $object: ID!, $user: ID!) { nodes(ids: [$batch, $object, $user]) { id } }",
        NOT_FOUND,
    ),
    "Query.auditLog": (
        "query($user: ID!) { auditLog(where: {userId: $user}) { totalCount nodes { action user { name } objectId } } }",
        NOTHING,
    ),
    "Query.users": ("{ users { nodes { name grants { nodes { level } } } } }", "own"),
    "Query.viewer": ("{ viewer { user { id name } tenant { slug } access keys { nodes { keyId } } } }", NOTHING),
    "Query.batch": ('{ batch(batchId: "b") { id } }', NOT_FOUND),
    "Query.batches": ("{ batches { totalCount nodes { batchId objects { nodes { objectId } } } } }", NOTHING),
    "Query.object": ('{ object(objectId: "o") { id } }', NOT_FOUND),
    "Query.objects": ('{ objects(where: {data: [{key: "secret"}]}) { totalCount nodes { objectId } } }', NOTHING),
    "Query.dataKeys": ("{ dataKeys { key count } }", NOTHING),
    "Query.dataValues": ('{ dataValues(key: "secret") { value count } }', NOTHING),
    "Mutation.createBatch": ('mutation { createBatch(input: {batchId: "b"}) { batch { batchId } } }', "own"),
    "Mutation.createObjects": (
        'mutation { createObjects(input: {batchId: "b", objects: [{objectId: "x", data: []}]}) { batch { id } } }',
        NOT_FOUND,
    ),
    "Mutation.updateObjectData": (
        'mutation { updateObjectData(input: {objectId: "o", replace: []}) { object { id } } }',
        NOT_FOUND,
    ),
    "Mutation.deleteObjects": ('mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }', NOT_FOUND),
    "Mutation.createUploads": (
        """mutation { createUploads(input: {files: [
          {objectId: "o", file: {name: "a", contentType: "a/b", size: 1}}]}) { uploads { id } } }""",
        NOT_FOUND,
    ),
    "Mutation.completeUploads": (
        'mutation { completeUploads(input: {uploadIds: ["VXBsb2FkOjE="]}) { results { problem } uploads { id } } }',
        "own",
    ),
    "Mutation.grantAccess": (
        """mutation($user: ID!) { grantAccess(input: {userId: $user, batchId: "b", level: VIEW}) {
          grant { user { name } batch { batchId } } } }""",
        NOT_FOUND,
    ),
    "Mutation.revokeAccess": (
        """mutation($user: ID!) { revokeAccess(input: {userId: $user, batchId: "b"}) { revokedGrantId } }""",
        NOT_FOUND,
    ),
    "Mutation.createUser": (
        'mutation { createUser(input: {name: "eve", role: ADMIN}) { user { name } } }',
        ADMINS,
    ),
    "Mutation.updateUser": (
        "mutation($user: ID!) { updateUser(input: {userId: $user, role: MEMBER}) { user { name } } }",
        NOT_FOUND,
    ),
    "Mutation.revokeUser": ("mutation($user: ID!) { revokeUser(input: {userId: $user}) { user { name } } }", NOT_FOUND),
    "Mutation.updateTenant": ("mutation { updateTenant(input: {memberAccess: VIEW}) { tenant { slug } } }", ADMINS),
    "Mutation.createKey": (
        'mutation($name: String!) { createKey(input: {name: "k", scope: READ, userName: $name}) { secret } }',
        NOT_FOUND,
    ),
    "Mutation.rotateKey": ("mutation($key: String!) { rotateKey(input: {keyId: $key}) { secret } }", NOT_FOUND),
    "Mutation.revokeKey": ("mutation($key: String!) { revokeKey(input: {keyId: $key}) { key { id } } }", NOT_FOUND),
    "Mutation.deleteBatch": (
        'mutation { deleteBatch(input: {batchId: "b", cascade: true}) { deletedBatchId } }',
        NOT_FOUND,
    ),
}


FOR_ADMINS = {
    "Query.auditLog",
    *(f"Mutation.{name}" for name in ("createUser", "updateUser", "revokeUser", "updateTenant")),
}


def fields() -> list[str]:
    found = []
    for name in ("Query", "Mutation"):
        root = schema._schema.type_map[name]
        assert isinstance(root, GraphQLObjectType)
        found += [f"{name}.{field}" for field in root.fields]
    return found


@pytest.mark.parametrize("role", [Role.ADMIN, Role.MEMBER])
@pytest.mark.parametrize("field", fields())
async def test_outsider_sees_and_changes_nothing(admin: Caller, new_caller: NewCaller, field: str, role: Role) -> None:
    await admin.create_batch("b", {"o": [("secret", "hidden")]})
    ids = await admin.execute('{ batch(batchId: "b") { id } object(objectId: "o") { id } viewer { user { id } } }')
    outsider = await new_caller(role=role, member_access=AccessLevel.EDIT)
    before = await contents(admin)
    query, expected = CALLS[field]
    variables = {"batch": ids["batch"]["id"], "object": ids["object"]["id"], "user": ids["viewer"]["user"]["id"]}
    variables |= {"name": admin.user.name, "key": admin.key.split("_")[1]}
    named = {name: value for name, value in variables.items() if f"${name}:" in query}
    response = await outsider.post(query, **named)
    answer = response.json()
    codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
    if role is Role.MEMBER and field in FOR_ADMINS:
        assert codes == {"FORBIDDEN"}
    elif expected == NOT_FOUND:
        assert codes == {"NOT_FOUND"}
        assert not any(_leaves(answer["data"]))
    else:
        assert not codes
    for secret in ("hidden", admin.user.name, admin.tenant.slug, *variables.values()):
        assert secret not in str(answer["data"])
    if expected == NOTHING and field != "Query.viewer":
        assert not any(_leaves(answer["data"]))
    assert await contents(admin) == before


@pytest.mark.parametrize("field", [name for name, (_, expected) in CALLS.items() if expected == NOT_FOUND])
async def test_what_is_another_tenants_looks_like_what_is_not_there(
    admin: Caller, new_caller: NewCaller, field: str
) -> None:
    query, _ = CALLS[field]
    outsider = await new_caller()
    if "$" in query:
        return  # global ids: nobody can name one that never was
    absent = without_cost(await outsider.post(query))
    await admin.create_batch("b", {"o": [("secret", "hidden")]})
    assert without_cost(await outsider.post(query)) == absent


def _leaves(data: Any) -> list[Any]:
    if isinstance(data, dict):
        return [leaf for value in data.values() for leaf in _leaves(value)]
    if isinstance(data, list):
        return [leaf for value in data for leaf in _leaves(value)]
    return [data]
