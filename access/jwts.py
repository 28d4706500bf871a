"""JSON Web Tokens, whoever signed them: read without trust to find out who it is said to have been, then verified."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jwt
import orjson
from jwt.utils import base64url_decode, base64url_encode

from models.errors import Unauthenticated

LEEWAY_SECONDS = 30  # for clocks that differ
_MOST_CHARACTERS = 8_192
# What PyJWT lets pass of numbers that are none and of JSON in JSON in JSON.
_BROKEN = (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError)


class Claimed(NamedTuple):
    """What a token says of itself, which anybody may have written."""

    text: str
    issuer: str
    kid: str | None


def read(text: str) -> Claimed:
    """Raises Unauthenticated for what is no token."""
    parts = text.split(".")
    if len(parts) != 3 or len(text) > _MOST_CHARACTERS or not text.isascii():
        raise Unauthenticated
    try:
        decoded = [base64url_decode(part) for part in parts]
        header, claims = orjson.loads(decoded[0]), orjson.loads(decoded[1])
        issuer, kid = claims["iss"], header.get("kid")
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Unauthenticated from None
    # Several texts are the same bytes: only the one that the signer wrote is taken.
    if [base64url_encode(one).decode() for one in decoded] != parts:
        raise Unauthenticated
    if not isinstance(issuer, str) or not isinstance(kid, str | None):
        raise Unauthenticated
    return Claimed(text, issuer, kid)


def verified(
    token: Claimed, key: Any, algorithms: Sequence[str], *, issuer: str, audience: str, needs: Sequence[str]
) -> Mapping[str, Any]:
    """The claims of a token that is signed by ``key``, for ``audience``, and valid now. Raises Unauthenticated."""
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token.text,
            key,
            algorithms=algorithms,
            issuer=issuer,
            audience=audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["iss", "aud", "exp", *needs]},
        )
    except _BROKEN:
        raise Unauthenticated from None
    return claims
