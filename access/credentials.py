"""API keys: ``wb_<public id>_<secret>``. The secret is shown once, when the key is made; its SHA-256 is kept.

A plain SHA-256 is right here: the secret is 256 random bits, so there is nothing to guess that a slow hash would slow.
"""

import hashlib
import hmac
import re
import secrets

from access.policy import Viewer
from models import AccessLevel, ApiKey, Role, User, people
from models.errors import Unauthenticated

_KEY = re.compile(r"wb_([0-9a-f]{16})_([0-9a-f]{64})")
_NO_SECRET = bytes(32)


async def create_key(user: User, name: str) -> str:
    """A new key of the user, whole; it cannot be shown again."""
    public_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    await ApiKey.create(
        tenant_id=user.tenant_id, user=user, name=name, public_id=public_id, secret_sha256=_sha256(secret)
    )
    return f"wb_{public_id}_{secret}"


async def authenticate(authorization: str | None) -> Viewer:
    """The viewer of an ``Authorization`` header; raises Unauthenticated, the same for every reason.

    One statement and one comparison whether or not the key exists.
    """
    scheme, _, credential = (authorization or "").partition(" ")
    match = _KEY.fullmatch(credential.strip())
    if scheme.lower() != "bearer" or match is None:
        raise Unauthenticated
    row = await people.holder_of_key(match[1])
    secret_is_right = hmac.compare_digest(_sha256(match[2]), row["secret_sha256"] if row else _NO_SECRET)
    if row is None or not secret_is_right or not row["valid"]:
        raise Unauthenticated
    return Viewer(
        key_id=match[1],
        user_id=row["user_id"],
        user_name=row["name"],
        role=Role(row["role"]),
        tenant_id=row["tenant_id"],
        tenant_slug=row["slug"],
        member_access=AccessLevel(row["member_access"]),
    )


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
