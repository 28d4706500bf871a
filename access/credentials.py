"""Who is at the door: an API key, ``wb_<public id>_<secret>``, or a token, of Waybill's own or of an OIDC issuer.

The whole key is shown once, when it is made; of its secret the SHA-256 is kept. A plain one is right here: the secret
has 224 random bits, so there is nothing to guess that a slow hash would slow. Nothing is kept in memory here of who was
let in; ``remembered.py`` does that, for a second.
"""

import hashlib
import hmac
from datetime import timedelta
from typing import NamedTuple

from access import jwts, key_form, tokens
from access.canaries import Watch
from access.oidc import Issuer
from access.policy import MOST, Caller, Operator, Viewer
from access.uses import Uses
from models import AccessLevel, Action, KeyScope, Role, User, audit, database, keys, operators, people
from models.audit import Actor, Entry, about_key
from models.errors import Forbidden, TenantSuspended, Unauthenticated
from models.keys import Secret
from models.pages import Row
from models.trace import current

_NO_SECRET = bytes(32)
_TOKENS = ":"  # what their ids have in them, and those of keys have not


class Attempt(NamedTuple):
    """Somebody at the door: what he shows, and whence he comes. Nothing of it is to be believed."""

    authorization: str | None
    address: str = ""
    agent: str = ""
    path: str = ""
    tenant: str | None = None  # that an operator wants to act as


def new_secret() -> tuple[str, Secret]:
    """A new key, whole, and what is kept of it."""
    whole = key_form.new()
    _, public_id, secret = whole.split("_")
    return whole, Secret(public_id, _sha256(secret))


async def create_key(user: User, name: str, scope: KeyScope = KeyScope.ADMIN, lifetime: timedelta | None = None) -> str:
    """A new key of the user, whole; it cannot be shown again. For who works on the database itself."""
    return await create_key_of(Actor(user.tenant_id), user.id, user.name, name, scope, lifetime)


async def create_key_of(
    actor: Actor,
    user_id: int,
    user_name: str,
    name: str,
    scope: KeyScope = KeyScope.ADMIN,
    lifetime: timedelta | None = None,
) -> str:
    """The same for a user of the actor's tenant, by primary key."""
    assert actor.tenant_id is not None  # noqa: S101 - a user is of a tenant
    whole, secret = new_secret()
    async with database.transaction():
        made = await keys.create(actor.tenant_id, user_id, name, scope, lifetime, secret)
        await audit.record(actor, about_key(Action.KEY_CREATED, made, user_name))
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

    async def __call__(self, attempt: Attempt) -> Caller:
        """Raises Unauthenticated, the same for every reason, and IssuerUnavailable where only the issuer could tell.

        And what an operator is told who names no tenant (NotFound), or somebody else who names another (Forbidden).
        """
        caller = await self._let_in(attempt)
        if attempt.tenant not in (None, caller.tenant_slug if isinstance(caller, Viewer) else None):
            raise Forbidden("Only operators act as another tenant: leave out the header Waybill-Tenant.")
        return caller

    async def _let_in(self, attempt: Attempt) -> Caller:
        scheme, _, credential = (attempt.authorization or "").partition(" ")
        credential = credential.strip()
        if scheme.lower() != "bearer":
            raise Unauthenticated
        if (key := key_form.parts(credential)) is not None:
            return await self._by_key(*key, attempt)
        return await self._by_token(credential)

    async def _by_key(self, public_id: str, secret: str, attempt: Attempt) -> Caller:
        """One statement and one comparison for a user's key, and one more of each for all others."""
        row = await keys.holder(public_id)
        right = _is_secret(secret, row)
        if row is not None and right and row["valid"]:
            if row["unseen"] and self._uses is not None:
                self._uses.add(row["id"])
            return _viewer(public_id, row, MOST[KeyScope(row["scope"])])
        # Asked of every key that is refused: a canary must take no longer than the others.
        other = await operators.stranger(public_id)
        right = _is_secret(secret, other)
        if other is not None and right and other["valid"]:
            return await self._operator(public_id, other, attempt)
        if other is not None and other["id"] is None and self._watch is not None:
            self._watch.saw(public_id, attempt.address, attempt.agent, attempt.path, _request_id())
        raise Unauthenticated

    async def _operator(self, public_id: str, row: Row, attempt: Attempt) -> Caller:
        """As himself, or as an admin of the tenant that the request names."""
        if attempt.tenant is None:
            return Operator(public_id, row["id"], row["name"])
        async with database.transaction():
            place = await operators.stand_in(attempt.tenant, row["name"])
            actor = Actor(place["tenant_id"], place["user_id"], row["id"], public_id)
            await audit.record(actor, Entry(Action.OPERATOR_ACTED, details={"requestId": _request_id() or ""}))
        return Viewer(
            key_id=public_id,
            user_id=place["user_id"],
            user_name=place["name"],
            role=Role.ADMIN,
            tenant_id=place["tenant_id"],
            tenant_slug=place["slug"],
            member_access=AccessLevel(place["member_access"]),
            most=AccessLevel.ADMIN,
            operator_id=row["id"],
        )

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
        return _viewer(f"{kind}{_TOKENS}{row['user_id']}", row, AccessLevel.ADMIN)


async def confirm(caller: Caller) -> None:
    """That who was let in a while ago would be let in now and have no less access, in one statement.

    Raises Unauthenticated, TenantSuspended, Forbidden.
    """
    if caller.operator_id is not None:
        operator = await operators.still(caller.key_id, caller.tenant_id)
        if operator is None:
            raise Unauthenticated
        if operator["suspended"]:
            raise TenantSuspended(operators.SUSPENDED)
        return
    assert isinstance(caller, Viewer)  # noqa: S101 - who is no operator is a user
    if _TOKENS in caller.key_id:
        row, most = await people.with_id(caller.tenant_id, caller.user_id), caller.most
    else:
        row = await keys.holder(caller.key_id)
        row = row if row is not None and row["valid"] else None
        most = MOST[KeyScope(row["scope"])] if row is not None else caller.most
    if row is None:
        raise Unauthenticated
    if not _viewer(caller.key_id, row, most).access.includes(caller.access):
        raise Forbidden("Your access was lowered while the request ran: see what is done, and repeat the rest.")


def _viewer(key_id: str, row: Row, most: AccessLevel) -> Viewer:
    """Raises TenantSuspended, which only those hear who would otherwise be let in."""
    if row["suspended"]:
        raise TenantSuspended
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


def _is_secret(secret: str, row: Row | None) -> bool:
    """In the same time whether or not there is a row, or it has one."""
    kept = row["secret_sha256"] if row is not None else None
    return hmac.compare_digest(_sha256(secret), kept or _NO_SECRET)


def _request_id() -> str | None:
    trace = current.get()
    return trace.request_id if trace else None


def _sha256(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
