"""Who may: the one place that decides. ``readable`` says what exists for a viewer, ``require`` what may be done.

Read first (what is not there is NOT_FOUND), then require (FORBIDDEN), so that nothing leaks its existence.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from models import AccessLevel, Role
from models.errors import Forbidden
from models.filters import AnyOf, Everything
from models.pages import Scope


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever sent the request: an API key's user, in a tenant."""

    key_id: str
    user_id: int
    user_name: str
    role: Role
    tenant_id: int
    tenant_slug: str
    member_access: AccessLevel

    @property
    def access(self) -> AccessLevel:
        """To everything in the tenant: admins have all, members what the tenant gives its members."""
        return AccessLevel.ADMIN if self.role is Role.ADMIN else self.member_access


def readable(viewer: Viewer) -> Scope:
    """The batches and objects that exist for the viewer."""
    return Scope(viewer.tenant_id, Everything() if viewer.access.includes(AccessLevel.VIEW) else AnyOf(()))


def readable_users(viewer: Viewer, user_ids: Iterable[int]) -> list[int]:
    """Those among the given that exist for the viewer, if they are of the tenant at all."""
    return [one for one in user_ids if one == viewer.user_id or viewer.access.includes(AccessLevel.VIEW)]


def require(viewer: Viewer, level: AccessLevel) -> None:
    """EDIT makes and changes batches and objects, ADMIN deletes them. Raises Forbidden."""
    if not viewer.access.includes(level):
        raise Forbidden(f"This needs {level} access; yours is {viewer.access}.", required=level.value)
