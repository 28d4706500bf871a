"""Tokens of an OpenID Connect issuer, verified with the keys that it publishes.

The keys are kept, and asked for again when they are old, or when a token names one that is not among them, but then at
most once in a while, so that nobody makes us ask with tokens of his own invention.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import orjson
from jwt import PyJWK

from access import jwts
from access.jwts import Claimed
from models.errors import IssuerUnavailable, Unauthenticated

ALGORITHMS = ("RS256", "ES256")

_OLD_SECONDS = 600  # then they are asked for again, beside the requests
_USELESS_SECONDS = 24 * 3600  # then nothing is believed of them, whatever became of the issuer
_PAUSE_SECONDS = 10  # between two times that they are asked for
_ANSWER_SECONDS = 5
_MOST_BYTES = 1_000_000
_LONGEST_SUBJECT = 255

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Config:
    """``claim`` names the user: one that users cannot choose for themselves."""

    issuer: str
    audience: str
    claim: str


class Issuer:
    def __init__(self, config: Config, client: httpx.AsyncClient) -> None:
        self.name = config.issuer
        self._config = config
        self._client = client
        self._keys: dict[str, PyJWK] = {}
        self._fetched_at = self._tried_at = -float("inf")
        self._answers = True
        self._fetching: asyncio.Task[None] | None = None

    async def subject(self, token: Claimed) -> str:
        """What the issuer calls the user. Raises Unauthenticated, and IssuerUnavailable where only it could tell."""
        if token.kid is None:
            raise Unauthenticated
        key = await self._key(token.kid)
        name = self._config.claim
        claims = jwts.verified(
            token, key, [key.algorithm_name], issuer=self.name, audience=self._config.audience, needs=(name,)
        )
        subject = claims[name]
        if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
            raise Unauthenticated
        if name == "email" and claims.get("email_verified") is not True:  # anybody can say that it is his
            raise Unauthenticated
        return subject

    async def _key(self, kid: str) -> PyJWK:
        if key := self._known(kid):
            if time.monotonic() - self._fetched_at > _OLD_SECONDS:
                self._fetch_again()
            return key
        if (fetching := self._fetch_again()) is not None:
            await asyncio.shield(fetching)  # which others may be waiting for
        if key := self._known(kid):
            return key
        raise Unauthenticated if self._answers else IssuerUnavailable

    def _known(self, kid: str) -> PyJWK | None:
        return self._keys.get(kid) if time.monotonic() - self._fetched_at < _USELESS_SECONDS else None

    def _fetch_again(self) -> "asyncio.Task[None] | None":
        """The one task that does; None where that was done a moment ago."""
        if self._fetching is None or self._fetching.done():
            if time.monotonic() - self._tried_at < _PAUSE_SECONDS:
                return None
            self._tried_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                about = await self._get(f"{self.name.rstrip('/')}/.well-known/openid-configuration")
                self._keys = _usable(await self._get(_address(about, self.name)))
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
        ) as error:
            self._answers = False
            _log.warning("the keys of the OIDC issuer cannot be had", extra={"cause": repr(error)})
        else:
            self._answers = True
            self._fetched_at = time.monotonic()

    async def _get(self, url: str) -> Any:
        async with self._client.stream("GET", url, headers={"accept": "application/json"}) as response:
            if response.status_code != httpx.codes.OK:
                raise ValueError(f"{url} answers with {response.status_code}")
            body = b""
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise ValueError(f"{url} answers with more than {_MOST_BYTES:,} bytes")
        return orjson.loads(body)

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])


@asynccontextmanager
async def opened(config: Config, client: httpx.AsyncClient) -> AsyncIterator[Issuer]:
    issuer = Issuer(config, client)
    try:
        yield issuer
    finally:
        await issuer.close()


def _address(about: Any, issuer: str) -> str:
    """Of the keys. Raises ValueError where they would be another's, or anybody's on the way."""
    address: str = about["jwks_uri"]
    if about["issuer"] != issuer:
        raise ValueError(f"it calls itself {about['issuer']!r}")
    if issuer.startswith("https:") and not address.startswith("https:"):
        raise ValueError(f"its keys are at {address!r}")
    return address


def _usable(published: Any) -> dict[str, PyJWK]:
    """Those that sign by one of ALGORITHMS; issuers publish others beside them."""
    keys: dict[str, PyJWK] = {}
    for one in published["keys"]:
        if one.get("use", "sig") != "sig" or not isinstance(one.get("kid"), str):
            continue
        try:
            key = PyJWK(one)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if key.algorithm_name in ALGORITHMS and not key.Algorithm.check_key_length(key.key):
            keys[key.key_id or ""] = key
    return keys
