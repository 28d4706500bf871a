"""Who may: the one place that decides. ``readable`` says what exists for a viewer, ``require`` what may be done.

Read first (what is not there is NOT_FOUND), then require (FORBIDDEN), so that nothing leaks its existence.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from models import AccessLevel, KeyScope, Role
from models.errors import Forbidden
from models.filters import AnyOf, Everything
from models.keys import Whose
from models.pages import Scope

MOST = {KeyScope.READ: AccessLevel.VIEW, KeyScope.WRITE: AccessLevel.EDIT, KeyScope.ADMIN: AccessLevel.ADMIN}
_SCOPE = {level: scope for scope, level in MOST.items()}


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever sent the request: the user of an API key or a token, in a tenant."""

    key_id: str
    user_id: int
    user_name: str
    role: Role
    tenant_id: int
    tenant_slug: str
    member_access: AccessLevel
    most: AccessLevel  # that the credential allows, whatever the user may

    @property
    def access(self) -> AccessLevel:
        """To everything in the tenant: admins have all, members what the tenant gives its members, keys no more."""
        return self.own_access.at_most(self.most)

    @property
    def own_access(self) -> AccessLevel:
        """The user's, with a key of any scope."""
        return AccessLevel.ADMIN if self.role is Role.ADMIN else self.member_access

    @property
    def scope(self) -> KeyScope:
        return _SCOPE[self.most]


def readable(viewer: Viewer) -> Scope:
    """The batches and objects that exist for the viewer."""
    return Scope(viewer.tenant_id, Everything() if viewer.access.includes(AccessLevel.VIEW) else AnyOf(()))


def readable_users(viewer: Viewer, user_ids: Iterable[int]) -> list[int]:
    """Those among the given that exist for the viewer, if they are of the tenant at all."""
    return [one for one in user_ids if one == viewer.user_id or viewer.access.includes(AccessLevel.VIEW)]


def require(viewer: Viewer, level: AccessLevel) -> None:
    """EDIT makes and changes batches and objects, ADMIN deletes them. Raises Forbidden."""
    if viewer.own_access.includes(level):
        require_scope(viewer, _SCOPE.get(level, KeyScope.READ))
    elif not viewer.access.includes(level):
        raise Forbidden(f"This needs {level} access; yours is {viewer.access}.", required=level.value)


def require_scope(viewer: Viewer, scope: KeyScope) -> None:
    """Raises Forbidden where the key allows less."""
    if not viewer.scope.includes(scope):
        raise Forbidden(
            f"This needs a key of the scope {scope}; yours has {viewer.scope}.",
            required=MOST[scope].value,
            requiredScope=scope.value,
        )


def own_keys(viewer: Viewer) -> Whose:
    return Whose(viewer.tenant_id, viewer.user_id)


def readable_keys(viewer: Viewer) -> Whose:
    """Admins see and manage the keys of everybody in the tenant, all others their own."""
    return Whose(viewer.tenant_id) if viewer.access is AccessLevel.ADMIN else own_keys(viewer)


def require_keys(viewer: Viewer, scope: KeyScope) -> None:
    """To make or change a key of this scope: a READ key changes nothing, and none gives or takes more than it has.

    A user's own access does not matter: a key allows its user no more than that. Raises Forbidden.
    """
    require_scope(viewer, max(scope, KeyScope.WRITE, key=list(KeyScope).index))
