"""Who may: the one place that decides. ``readable`` says what exists for a viewer, ``require`` what may be done.

Read first (what is not there is NOT_FOUND), then require (FORBIDDEN), so that nothing leaks its existence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models import AccessLevel, Role, grants
from models.errors import Forbidden
from models.filters import Everything, Granted
from models.grants import Thing
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
    everything = viewer.access.includes(AccessLevel.VIEW)
    return Scope(viewer.tenant_id, Everything() if everything else Granted(viewer.user_id))


async def levels(viewer: Viewer, things: Sequence[Thing]) -> list[AccessLevel]:
    """How far the viewer may go with each: the highest of what the role, the tenant and grants give."""
    if viewer.access is AccessLevel.ADMIN or not things:
        return [viewer.access] * len(things)
    return [viewer.access.or_higher(level) for level in await grants.levels(viewer.user_id, things)]


def require(viewer: Viewer, level: AccessLevel) -> None:
    """In the whole tenant: EDIT makes batches, ADMIN decides about people. Raises Forbidden."""
    check(viewer.access, level)


async def require_on(viewer: Viewer, level: AccessLevel, things: Sequence[Thing]) -> None:
    """EDIT changes and adds to things, ADMIN deletes them and grants access to them. Raises Forbidden."""
    for given in await levels(viewer, things):
        check(given, level)


def check(given: AccessLevel, level: AccessLevel) -> None:
    """Raises Forbidden where the level given is not enough."""
    if not given.includes(level):
        raise Forbidden(f"This needs {level} access; yours is {given}.", required=level.value)


async def sees_people(viewer: Viewer) -> bool:
    """Whether all users of the tenant exist for the viewer: not for those who can neither see nor grant anything."""
    return viewer.access.includes(AccessLevel.VIEW) or await grants.has_any(viewer.user_id, AccessLevel.ADMIN)


def listed_grants(viewer: Viewer, level: AccessLevel) -> int | None:
    """Whose grants to a thing the viewer sees who has this level to it: None for everybody's, else the viewer's own."""
    return None if level is AccessLevel.ADMIN else viewer.user_id
