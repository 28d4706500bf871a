"""People make, list, replace and revoke keys themselves, within what they and their keys may."""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from access import uses
from access.credentials import create_key
from models import AccessLevel, ApiKey, KeyScope, Role, User
from tests.access.conftest import Door
from tests.access.test_scopes import with_scope
from tests.conftest import Caller, NewCaller
from tests.models.conftest import until
from tests.statements import count_statements

CREATE = """mutation($name: String = "k", $scope: KeyScope = READ, $expiresIn: Int, $userName: String) {
  createKey(input: {name: $name, scope: $scope, expiresIn: $expiresIn, userName: $userName}) {
    secret key { id keyId name scope createdAt expiresAt lastUsedAt revokedAt user { name } } } }"""
ROTATE = """mutation($keyId: String!, $overlap: Int! = 86400) { rotateKey(input: {keyId: $keyId, overlap: $overlap}) {
  secret key { keyId name scope createdAt expiresAt user { name } } replaced { keyId expiresAt } } }"""
REVOKE = "mutation($keyId: String!) { revokeKey(input: {keyId: $keyId}) { key { keyId revokedAt } } }"
OWN = "{ viewer { keys { totalCount nodes { keyId } } } }"
ALL = "{ viewer { tenant { keys { nodes { keyId user { name } } } } } }"


def public(key: str) -> str:
    return key.split("_")[1]


def with_key(caller: Caller, key: str) -> Caller:
    return dataclasses.replace(caller, key=key)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def opens(caller: Caller, key: str) -> bool:
    return (await with_key(caller, key).post("{ __typename }")).status_code == 200


async def test_made_key_is_shown_whole_once_and_works(admin: Caller) -> None:
    made = (await admin.execute(CREATE, name="laptop", scope="WRITE", expiresIn=3600))["createKey"]
    key = made["key"]
    assert key["keyId"] == public(made["secret"])
    assert (key["name"], key["scope"], key["user"]["name"]) == ("laptop", "WRITE", admin.user.name)
    assert at(key["expiresAt"]) - at(key["createdAt"]) == timedelta(hours=1)
    assert (key["lastUsedAt"], key["revokedAt"]) == (None, None)
    assert (await with_key(admin, made["secret"]).execute("{ viewer { scope } }"))["viewer"] == {"scope": "WRITE"}
    listed = await admin.post("{ viewer { keys { nodes { id keyId name } } } }")
    assert made["secret"].split("_")[2] not in listed.text
    node = "query($id: ID!) { node(id: $id) { ... on Key { keyId } } }"
    assert (await admin.execute(node, id=key["id"]))["node"] == {"keyId": key["keyId"]}


@pytest.mark.parametrize(
    "given",
    [{"name": ""}, {"name": "x" * 129}, {"expiresIn": 0}, {"expiresIn": -1}, {"expiresIn": 2**31 - 1}],
    ids=str,
)
async def test_key_that_cannot_be_is_refused(admin: Caller, given: dict[str, Any]) -> None:
    assert await admin.refused(CREATE, **given) == "BAD_INPUT"
    assert await ApiKey.filter(tenant_id=admin.tenant.id).count() == 1


@pytest.mark.parametrize("own", list(KeyScope))
@pytest.mark.parametrize("wanted", list(KeyScope))
async def test_key_makes_replaces_and_revokes_none_of_more_scope(
    admin: Caller, own: KeyScope, wanted: KeyScope
) -> None:
    limited = await with_scope(admin, own)
    other = public(await create_key(admin.user, "other", wanted))
    before = await ApiKey.filter(tenant_id=admin.tenant.id).count()
    calls: list[tuple[str, dict[str, Any]]] = [
        (CREATE, {"scope": wanted}),
        (ROTATE, {"keyId": other}),
        (REVOKE, {"keyId": other}),
    ]
    for call, given in calls:
        if own is not KeyScope.READ and own.includes(wanted):
            await limited.execute(call, **given)
        else:
            error = await limited.error(call, **given)
            needed = KeyScope.WRITE if wanted is KeyScope.READ else wanted
            assert error["extensions"]["code"] == "FORBIDDEN"
            assert error["extensions"]["requiredScope"] == needed
    if own is KeyScope.READ:
        assert await ApiKey.filter(tenant_id=admin.tenant.id).count() == before
        assert not await ApiKey.filter(tenant_id=admin.tenant.id, revoked_at__isnull=False).exists()


async def test_member_manages_own_keys_whatever_its_access(new_caller: NewCaller) -> None:
    admin = await new_caller(member_access=AccessLevel.NONE)
    member = await new_caller(tenant=admin.tenant, role=Role.MEMBER)
    made = (await member.execute(CREATE, scope="ADMIN", userName=member.user.name))["createKey"]
    assert (await with_key(member, made["secret"]).execute("{ viewer { access } }"))["viewer"] == {"access": "NONE"}
    own = (await member.execute(OWN))["viewer"]["keys"]
    assert own == {"totalCount": 2, "nodes": [{"keyId": made["key"]["keyId"]}, {"keyId": public(member.key)}]}
    await member.execute(REVOKE, keyId=made["key"]["keyId"])
    assert not await opens(member, made["secret"])


async def test_admin_manages_the_keys_of_all_users(new_caller: NewCaller) -> None:
    admin = await new_caller()
    member = await new_caller(tenant=admin.tenant, role=Role.MEMBER)
    made = (await admin.execute(CREATE, userName=member.user.name))["createKey"]
    assert made["key"]["user"] == {"name": member.user.name}
    listed = (await admin.execute(ALL))["viewer"]["tenant"]["keys"]["nodes"]
    assert [one["user"]["name"] for one in listed] == [member.user.name] * 2 + [admin.user.name]
    rotated = (await admin.execute(ROTATE, keyId=public(member.key)))["rotateKey"]
    assert rotated["key"]["user"] == {"name": member.user.name}
    await admin.execute(REVOKE, keyId=public(member.key))
    assert not await opens(member, member.key)


@pytest.mark.parametrize("access", [AccessLevel.NONE, AccessLevel.VIEW, AccessLevel.EDIT])
async def test_member_manages_no_others_keys(new_caller: NewCaller, access: AccessLevel) -> None:
    admin = await new_caller(member_access=access)
    member = await new_caller(tenant=admin.tenant, role=Role.MEMBER)
    for call in (ROTATE, REVOKE):
        absent = await member.error(call, keyId="0" * 16)
        hidden = await member.error(call, keyId=public(admin.key))
        assert hidden["extensions"].pop("keyId") == public(admin.key)
        assert absent["extensions"].pop("keyId") == "0" * 16
        assert hidden == absent
        assert hidden["extensions"]["code"] == "NOT_FOUND"
    seen = access is not AccessLevel.NONE
    assert await member.refused(CREATE, userName=admin.user.name) == ("FORBIDDEN" if seen else "NOT_FOUND")
    assert await member.refused(CREATE, userName="nobody") == "NOT_FOUND"
    assert await member.refused(ALL) == "FORBIDDEN"
    [own] = await ApiKey.filter(user_id=admin.user.id)
    [node] = (await admin.execute("{ viewer { keys { nodes { id } } } }"))["viewer"]["keys"]["nodes"]
    assert await member.refused("query($id: ID!) { node(id: $id) { id } }", id=node["id"]) == "NOT_FOUND"
    assert (own.revoked_at, own.expires_at) == (None, None)
    assert await opens(admin, admin.key)


async def test_other_tenants_users_and_keys_are_not_there(new_caller: NewCaller) -> None:
    one, other = await new_caller(), await new_caller()
    assert await other.refused(CREATE, userName=one.user.name) == "NOT_FOUND"
    assert await other.refused(ROTATE, keyId=public(one.key)) == "NOT_FOUND"
    assert await other.refused(REVOKE, keyId=public(one.key)) == "NOT_FOUND"
    assert await opens(one, one.key)


async def test_revoked_user_gets_no_key(new_caller: NewCaller) -> None:
    admin = await new_caller()
    member = await new_caller(tenant=admin.tenant)
    await User.filter(id=member.user.id).update(revoked_at=datetime.now(UTC))
    assert await admin.refused(CREATE, userName=member.user.name) == "NOT_FOUND"


async def test_lists_of_keys_are_pages_of_one_statement(admin: Caller) -> None:
    for _ in range(4):
        await create_key(admin.user, "more")
    page = "query($after: String) { viewer { keys(first: 2, after: $after) { nodes { keyId user { name } }"
    page += " pageInfo { hasNextPage endCursor } } } }"
    seen: list[str] = []
    after = None
    while True:
        statements, data = await count_statements(admin, page, after=after)
        assert statements == 3  # the viewer's user, the page, and the page's users
        listed = data["viewer"]["keys"]
        seen += [one["keyId"] for one in listed["nodes"]]
        if not listed["pageInfo"]["hasNextPage"]:
            break
        after = listed["pageInfo"]["endCursor"]
    assert len(seen) == len(set(seen)) == 5


async def test_rotated_key_and_the_old_one_work_until_the_overlap_ends(admin: Caller) -> None:
    old = await create_key(admin.user, "deploy", KeyScope.WRITE, timedelta(days=90))
    made = (await admin.execute(ROTATE, keyId=public(old), overlap=3600))["rotateKey"]
    key = made["key"]
    assert (key["name"], key["scope"], key["user"]["name"]) == ("deploy", "WRITE", admin.user.name)
    assert at(key["expiresAt"]) - at(key["createdAt"]) == timedelta(days=90)
    assert at(made["replaced"]["expiresAt"]) - at(key["createdAt"]) == timedelta(hours=1)
    assert await opens(admin, old)
    assert await opens(admin, made["secret"])
    await ApiKey.filter(public_id=public(old)).update(expires_at=datetime.now(UTC))
    assert not await opens(admin, old)
    assert await opens(admin, made["secret"])


async def test_overlap_of_nothing_ends_the_old_key_at_once_and_none_lengthens_its_life(admin: Caller) -> None:
    old = await create_key(admin.user, "k")
    assert (await admin.execute(ROTATE, keyId=public(old), overlap=0))["rotateKey"]["key"]["expiresAt"] is None
    assert not await opens(admin, old)
    short = await create_key(admin.user, "k", lifetime=timedelta(minutes=1))
    before = (await ApiKey.get(public_id=public(short))).expires_at
    await admin.execute(ROTATE, keyId=public(short))
    assert (await ApiKey.get(public_id=public(short))).expires_at == before


async def test_what_does_not_work_cannot_be_rotated(admin: Caller) -> None:
    revoked, over = await create_key(admin.user, "k"), await create_key(admin.user, "k")
    await admin.execute(REVOKE, keyId=public(revoked))
    await ApiKey.filter(public_id=public(over)).update(expires_at=datetime.now(UTC))
    before = await ApiKey.filter(tenant_id=admin.tenant.id).count()
    for key in (revoked, over):
        assert await admin.refused(ROTATE, keyId=public(key)) == "CONFLICT"
    for overlap in (-1, 31 * 24 * 3600):
        assert await admin.refused(ROTATE, keyId=public(admin.key), overlap=overlap) == "BAD_INPUT"
    assert await ApiKey.filter(tenant_id=admin.tenant.id).count() == before


async def test_revoking_twice_keeps_the_first_time(admin: Caller) -> None:
    key = public(await create_key(admin.user, "k"))
    first = await admin.execute(REVOKE, keyId=key)
    assert await admin.execute(REVOKE, keyId=key) == first


async def test_revoked_key_is_refused_a_second_later_by_another_process(admin: Caller, service_url: str) -> None:
    key = await create_key(admin.user, "k")

    async def status() -> int:
        async with httpx.AsyncClient() as client:
            headers = {"Authorization": f"Bearer {key}"}
            return (
                await client.post(f"{service_url}/graphql", json={"query": "{ a: __typename }"}, headers=headers)
            ).status_code

    assert await status() == 200
    await admin.execute(REVOKE, keyId=public(key))
    async with asyncio.timeout(10):
        while await status() != 401:  # noqa: ASYNC110 - the other process has no event to wait for
            await asyncio.sleep(0.1)


async def last_use(caller: Caller) -> datetime | None:
    return (await ApiKey.get(public_id=public(caller.key))).used_at


async def test_last_use_is_noted_beside_the_requests(
    door: Door, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uses, "_PAUSE_SECONDS", 0)
    async with door() as http:
        caller = dataclasses.replace(admin, http=http)
        statements, _ = await count_statements(caller, "{ __typename }")
        assert statements == 0  # beside the one that authenticates

        async def noted() -> bool:
            return await last_use(caller) is not None

        await until(noted)
    first = await last_use(admin)
    shown = (await admin.execute("{ viewer { keys { nodes { lastUsedAt } } } }"))["viewer"]["keys"]["nodes"]
    assert first is not None
    assert [at(one["lastUsedAt"]) for one in shown] == [first.replace(microsecond=first.microsecond // 1000 * 1000)]


async def test_last_use_is_noted_at_the_end_and_not_again_within_the_minute(door: Door, admin: Caller) -> None:
    async def use() -> datetime | None:
        async with door() as http:
            await dataclasses.replace(admin, http=http).execute("{ __typename }")
        return await last_use(admin)

    first = await use()
    assert first is not None
    assert await use() == first
    long_ago = first - timedelta(seconds=61)
    await ApiKey.filter(public_id=public(admin.key)).update(used_at=long_ago)
    again = await use()
    assert again is not None
    assert again >= first


async def test_refused_key_is_not_noted_as_used(door: Door, admin: Caller) -> None:
    await ApiKey.filter(public_id=public(admin.key)).update(revoked_at=datetime.now(UTC))
    async with door() as http:
        assert (await dataclasses.replace(admin, http=http).post("{ __typename }")).status_code == 401
    assert await last_use(admin) is None


async def test_uses_start_no_tasks(door: Door, admin: Caller) -> None:
    async with door() as http:
        caller = dataclasses.replace(admin, http=http)
        before = len(asyncio.all_tasks())
        for _ in range(20):
            await asyncio.gather(*(caller.post("{ __typename }") for _ in range(10)))
        assert len(asyncio.all_tasks()) <= before
    assert await last_use(admin) is not None
