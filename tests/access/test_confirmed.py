"""Whoever is revoked while his request runs changes nothing more with it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import asyncpg
import httpx
import pytest

from access.credentials import new_secret
from graph.context import Context
from models import database, operators
from tests.access.test_tokens import token_of
from tests.conftest import Caller
from tests.models.conftest import observing, until
from tests.statements import statements_of
from tests.uploads import COMPLETE, announced, put

CHANGE = 'updateObjectData(input: {objectId: "o", set: [{key: "k", value: "%s"}]}) { object { objectId } }'
TWO = f'mutation {{ first: {CHANGE % 1} second: createBatch(input: {{batchId: "after"}}) {{ batch {{ id }} }} }}'
REVOKE_OWN = """mutation($key: String!) { first: revokeKey(input: {keyId: $key}) { key { revokedAt } }
  second: createBatch(input: {batchId: "after"}) { batch { id } } }"""

KEY = "UPDATE api_keys SET revoked_at = now() WHERE user_id = $1"
OVER = "UPDATE api_keys SET expires_at = now() WHERE user_id = $1"
SCOPE = "UPDATE api_keys SET scope = 'READ' WHERE user_id = $1"
USER = "UPDATE users SET revoked_at = now() WHERE id = $1"
ROLE = "UPDATE users SET role = 'MEMBER' WHERE id = $1"
TENANT = "UPDATE tenants SET revoked_at = now() WHERE id = (SELECT tenant_id FROM users WHERE id = $1)"
STOOD_IN = (
    "UPDATE tenants SET revoked_at = now() WHERE id = (SELECT tenant_id FROM users WHERE name = 'operator:' || $1)"
)
MORE = "UPDATE tenants SET member_access = 'VIEW' WHERE id = (SELECT tenant_id FROM users WHERE id = $1)"


@pytest.fixture
def long_ago() -> Iterator[None]:
    """As if each request had been under way for a while."""
    with patch("graph.context._CONFIRMED_SECONDS", 0):
        yield


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    async with observing(database_url) as connection:
        yield connection


async def meanwhile(other: asyncpg.Connection, caller: Caller, change: str, subject: object, **headers: str) -> Any:
    """The answer to two mutations, where somebody else makes the change while the first is under way."""
    async with asyncio.TaskGroup() as group, other.transaction():
        await other.execute("SELECT FROM objects WHERE tenant_id = $1 FOR UPDATE", caller.tenant.id)
        asked = group.create_task(
            caller.http.post("/graphql", json={"query": TWO}, headers={**caller.headers, **headers})
        )
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        await until(lambda: other.fetch(waiting))
        await other.execute(change, subject)
    return (await asked).json()


async def done(caller: Caller) -> tuple[bool, bool]:
    """Whether either mutation was."""
    rows = await database.fetch("SELECT data::text FROM objects WHERE tenant_id = $1", caller.tenant.id)
    after = await database.fetch("SELECT FROM batches WHERE tenant_id = $1 AND batch_id = 'after'", caller.tenant.id)
    return "k" in rows[0]["data"], bool(after)


def refused(answer: Any) -> tuple[str, str]:
    assert answer["data"] is None
    [error] = answer["errors"]
    return error["path"][0], error["extensions"]["code"]


@pytest.mark.usefixtures("long_ago")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (KEY, "UNAUTHENTICATED"),
        (OVER, "UNAUTHENTICATED"),
        (USER, "UNAUTHENTICATED"),
        (TENANT, "TENANT_SUSPENDED"),
        (ROLE, "FORBIDDEN"),
        (SCOPE, "FORBIDDEN"),
    ],
)
async def test_who_is_revoked_between_two_mutations_is_refused_the_second(
    admin: Caller, other: asyncpg.Connection, change: str, code: str
) -> None:
    await admin.create_batch("b", {"o": []})
    answer = await meanwhile(other, admin, change, admin.user.id)
    assert refused(answer) == ("second", code)
    assert await done(admin) == (True, False)


@pytest.mark.usefixtures("long_ago")
async def test_who_may_more_meanwhile_goes_on(admin: Caller, other: asyncpg.Connection) -> None:
    await admin.create_batch("b", {"o": []})
    assert "errors" not in await meanwhile(other, admin, MORE, admin.user.id)
    assert await done(admin) == (True, True)


@pytest.mark.usefixtures("long_ago")
async def test_holder_of_a_token_who_is_removed_meanwhile_is_refused(
    with_tokens: httpx.AsyncClient, admin: Caller, other: asyncpg.Connection
) -> None:
    await admin.create_batch("b", {"o": []})
    holder = replace(admin, http=with_tokens, key=token_of(admin))
    assert "errors" not in (await holder.post("mutation { %s }" % (CHANGE % 0))).json()
    assert refused(await meanwhile(other, holder, USER, admin.user.id)) == ("second", "UNAUTHENTICATED")
    assert await done(admin) == (True, False)


@pytest.mark.usefixtures("long_ago")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE operators SET revoked_at = now() WHERE name = $1", "UNAUTHENTICATED"),
        ("UPDATE operators SET public_id = md5(name) WHERE name = $1", "UNAUTHENTICATED"),  # has another key
        (STOOD_IN, "TENANT_SUSPENDED"),
    ],
)
async def test_operator_who_is_revoked_meanwhile_acts_no_more(
    admin: Caller, other: asyncpg.Connection, change: str, code: str
) -> None:
    await admin.create_batch("b", {"o": []})
    name, (whole, secret) = f"op-{secrets.token_hex(4)}", new_secret()
    await operators.create(name, secret)
    tenant = {"Waybill-Tenant": admin.tenant.slug}
    assert refused(await meanwhile(other, replace(admin, key=whole), change, name, **tenant)) == ("second", code)
    assert await done(admin) == (True, False)


@pytest.mark.usefixtures("long_ago")
async def test_who_revokes_the_key_that_he_uses_does_nothing_more_with_it(admin: Caller) -> None:
    answer = (await admin.post(REVOKE_OWN, key=admin.key.split("_")[1])).json()
    assert refused(answer) == ("second", "UNAUTHENTICATED")
    assert (await admin.post("{ viewer { access } }")).status_code == 401
    assert await database.fetch("SELECT FROM batches WHERE tenant_id = $1", admin.tenant.id) == []


@pytest.mark.usefixtures("long_ago")
async def test_who_is_revoked_while_a_mutation_asks_s3_changes_nothing(
    admin: Caller, other: asyncpg.Connection
) -> None:
    """What takes long before its transaction begins is looked at again there."""
    upload = await announced(admin, b"hello")
    assert await put(upload, b"hello") == 200
    prove = Context.prove

    async def revoked_meanwhile(self: Context, *arguments: Any) -> Any:
        await other.execute(KEY, admin.user.id)
        return await prove(self, *arguments)

    with patch.object(Context, "prove", revoked_meanwhile):
        answer = (await admin.post(COMPLETE, ids=[upload["id"]])).json()
    assert refused(answer) == ("completeUploads", "UNAUTHENTICATED")
    [row] = await database.fetch("SELECT state FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    assert row["state"] == "PENDING"


async def test_a_request_that_is_quick_asks_once_and_one_that_is_not_once_more_at_each_step(admin: Caller) -> None:
    two = """mutation($a: String!, $b: String!) { a: createBatch(input: {batchId: $a}) { batch { id } }
      b: createBatch(input: {batchId: $b}) { batch { id } } }"""
    _, quick = await statements_of(lambda: admin.execute(two, a="a", b="b"))
    _, slow = await statements_of(lambda: admin.execute(two, a="c", b="d"), quick=False)
    assert slow == quick + 2 * 2
