"""Tokens that Waybill signs: short-lived, for a user who is there, and told apart from forged ones."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import pytest

from access import tokens
from models import AccessLevel, Role, Tenant, User
from models.errors import BadInput
from tests.access.conftest import TOKEN_SECRET
from tests.access.issuer import by_hand
from tests.access.test_credentials import post, without_request_id
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements

Forge = Callable[[Caller, dict[str, Any]], str]


def claims_of(caller: Caller) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": "waybill",
        "aud": "waybill",
        "sub": str(caller.user.id),
        "tenant": str(caller.tenant.id),
        "iat": now,
        "nbf": now,
        "exp": now + 60,
    }


def signed(claims: dict[str, Any], secret: str = TOKEN_SECRET, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, secret, algorithm)


def token_of(caller: Caller) -> str:
    return tokens.sign(TOKEN_SECRET, caller.tenant.id, caller.user.id, timedelta(minutes=15))


async def status(http: httpx.AsyncClient, token: str) -> int:
    return (await post(http, f"Bearer {token}")).status_code


async def test_token_opens_the_door_to_its_user(with_tokens: httpx.AsyncClient, new_caller: NewCaller) -> None:
    admin = await new_caller(member_access=AccessLevel.VIEW)
    member = await new_caller(tenant=admin.tenant, role=Role.MEMBER)
    for user, access in ((admin, "ADMIN"), (member, "VIEW")):
        caller = Caller(with_tokens, user.tenant, user.user, token_of(user))
        data = await caller.execute("{ viewer { user { name } tenant { slug } access scope } }")
        assert data["viewer"] == {
            "user": {"name": user.user.name},
            "tenant": {"slug": user.tenant.slug},
            "access": access,
            "scope": "ADMIN",
        }


async def test_token_takes_one_statement(with_tokens: httpx.AsyncClient, admin: Caller) -> None:
    caller = Caller(with_tokens, admin.tenant, admin.user, token_of(admin))
    assert (await count_statements(caller, "{ __typename }"))[0] == 0  # beside the one that authenticates


@pytest.mark.parametrize("revoked", ["user", "tenant"])
async def test_token_of_a_revoked_user_or_tenant_is_refused_at_once(
    with_tokens: httpx.AsyncClient, admin: Caller, revoked: str
) -> None:
    token = token_of(admin)
    assert await status(with_tokens, token) == 200
    rows: Any = User.filter(id=admin.user.id) if revoked == "user" else Tenant.filter(id=admin.tenant.id)
    await rows.update(revoked_at=datetime.now(UTC))
    assert await status(with_tokens, token) == (401 if revoked == "user" else 403)


async def test_token_of_a_deleted_user_is_refused(with_tokens: httpx.AsyncClient, admin: Caller) -> None:
    user = await User.create(tenant=admin.tenant, name="gone")
    token = tokens.sign(TOKEN_SECRET, admin.tenant.id, user.id, timedelta(minutes=1))
    assert await status(with_tokens, token) == 200
    await user.delete()
    assert await status(with_tokens, token) == 401


FORGED: dict[str, Forge] = {
    "another secret": lambda _, claims: signed(claims, "x" * 64),
    "no signature": lambda _, claims: by_hand({"alg": "none", "typ": "JWT"}, claims),
    "none with a signature": lambda _, claims: by_hand({"alg": "none"}, claims, TOKEN_SECRET.encode()),
    "an algorithm that is not pinned": lambda _, claims: signed(claims, algorithm="HS512"),
    "no algorithm": lambda _, claims: by_hand({"typ": "JWT"}, claims, TOKEN_SECRET.encode()),
    "over": lambda _, claims: signed(claims | {"exp": claims["iat"] - 31}),
    "not valid yet": lambda _, claims: signed(claims | {"nbf": claims["iat"] + 60}),
    "signed in the future": lambda _, claims: signed(claims | {"iat": claims["iat"] + 60}),
    "for others": lambda _, claims: signed(claims | {"aud": "others"}),
    "of another issuer": lambda _, claims: signed(claims | {"iss": "https://issuer.example"}),
    "of another tenant": lambda _, claims: signed(claims | {"tenant": str(int(claims["tenant"]) + 1)}),
    "of nobody": lambda _, claims: signed(claims | {"sub": str((1 << 63) - 1)}),
    "of a number too large": lambda _, claims: signed(claims | {"sub": str(1 << 63)}),
    "of a name": lambda caller, claims: signed(claims | {"sub": caller.user.name}),
    "of a number that is no digit": lambda _, claims: signed(claims | {"sub": "²"}),
    "over at a time that is none": lambda _, claims: signed(claims | {"exp": float("inf")}),
    "nested": lambda _, claims: by_hand(claims, {"iss": "waybill"}).replace(".", "." + "W1td" * 700 + ".", 1),
    "in parts": lambda _, claims: signed(claims) + ".",
    "too long": lambda _, claims: signed(claims | {"padding": "x" * 9_000}),
    "with bytes after the signature": lambda _, claims: signed(claims) + "AAAA",
    **{
        f"without {name}": (
            lambda _, claims, name=name: signed({key: value for key, value in claims.items() if key != name})  # type: ignore[misc]
        )
        for name in ("iss", "aud", "sub", "tenant", "iat", "nbf", "exp")
    },
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_token_that_is_not_right_gets_the_401_of_everybody(
    with_tokens: httpx.AsyncClient, admin: Caller, forge: Forge
) -> None:
    assert await status(with_tokens, signed(claims_of(admin))) == 200
    answer = await post(with_tokens, f"Bearer {forge(admin, claims_of(admin))}")
    assert without_request_id(answer) == without_request_id(await post(with_tokens, None))


async def test_clocks_may_differ_a_little(with_tokens: httpx.AsyncClient, admin: Caller) -> None:
    claims = claims_of(admin)
    for changed in ({"exp": claims["iat"] - 10}, {"nbf": claims["iat"] + 20, "iat": claims["iat"] + 20}):
        assert await status(with_tokens, signed(claims | changed)) == 200


async def test_no_token_opens_a_service_without_a_secret(admin: Caller) -> None:
    for secret in (TOKEN_SECRET, "x"):
        assert await status(admin.http, by_hand({"alg": "HS256"}, claims_of(admin), secret.encode())) == 401
    assert await status(admin.http, by_hand({"alg": "HS256"}, claims_of(admin), b"")) == 401


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(days=1, seconds=1), timedelta(days=-1)])
def test_token_for_longer_than_a_day_or_no_time_is_not_signed(lifetime: timedelta) -> None:
    with pytest.raises(BadInput):
        tokens.sign(TOKEN_SECRET, 1, 1, lifetime)
