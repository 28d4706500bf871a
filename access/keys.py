"""Making, replacing and revoking keys, by their users and by the tenant's admins."""

from datetime import timedelta

from access.credentials import new_secret
from access.policy import Viewer, require, require_keys
from models import AccessLevel, Action, KeyScope, audit, database, keys, people
from models.audit import Actor, about_key
from models.errors import BadInput, Conflict, Forbidden, NotFound, short
from models.keys import Whose
from models.pages import Row

_LONGEST_NAME = 128
_LONGEST_LIFE = timedelta(days=10 * 366)
_LONGEST_OVERLAP = timedelta(days=30)


async def create(
    viewer: Viewer, user_name: str | None, name: str, scope: KeyScope, lifetime: timedelta | None
) -> tuple[Row, str]:
    """The key's row, and the key, whole. Without ``user_name`` it is the viewer's own."""
    check(name, lifetime)
    if viewer.operator_id is not None and user_name in (None, viewer.user_name):
        raise Forbidden("An operator has no keys of a tenant: name one of its users.")
    user_id = viewer.user_id if user_name in (None, viewer.user_name) else await _other(viewer, user_name or "")
    require_keys(viewer, scope)
    whole, secret = new_secret()
    async with database.transaction():
        made = await keys.create(viewer.tenant_id, user_id, name, scope, lifetime, secret)
        await audit.record(viewer.actor, about_key(Action.KEY_CREATED, made, user_name or viewer.user_name))
    return made, whole


async def _other(viewer: Viewer, name: str) -> int:
    """Who sees all users but may not make keys for them is told so; for all others there is nobody."""
    user = await people.named(viewer.tenant_id, name) if viewer.access.includes(AccessLevel.VIEW) else None
    if user is None:
        raise NotFound("There is no user with this name.", userName=name)
    require(viewer, AccessLevel.ADMIN)
    return int(user["id"])


async def rotate(
    whose: Whose, public_id: str, overlap: timedelta, viewer: Viewer | None = None
) -> tuple[Row, Row, str]:
    """The old key's row, the new one's, and the new key, whole.

    The new one has the user, name, scope and length of life of the old one, which ends after ``overlap``. Without
    ``viewer`` nobody is asked: that is for who works on the database itself.
    """
    if not timedelta(0) <= overlap <= _LONGEST_OVERLAP:
        raise BadInput(f"The overlap must be from 0 seconds to {_LONGEST_OVERLAP.days} days.")
    async with database.transaction():
        old = await _changeable(whose, public_id, viewer)
        if not old["works"] or old["rotated_at"] is not None:
            raise Conflict("The key is revoked, over, or rotated already: make a new one.")
        whole, secret = new_secret()
        scope = KeyScope(old["scope"])
        new = await keys.create(old["tenant_id"], old["user_id"], old["name"], scope, old["lifetime"], secret)
        await _record(viewer, Action.KEY_ROTATED, old, newKeyId=secret.public_id)
        return await keys.end(old["tenant_id"], old["id"], overlap), new, whole


async def revoke(whose: Whose, public_id: str, viewer: Viewer | None = None) -> Row:
    """Without ``viewer`` nobody is asked, as in ``rotate``."""
    async with database.transaction():
        found = await _changeable(whose, public_id, viewer)
        await _record(viewer, Action.KEY_REVOKED, found)
        return await keys.revoke(found["tenant_id"], found["id"])


async def _record(viewer: Viewer | None, action: Action, key: Row, **more: str) -> None:
    [user] = await people.some_users(key["tenant_id"], [key["user_id"]])
    actor = viewer.actor if viewer else Actor(key["tenant_id"])
    await audit.record(actor, about_key(action, key, user["name"], **more))


async def _changeable(whose: Whose, public_id: str, viewer: Viewer | None) -> Row:
    found = await keys.locked(whose, public_id)
    if found is None:
        raise NotFound("There is no key with this keyId.", keyId=short(public_id))
    if viewer is not None:
        require_keys(viewer, KeyScope(found["scope"]))
    return found


def check(name: str, lifetime: timedelta | None) -> None:
    """Raises BadInput for what no key can have."""
    if not 0 < len(name) <= _LONGEST_NAME:
        raise BadInput(f"A key's name has 1 to {_LONGEST_NAME} characters.")
    if lifetime is not None and not timedelta(seconds=1) <= lifetime <= _LONGEST_LIFE:
        raise BadInput("A key is valid for 1 second to 10 years.")
