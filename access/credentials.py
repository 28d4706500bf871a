"""Who is at the door: an API key, ``wb_<public id>_<secret>``, or a token, of Waybill's own or of an OIDC issuer.

The whole key is shown once, when it is made; of its secret the SHA-256 is kept. A plain one is right here: the secret
is 256 random bits, so there is nothing to guess that a slow hash would slow. Nothing is kept in memory of who was let
in, so that whatever is revoked is refused from the next request on, in every process.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from access import jwts, tokens
from access.canaries import Watch
from access.oidc import Issuer
from access.policy import MOST, Viewer
from access.uses import Uses
from models import AccessLevel, Action, KeyScope, Role, User, audit, canaries, database, keys, people
from models.audit import Actor, about_key
from models.errors import Unauthenticated
from models.keys import Secret
from models.pages import Row
from models.trace import current

_KEY = re.compile(r"wb_([0-9a-f]{16})_([0-9a-f]{64})")
_NO_SECRET = bytes(32)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody at the door: what he shows, and whence he comes. Nothing of it is to be believed."""

    authorization: str | None
    address: str = ""
    agent: str = ""
    path: str = ""


def new_secret() -> tuple[str, Secret]:
    """A new key, whole, and what is kept of it."""
    public_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    return f"wb_{public_id}_{secret}", Secret(public_id, _sha256(secret))


async def create_key(user: User, name: str, scope: KeyScope = KeyScope.ADMIN, lifetime: timedelta | None = None) -> str:
    """A new key of the user, whole; it cannot be shown again. For who works on the database itself."""
    whole, secret = new_secret()
    async with database.transaction():
        made = await keys.create(user.tenant_id, user.id, name, scope, lifetime, secret)
        await audit.record(Actor(user.tenant_id), about_key(Action.KEY_CREATED, made, user.name))
    return whole


class Authenticator:
    """Without ``token_secret`` or ``issuer`` no such tokens are let in.

    ``uses`` is told of the keys that were used, ``watch`` of canaries.
    """

    def __init__(
        self,
        *,
        token_secret: str = "",
        issuer: Issuer | None = None,
        uses: Uses | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._token_secret = token_secret
        self._issuer = issuer
        self._uses = uses
        self._watch = watch

    async def __call__(self, attempt: Attempt) -> Viewer:
        """Raises Unauthenticated, the same for every reason, and IssuerUnavailable where only the issuer could tell."""
        scheme, _, credential = (attempt.authorization or "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer":
            raise Unauthenticated
        if (match := _KEY.fullmatch(credential)) is not None:
            return await self._by_key(match[1], match[2], attempt)
        return await self._by_token(credential)

    async def _by_key(self, public_id: str, secret: str, attempt: Attempt) -> Viewer:
        """One statement and one comparison whether or not the key exists, and one more for all that are refused."""
        row = await keys.holder(public_id)
        secret_is_right = hmac.compare_digest(_sha256(secret), row["secret_sha256"] if row else _NO_SECRET)
        if row is None or not secret_is_right or not row["valid"]:
            # Asked of every key that is refused: a canary must take no longer than the others.
            if await canaries.is_one(public_id) and self._watch is not None:
                self._watch.saw(public_id, attempt.address, attempt.agent, attempt.path, _request_id())
            raise Unauthenticated
        if row["unseen"] and self._uses is not None:
            self._uses.add(row["id"])
        return _viewer(public_id, row, MOST[KeyScope(row["scope"])])

    async def _by_token(self, text: str) -> Viewer:
        """Who signed it decides how it is verified, never the token's own word for the algorithm."""
        token = jwts.read(text)
        if token.issuer == tokens.ISSUER and self._token_secret:
            kind = "token"
            row = await people.with_id(*tokens.holder(self._token_secret, token))
        elif self._issuer is not None and token.issuer == self._issuer.name:
            kind = "oidc"
            row = await people.with_oidc_subject(await self._issuer.subject(token))
        else:
            raise Unauthenticated
        if row is None:
            raise Unauthenticated
        return _viewer(f"{kind}:{row['user_id']}", row, AccessLevel.ADMIN)


def _viewer(key_id: str, row: Row, most: AccessLevel) -> Viewer:
    return Viewer(
        key_id=key_id,
        user_id=row["user_id"],
        user_name=row["name"],
        role=Role(row["role"]),
        tenant_id=row["tenant_id"],
        tenant_slug=row["slug"],
        member_access=AccessLevel(row["member_access"]),
        most=most,
    )


def _request_id() -> str | None:
    trace = current.get()
    return trace.request_id if trace else None


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
