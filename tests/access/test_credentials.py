"""Only a valid, unrevoked key opens the door, and every other one is refused alike."""

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import httpx
import pytest

from access import key_form
from access.credentials import create_key
from access.key_form import with_checksum
from models import ApiKey, Tenant, User, database
from tests.conftest import Caller, without_cost
from tests.statements import statements_of

QUERY = {"query": "{ viewer { user { name } } }"}


async def post(http: httpx.AsyncClient, authorization: str | None) -> httpx.Response:
    headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
    return await http.post("/graphql", json=QUERY, headers=headers)


def without_request_id(response: httpx.Response) -> Any:
    headers = {name: value for name, value in response.headers.items() if name != "x-request-id"}
    return response.status_code, headers, response.json()


async def test_key_opens_the_door_to_its_user(admin: Caller) -> None:
    for authorization in (f"Bearer {admin.key}", f"bearer {admin.key}", f"Bearer  {admin.key} "):
        response = await post(admin.http, authorization)
        assert without_cost(response) == {"data": {"viewer": {"user": {"name": admin.user.name}}}}


async def test_every_bad_credential_gets_the_same_401(admin: Caller) -> None:
    public_id, secret = admin.key.split("_")[1:]
    expected = without_request_id(await post(admin.http, None))
    status, headers, body = expected
    assert status == 401
    assert headers["www-authenticate"].startswith("Bearer")
    assert body["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "Authorization" in body["errors"][0]["message"]
    for authorization in (
        "",
        "Bearer",
        "Bearer ",
        f"Basic {admin.key}",
        admin.key,
        f"Bearer wb_{public_id}_{'0' * 64}",
        "Bearer " + with_checksum(f"wb_{public_id}_{'0' * 56}"),
        "Bearer " + with_checksum(f"wb_{'0' * 16}_{secret[:-8]}"),
        f"Bearer wb_{public_id}_{secret[:-1]}",
        f"Bearer wb_{public_id}_{secret}0",
        f"Bearer wb_{public_id.upper()}_{secret.upper()}",
        f"Bearer {admin.key} {admin.key}",
        "Bearer wb_'; DROP TABLE api_keys; --_x",
        "Bearer " + "x" * 10_000,
        "Bearer wb_\u00e9_\u00e9",
    ):
        assert without_request_id(await post(admin.http, authorization)) == expected, authorization


async def test_mistyped_or_cut_off_key_is_refused_like_a_wrong_one_without_the_database(admin: Caller) -> None:
    expected = without_request_id(await post(admin.http, None))
    key = admin.key
    mistyped = [f"{key[:at]}{'0' if key[at] != '0' else '1'}{key[at + 1 :]}" for at in (3, 18, 20, 50, 76, 83)]
    swapped = next(f"{key[:at]}{key[at + 1]}{key[at]}{key[at + 2 :]}" for at in range(30, 80) if key[at] != key[at + 1])
    for wrong in (*mistyped, swapped, key[:-1], key[:40], key + "0", f"wb_{key[20:]}"):
        assert wrong != key
        answer, statements = await statements_of(partial(post, admin.http, f"Bearer {wrong}"))
        assert (without_request_id(answer), statements) == (expected, 0), wrong


def test_every_new_key_has_the_checksum_that_scanners_look_for() -> None:
    for key in (key_form.new() for _ in range(100)):
        assert re.fullmatch(r"wb_[0-9a-f]{16}_[0-9a-f]{64}", key)
        assert zlib.crc32(key[:-8].encode()) == int(key[-8:], 16)


@pytest.mark.parametrize("revoked", ["key", "user", "tenant"])
async def test_revoked_key_user_or_tenant_is_refused_at_once(admin: Caller, revoked: str) -> None:
    assert (await post(admin.http, f"Bearer {admin.key}")).status_code == 200
    rows: Any = {
        "key": ApiKey.filter(user_id=admin.user.id),
        "user": User.filter(id=admin.user.id),
        "tenant": Tenant.filter(id=admin.tenant.id),
    }[revoked]
    await rows.update(revoked_at=datetime.now(UTC))
    refused = await post(admin.http, f"Bearer {admin.key}")
    if revoked == "tenant":
        assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (403, "TENANT_SUSPENDED")
    else:
        assert without_request_id(refused) == without_request_id(await post(admin.http, None))


async def test_key_that_is_over_is_refused(admin: Caller) -> None:
    key = await create_key(admin.user, "short", lifetime=timedelta(hours=1))
    assert (await post(admin.http, f"Bearer {key}")).status_code == 200
    await ApiKey.filter(public_id=key.split("_")[1]).update(expires_at=datetime.now(UTC))
    refused = await post(admin.http, f"Bearer {key}")
    assert without_request_id(refused) == without_request_id(await post(admin.http, None))


async def test_revoking_one_key_leaves_the_others(admin: Caller) -> None:
    other = await create_key(admin.user, "other")
    await ApiKey.filter(public_id=admin.key.split("_")[1]).update(revoked_at=datetime.now(UTC))
    assert (await post(admin.http, f"Bearer {admin.key}")).status_code == 401
    assert (await post(admin.http, f"Bearer {other}")).status_code == 200


async def test_only_a_hash_of_the_secret_is_stored(admin: Caller) -> None:
    public_id, secret = admin.key.split("_")[1:]
    [row] = await database.fetch("SELECT * FROM api_keys WHERE public_id = $1", public_id)
    assert bytes(row["secret_sha256"]) == hashlib.sha256(secret.encode()).digest()
    assert secret not in str([tuple(row)])


async def test_unknown_key_is_compared_like_a_wrong_one(admin: Caller) -> None:
    public_id = admin.key.split("_")[1]
    compared: list[tuple[int, int]] = []

    def counting(compare: Callable[[bytes, bytes], bool]) -> Callable[[bytes, bytes], bool]:
        def counted(a: bytes, b: bytes) -> bool:
            compared.append((len(a), len(b)))
            return compare(a, b)

        return counted

    with patch("access.credentials.hmac.compare_digest", counting(hmac.compare_digest)):
        for someone in (public_id, "0" * 16):
            wrong = with_checksum(f"wb_{someone}_{'0' * 56}")
            assert (await post(admin.http, f"Bearer {wrong}")).status_code == 401
    assert compared == [(32, 32)] * 2 * 2  # with what a user's key would have, and what an operator's


async def test_no_operation_runs_without_a_key(admin: Caller) -> None:
    mutation = {"query": 'mutation { createBatch(input: {batchId: "b"}) { batch { id } } }'}
    for body in (mutation, {"query": "{ __schema { types { name } } }"}, {"query": "not graphql"}, {}):
        response = await admin.http.post("/graphql", json=body)
        assert response.status_code == 401
        assert "data" not in response.json()
    assert await admin.execute("{ batches { totalCount } }") == {"batches": {"totalCount": 0}}
