"""Tokens of an OpenID Connect issuer: its keys come and go, it goes away, and others pretend to be it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from access import oidc
from models import User
from tests.access.conftest import Door
from tests.access.issuer import AUDIENCE, Issuer, by_hand, ec_key, issuing, public_pem, rsa_key
from tests.access.test_credentials import post, without_request_id
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements

ANOTHER = rsa_key()


@pytest.fixture
def own(issuer: Issuer) -> Iterator[Issuer]:
    """An issuer that a test may do anything with."""
    with issuing() as own:
        own.keys["one"] = issuer.keys["one"]
        yield own


@pytest.fixture
async def http_own(door: Door, own: Issuer) -> AsyncIterator[httpx.AsyncClient]:
    async with door(oidc_issuer=own.url, oidc_audience=AUDIENCE) as http:
        yield http


async def subject_of(caller: Caller) -> str:
    subject = f"idp|{caller.user.id}"
    await User.filter(id=caller.user.id).update(oidc_subject=subject)
    return subject


async def status(http: httpx.AsyncClient, token: str) -> int:
    return (await post(http, f"Bearer {token}")).status_code


async def test_issuers_token_opens_the_door_to_its_subjects_user(
    with_tokens: httpx.AsyncClient, issuer: Issuer, new_caller: NewCaller
) -> None:
    for _ in range(2):
        admin = await new_caller()
        caller = Caller(with_tokens, admin.tenant, admin.user, issuer.token(await subject_of(admin)))
        statements, data = await count_statements(caller, "{ viewer { user { name } tenant { slug } } }")
        assert data["viewer"] == {"user": {"name": admin.user.name}, "tenant": {"slug": admin.tenant.slug}}
        assert statements == 1  # for the user, beside the one that authenticates


async def test_keys_are_asked_for_once_however_many_tokens_come(
    http_own: httpx.AsyncClient, own: Issuer, admin: Caller
) -> None:
    own.seconds = 0.2
    token = own.token(await subject_of(admin))
    assert own.asked == 0
    assert set(await asyncio.gather(*(status(http_own, token) for _ in range(10)))) == {200}
    assert await status(http_own, token) == 200
    assert own.asked == 1


async def test_elliptic_keys_do_too_and_those_for_other_uses_are_passed_over(
    http_own: httpx.AsyncClient, own: Issuer, admin: Caller
) -> None:
    own.others = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "symmetric", "alg": "HS256"},
        {"kty": "RSA", "kid": "encryption", "use": "enc", "n": "AQAB", "e": "AQAB"},
        {"kty": "unheard of", "kid": "unknown"},
        {"kty": "RSA"},
    ]
    own.keys |= {"curve": ec_key(), "weak": rsa_key(1024)}
    subject = await subject_of(admin)
    assert await status(http_own, own.token(subject, "curve")) == 200
    with pytest.warns(match="below the minimum"):
        weak = own.token(subject, "weak")
    assert await status(http_own, weak) == 401
    assert await status(http_own, by_hand({"alg": "HS256", "kid": "symmetric"}, own.claims(subject), b"secret")) == 401


Forge = Callable[[Issuer, str], str]
FORGED: dict[str, Forge] = {
    "another key": lambda issuer, subject: issuer.token(subject, key=ANOTHER),
    "no signature": lambda issuer, subject: by_hand({"alg": "none", "kid": "one"}, issuer.claims(subject)),
    "the public key for a secret": lambda issuer, subject: by_hand(
        {"alg": "HS256", "kid": "one"}, issuer.claims(subject), public_pem(issuer.keys["one"])
    ),
    "an unknown kid": lambda issuer, subject: issuer.token(subject, "unknown", ANOTHER),
    "no kid": lambda issuer, subject: by_hand({"alg": "RS256"}, issuer.claims(subject), b"x"),
    "a kid that is none": lambda issuer, subject: by_hand({"alg": "RS256", "kid": 1}, issuer.claims(subject), b"x"),
    "over beyond the skew": lambda issuer, subject: issuer.token(subject, exp=int(time.time()) - 31),
    "not valid yet": lambda issuer, subject: issuer.token(subject, nbf=int(time.time()) + 60),
    "for others": lambda issuer, subject: issuer.token(subject, aud="others"),
    "of another issuer": lambda issuer, subject: issuer.token(subject, iss="https://issuer.example"),
    "of Waybill": lambda issuer, subject: issuer.token(subject, iss="waybill", aud="waybill"),
    "for nobody in particular": lambda issuer, subject: issuer.token(subject, aud=None),
    "for ever": lambda issuer, subject: issuer.token(subject, exp=None),
    "of nobody": lambda issuer, _: issuer.token(""),
    "of somebody else": lambda issuer, subject: issuer.token(subject + "0"),
    "of somebody with another case": lambda issuer, subject: issuer.token(subject.upper()),
    "of a subject that cannot be stored": lambda issuer, subject: issuer.token(f"{subject}\0\ud800"),
    "of a long subject": lambda issuer, subject: issuer.token(subject * 100),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
async def test_token_that_is_not_right_gets_the_401_of_everybody(
    with_tokens: httpx.AsyncClient, issuer: Issuer, admin: Caller, forge: Forge
) -> None:
    subject = await subject_of(admin)
    assert await status(with_tokens, issuer.token(subject)) == 200
    answer = await post(with_tokens, f"Bearer {forge(issuer, subject)}")
    assert without_request_id(answer) == without_request_id(await post(with_tokens, None))


async def test_audience_may_be_one_of_several_and_clocks_may_differ_a_little(
    with_tokens: httpx.AsyncClient, issuer: Issuer, admin: Caller
) -> None:
    subject = await subject_of(admin)
    assert await status(with_tokens, issuer.token(subject, aud=["others", AUDIENCE])) == 200
    assert await status(with_tokens, issuer.token(subject, exp=int(time.time()) - 10)) == 200


async def test_claim_of_the_setting_names_the_user(door: Door, own: Issuer, admin: Caller) -> None:
    subject = await subject_of(admin)
    async with door(oidc_issuer=own.url, oidc_audience=AUDIENCE, oidc_claim="person") as http:
        assert await status(http, own.token("anybody", person=subject)) == 200
        assert await status(http, own.token(subject)) == 401
        assert await status(http, own.token(subject, person=[subject])) == 401


async def test_address_names_nobody_unless_it_is_verified(door: Door, own: Issuer, admin: Caller) -> None:
    email = f"{await subject_of(admin)}@waybill.example"
    await User.filter(id=admin.user.id).update(oidc_subject=email)
    async with door(oidc_issuer=own.url, oidc_audience=AUDIENCE, oidc_claim="email") as http:
        assert await status(http, own.token("x", email=email, email_verified=True)) == 200
        for unverified in (False, None, "true"):
            assert await status(http, own.token("x", email=email, email_verified=unverified)) == 401


async def test_new_key_is_found_and_invented_ones_are_asked_for_once_in_a_while(
    http_own: httpx.AsyncClient, own: Issuer, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = await subject_of(admin)
    assert await status(http_own, own.token(subject)) == 200
    own.keys = {"two": rsa_key()}
    for number in range(20):
        assert await status(http_own, own.token(subject, f"invented {number}", ANOTHER)) == 401
    assert own.asked == 1
    monkeypatch.setattr(oidc, "_PAUSE_SECONDS", 0)
    assert await status(http_own, own.token(subject, "two")) == 200
    assert own.asked == 2
    assert await status(http_own, own.token(subject, "one", ANOTHER)) == 401  # which is not published any more


async def test_old_keys_are_renewed_beside_the_requests(
    http_own: httpx.AsyncClient, own: Issuer, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = own.token(await subject_of(admin))
    assert await status(http_own, token) == 200
    monkeypatch.setattr(oidc, "_PAUSE_SECONDS", 0)
    monkeypatch.setattr(oidc, "_OLD_SECONDS", 0)
    own.keys = {}
    async with asyncio.timeout(20):
        while await status(http_own, token) == 200:
            pass
    assert own.asked > 1


async def test_issuer_that_is_down_stops_only_tokens_that_need_it(
    http_own: httpx.AsyncClient, own: Issuer, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = own.token(await subject_of(admin))
    own.answers = 503
    refused = await post(http_own, f"Bearer {token}")
    assert (refused.status_code, refused.json()["errors"][0]["extensions"]["code"]) == (503, "ISSUER_UNAVAILABLE")
    assert refused.headers["retry-after"]
    assert await status(http_own, admin.key) == 200
    assert await status(http_own, token) == 503  # without being asked again so soon
    assert own.asked == 1
    own.answers = 200
    monkeypatch.setattr(oidc, "_PAUSE_SECONDS", 0)
    assert await status(http_own, token) == 200
    own.answers = 503
    assert await status(http_own, own.token("x", "two", ANOTHER)) == 503
    assert await status(http_own, token) == 200
    monkeypatch.setattr(oidc, "_USELESS_SECONDS", 0)
    assert await status(http_own, token) == 503


async def test_issuer_that_is_silent_keeps_nobody_else_waiting(
    http_own: httpx.AsyncClient, own: Issuer, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_ANSWER_SECONDS", 0.5)
    own.seconds = 1.5
    waiting = asyncio.create_task(status(http_own, own.token(await subject_of(admin))))
    for _ in range(5):
        assert await status(http_own, admin.key) == 200
    assert not waiting.done()
    assert await waiting == 503


@pytest.mark.parametrize("wrong", ["another name", "no JSON", "no keys", "too much"])
async def test_issuer_that_says_nonsense_counts_as_down(
    http_own: httpx.AsyncClient, own: Issuer, admin: Caller, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    def said() -> Any:
        return {"no JSON": float("nan"), "no keys": {}, "too much": {"keys": ["x" * 1_000_001]}}[wrong]

    if wrong == "another name":
        own.name = "https://issuer.example"
    else:
        monkeypatch.setattr(own, "published", said)
    assert await status(http_own, own.token(await subject_of(admin))) == 503


async def test_without_an_issuer_none_is_believed(admin: Caller, issuer: Issuer) -> None:
    assert await status(admin.http, issuer.token(await subject_of(admin))) == 401
