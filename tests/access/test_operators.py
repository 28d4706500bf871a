"""Operators stand above tenants: they decide about them, and see what is in them only by acting as one."""

import asyncio
import secrets
from dataclasses import replace
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from access.credentials import create_key as create_key_for
from access.credentials import new_secret
from access.key_form import with_checksum
from graph.types.node import global_id
from models import User, database, operators
from tests.conftest import Caller, NewCaller, new_database, served
from waybill.cli import main

TENANTS = """query($first: Int, $after: String) { operator { name tenants(first: $first, after: $after) {
  totalCount nodes { slug memberAccess suspendedAt usage { objectsUsed objectsLimit bytesLimit } }
  pageInfo { hasNextPage endCursor } } } }"""
TENANT = (
    "query($slug: String!) { operator { tenant(slug: $slug) { slug usage { objectsUsed objectsLimit bytesLimit } } } }"
)
CREATE = """mutation($slug: String!, $admin: String!) { createTenant(input: {slug: $slug, adminName: $admin}) {
  key tenant { slug memberAccess suspendedAt usage { objectsUsed objectsLimit bytesLimit } } } }"""
SUSPEND = "mutation($slug: String!) { suspendTenant(input: {slug: $slug}) { tenant { suspendedAt } } }"
RESUME = "mutation($slug: String!) { resumeTenant(input: {slug: $slug}) { tenant { suspendedAt } } }"
OBJECTS = "{ objects { nodes { objectId } } }"


@pytest.fixture
async def operator(admin: Caller) -> Caller:
    """By the same door as the admin of a tenant with one object."""
    await admin.create_batch("b", {"o": [("secret", "hidden")]})
    whole, secret = new_secret()
    await operators.create(f"op-{secrets.token_hex(4)}", secret)
    return replace(admin, key=whole)


async def as_tenant(operator: Caller, slug: str, query: str, **variables: object) -> Any:
    headers = {**operator.headers, "Waybill-Tenant": slug}
    answer = await operator.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
    return answer.json()


async def test_operator_makes_suspends_and_resumes_a_tenant(operator: Caller) -> None:
    slug = f"t-{secrets.token_hex(6)}"
    made = (await operator.execute(CREATE, slug=slug, admin="ada"))["createTenant"]
    usage = {"objectsUsed": 0, "objectsLimit": 10_000_000, "bytesLimit": 10**12}
    assert made["tenant"] == {"slug": slug, "memberAccess": "NONE", "suspendedAt": None, "usage": usage}
    ada = replace(operator, key=made["key"])
    assert (await ada.execute("{ viewer { user { name role } tenant { slug } } }"))["viewer"] == {
        "user": {"name": "ada", "role": "ADMIN"},
        "tenant": {"slug": slug},
    }
    suspended = await operator.execute(SUSPEND, slug=slug)
    assert suspended["suspendTenant"]["tenant"]["suspendedAt"] is not None
    assert await operator.execute(SUSPEND, slug=slug) == suspended
    answer = await ada.post("{ viewer { access } }")
    assert (answer.status_code, answer.json()["errors"][0]["extensions"]) == (403, {"code": "TENANT_SUSPENDED"})
    wrong = replace(ada, key=with_checksum(ada.key[:-64] + "0" * 56))
    assert (await wrong.post("{ viewer { access } }")).status_code == 401  # who has no good key learns nothing of it
    acting = await as_tenant(operator, slug, OBJECTS)
    assert acting["errors"][0]["extensions"]["code"] == "TENANT_SUSPENDED"
    await operator.execute(RESUME, slug=slug)
    await ada.execute("{ viewer { access } }")


@pytest.mark.parametrize(
    ("slug", "admin_name", "more", "code"),
    [
        ("Not A Slug", "ada", "", "BAD_INPUT"),
        ("", "ada", "", "BAD_INPUT"),
        ("x" * 64, "ada", "", "BAD_INPUT"),
        ("new", "", "", "BAD_INPUT"),
        ("new", "operator:x", "", "BAD_INPUT"),
        ("new", "ada", "memberAccess: ADMIN", "BAD_INPUT"),
        ("new", "ada", "quotaBytes: -1", "BAD_INPUT"),
        (None, "ada", "", "ALREADY_EXISTS"),
    ],
)
async def test_tenant_that_cannot_be_is_refused_whole(
    operator: Caller, slug: str | None, admin_name: str, more: str, code: str
) -> None:
    query = f"""mutation($slug: String!, $admin: String!) {{
      createTenant(input: {{slug: $slug, adminName: $admin, {more}}}) {{ key }} }}"""
    assert await operator.refused(query, slug=operator.tenant.slug if slug is None else slug, admin=admin_name) == code
    assert await database.fetch("SELECT FROM tenants WHERE slug = $1 AND slug <> $2", slug, operator.tenant.slug) == []


@pytest.mark.parametrize("query", [SUSPEND, RESUME, TENANT])
async def test_tenant_that_is_not_there_is_not_found(operator: Caller, query: str) -> None:
    answer = (await operator.post(query, slug="no-such")).json()
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["NOT_FOUND"]


async def test_operator_lists_tenants_with_what_they_use_in_one_statement_a_page(
    operator: Caller, new_caller: NewCaller
) -> None:
    for _ in range(3):
        await new_caller()
    found: list[str] = []
    after = None
    while True:
        page = (await operator.execute(TENANTS, first=100, after=after))["operator"]["tenants"]
        found += [node["slug"] for node in page["nodes"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert operator.tenant.slug in found
    assert len(set(found)) == len(found)
    data = await operator.execute(TENANT, slug=operator.tenant.slug)
    assert data["operator"]["tenant"]["usage"]["objectsUsed"] == 1


async def test_operator_sets_quotas_from_now_on(operator: Caller, admin: Caller) -> None:
    query = """mutation($slug: String!, $objects: BigInt) {
      setQuotas(input: {slug: $slug, quotaObjects: $objects}) { tenant { usage { objectsLimit bytesLimit } } } }"""
    slug = admin.tenant.slug
    tenant = (await operator.execute(query, slug=slug, objects=1))["setQuotas"]["tenant"]
    assert tenant["usage"] == {"objectsLimit": 1, "bytesLimit": None}
    add = 'mutation { createObjects(input: {batchId: "b", objects: [{objectId: "p"}]}) { objects { id } } }'
    assert await admin.refused(add) == "QUOTA_EXCEEDED"
    await operator.execute(query, slug=slug, objects=None)
    await admin.execute(add)
    nothing = "mutation($slug: String!) { setQuotas(input: {slug: $slug}) { tenant { slug } } }"
    assert await operator.refused(nothing, slug=slug) == "BAD_INPUT"


async def test_operator_sees_nothing_of_a_tenant_but_by_acting_as_it(operator: Caller, admin: Caller) -> None:
    error = await operator.error(OBJECTS)
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert "Waybill-Tenant" in error["message"]
    answer = await as_tenant(operator, admin.tenant.slug, OBJECTS)
    assert answer["data"] == {"objects": {"nodes": [{"objectId": "o"}]}}
    answer = await as_tenant(operator, admin.tenant.slug, "{ operator { name } }")
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    answer = await as_tenant(operator, "no-such", OBJECTS)
    assert answer["errors"][0]["extensions"]["code"] == "NOT_FOUND"


async def test_what_an_operator_makes_for_a_tenant_shows_whose_hand_it_was(operator: Caller, admin: Caller) -> None:
    create = 'mutation { createBatch(input: {batchId: "by hand"}) { batch { createdBy { name role } } } }'
    answer = await as_tenant(operator, admin.tenant.slug, create)
    maker = answer["data"]["createBatch"]["batch"]["createdBy"]
    assert maker["name"].startswith("operator:op-")
    assert maker["role"] == "MEMBER"  # nobody can make more of it than a member
    create_user = 'mutation { createUser(input: {name: "operator:me", role: ADMIN}) { user { name } } }'
    assert await admin.refused(create_user) == "BAD_INPUT"


async def test_user_that_an_operator_acts_as_is_nobody_elses(operator: Caller, admin: Caller) -> None:
    """No key of it, no other role: else an admin could pass for an operator, or an operator outlive his revocation."""
    slug = admin.tenant.slug
    acting = await as_tenant(operator, slug, "{ viewer { user { id name } } }")
    stand_in = acting["data"]["viewer"]["user"]
    create_key = """mutation($of: String!) {
      createKey(input: {name: "k", scope: ADMIN, userName: $of}) { key { id } } }"""
    assert await admin.refused(create_key, of=stand_in["name"]) == "NOT_FOUND"
    own = 'mutation { createKey(input: {name: "k", scope: READ}) { key { id } } }'
    assert (await as_tenant(operator, slug, own))["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    update = "mutation($id: ID!) { updateUser(input: {userId: $id, role: ADMIN}) { user { role } } }"
    revoke = "mutation($id: ID!) { revokeUser(input: {userId: $id}) { user { role } } }"
    assert await admin.refused(update, id=stand_in["id"]) == "FORBIDDEN"
    assert await admin.refused(revoke, id=stand_in["id"]) == "FORBIDDEN"
    await database.execute("UPDATE users SET role = 'ADMIN' WHERE tenant_id = $1", admin.tenant.id)
    assert await admin.refused(revoke, id=global_id("User", admin.user.id)) == "LAST_ADMIN"
    user = await User.get(tenant=admin.tenant, name=stand_in["name"])
    forged = replace(admin, key=await create_key_for(user, "from before"))
    assert (await forged.post("{ viewer { access } }")).status_code == 401


ALIKE = [" operator:x", "Operator:x", "operator\u200b:x", "\uff4fperator:x", "operator\uff1ax", "a\u202eb"]


@pytest.mark.parametrize("name", ALIKE)
async def test_name_that_could_be_taken_for_an_operators_is_refused(admin: Caller, name: str) -> None:
    create = "mutation($name: String!) { createUser(input: {name: $name}) { user { name } } }"
    assert await admin.refused(create, name=name) == "BAD_INPUT"


async def test_others_act_as_no_tenant_but_their_own(admin: Caller, new_caller: NewCaller) -> None:
    other = await new_caller()
    answer = await as_tenant(admin, other.tenant.slug, OBJECTS)
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert "errors" not in await as_tenant(admin, admin.tenant.slug, OBJECTS)


async def test_revoked_operator_and_replaced_key_are_refused(operator: Caller) -> None:
    name = (await operator.execute("{ operator { name } }"))["operator"]["name"]
    whole, secret = new_secret()
    await operators.set_key(name, secret)
    assert (await operator.post(TENANTS)).status_code == 401
    renewed = replace(operator, key=whole)
    await renewed.execute(TENANTS)
    await operators.revoke(name)
    assert (await renewed.post(TENANTS)).status_code == 401


async def test_commands_make_an_operator_in_an_empty_database_who_makes_the_rest_over_http() -> None:
    url = await new_database("template0")

    def run(*arguments: str) -> Result:
        return CliRunner(env={"WAYBILL_DATABASE_URL": url, "COLUMNS": "120"}).invoke(main, ["operator", *arguments])

    key = (await asyncio.to_thread(run, "create", "root")).stdout.strip()
    assert "there is an operator" in (await asyncio.to_thread(run, "create", "root")).stderr.lower()
    assert "1 to 64" in (await asyncio.to_thread(run, "create", "Not A Name")).stderr
    listed = (await asyncio.to_thread(run, "list")).stdout
    assert "root" in listed
    assert key.split("_")[2] not in listed
    with served(url) as service:
        body = {"query": CREATE, "variables": {"slug": "acme", "admin": "ada"}}
        async with httpx.AsyncClient(base_url=service, headers={"Authorization": f"Bearer {key}"}) as client:
            made = (await client.post("/graphql", json=body)).json()["data"]["createTenant"]
            headers = {"Authorization": f"Bearer {made['key']}"}
            viewer = (await client.post("/graphql", json={"query": "{ viewer { access } }"}, headers=headers)).json()
            assert viewer["data"] == {"viewer": {"access": "ADMIN"}}
            new = (await asyncio.to_thread(run, "key", "root")).stdout.strip()
            assert (await client.post("/graphql", json=body)).status_code == 401
            headers = {"Authorization": f"Bearer {new}"}
            asked = await client.post("/graphql", json={"query": "{ operator { name } }"}, headers=headers)
            assert asked.json()["data"] == {"operator": {"name": "root"}}
            await asyncio.to_thread(run, "revoke", "root")
            assert (await client.post("/graphql", json=body, headers=headers)).status_code == 401
