"""Whoever was let in a moment ago is let in again without a statement, and out a second after he is revoked."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from access import remembered
from access.credentials import Attempt
from access.remembered import Remembered
from models import ApiKey, Tenant, User
from tests.conftest import Caller, NewCaller
from tests.statements import statements_of

QUERY = {"query": "{ viewer { access } }"}


@pytest.fixture(autouse=True)
def _remembering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "SECONDS", 3600.0)


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a second had passed."""
    monkeypatch.setattr(remembered, "SECONDS", 0.0)


async def post(caller: Caller, query: Any = QUERY, **headers: str) -> httpx.Response:
    return await caller.http.post("/graphql", json=query, headers=caller.headers | headers)


async def test_second_request_asks_nobody_who_it_is_from(admin: Caller) -> None:
    async def sent() -> int:
        answer, statements = await statements_of(lambda: post(admin, {"query": "{ __typename }"}))
        assert answer.status_code == 200
        return statements

    assert [await sent(), await sent()] == [1, 0]


@pytest.mark.parametrize("revoked", ["key", "user", "tenant"])
async def test_revoked_one_is_out_when_the_second_is_over(
    admin: Caller, monkeypatch: pytest.MonkeyPatch, revoked: str
) -> None:
    assert (await post(admin)).status_code == 200
    rows: Any = {
        "key": ApiKey.filter(user_id=admin.user.id),
        "user": User.filter(id=admin.user.id),
        "tenant": Tenant.filter(id=admin.tenant.id),
    }[revoked]
    await rows.update(revoked_at=datetime.now(UTC))
    later(monkeypatch)
    assert (await post(admin)).status_code in (401, 403)


async def test_nothing_is_changed_by_who_was_revoked_a_second_ago(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await post(admin)).status_code == 200
    await ApiKey.filter(user_id=admin.user.id).update(revoked_at=datetime.now(UTC))
    monkeypatch.setattr("graph.context._CONFIRMED_SECONDS", 0.0)
    made = await post(admin, {"query": 'mutation { createBatch(input: {batchId: "b"}) { batch { id } } }'})
    assert made.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_what_is_changed_here_is_known_here_at_once(admin: Caller, new_caller: NewCaller) -> None:
    other = await new_caller(admin.tenant)
    assert (await post(other)).status_code == 200
    await admin.execute(
        "mutation($id: ID!) { revokeUser(input: {userId: $id}) { user { id } } }",
        id=(await other.execute("{ viewer { user { id } } }"))["viewer"]["user"]["id"],
    )
    assert (await post(other)).status_code == 401


async def test_wrong_secret_of_a_remembered_key_is_refused(admin: Caller) -> None:
    assert (await post(admin)).status_code == 200
    wrong = admin.key[:-1] + ("0" if admin.key[-1] != "0" else "1")
    assert (await post(admin, Authorization=f"Bearer {wrong}")).status_code == 401
    assert (await post(admin, Authorization="")).status_code == 401


async def test_other_tenants_name_is_refused_all_the_same(admin: Caller) -> None:
    assert (await post(admin)).status_code == 200
    answer = await post(admin, **{"Waybill-Tenant": "other", "Accept": "application/graphql-response+json"})
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_who_is_let_in_while_something_changes_is_not_remembered() -> None:
    memory: Remembered

    class Slow:
        async def __call__(self, _: Attempt) -> Any:
            memory.forget()
            await asyncio.sleep(0)
            asked.append(1)
            return type("Caller", (), {"operator_id": None})

    asked: list[int] = []
    memory = Remembered(Slow())  # type: ignore[arg-type]
    await memory(Attempt("Bearer x"))
    await memory(Attempt("Bearer x"))
    assert len(asked) == 2


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Anyone:
        async def __call__(self, _: Attempt) -> Any:
            return type("Caller", (), {"operator_id": None})

    monkeypatch.setattr(remembered, "_MOST", 10)
    memory = Remembered(Anyone())  # type: ignore[arg-type]
    for number in range(35):
        await memory(Attempt(f"Bearer {number}"))
    assert len(memory._known) <= 10
