"""Tokens that Waybill signs for its own users: short-lived, for whoever should not have a key.

HS256, because nobody but Waybill reads them: one secret, which every process has.
"""

from datetime import UTC, datetime, timedelta

import jwt

from access import jwts
from access.jwts import Claimed
from models.errors import BadInput, Unauthenticated

ISSUER = "waybill"
_AUDIENCE = "waybill"
_ALGORITHM = "HS256"
_LONGEST = timedelta(days=1)
_MOST_ID = (1 << 63) - 1


def sign(secret: str, tenant_id: int, user_id: int, lifetime: timedelta) -> str:
    """Raises BadInput unless it lives for a second to a day."""
    if not timedelta(seconds=1) <= lifetime <= _LONGEST:
        raise BadInput("a token is valid for 1 second to 1 day")
    now = datetime.now(UTC)
    claims = {
        "iss": ISSUER,
        "aud": _AUDIENCE,
        "sub": str(user_id),
        "tenant": str(tenant_id),
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
    }
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def holder(secret: str, token: Claimed) -> tuple[int, int]:
    """Keys of the tenant and the user that it was signed for. Raises Unauthenticated."""
    claims = jwts.verified(
        token, secret, [_ALGORITHM], issuer=ISSUER, audience=_AUDIENCE, needs=("iat", "nbf", "sub", "tenant")
    )
    return _id(claims["tenant"]), _id(claims["sub"])


def _id(text: object) -> int:
    if not isinstance(text, str) or not text.isdecimal() or not text.isascii() or not 0 < int(text) <= _MOST_ID:
        raise Unauthenticated
    return int(text)
