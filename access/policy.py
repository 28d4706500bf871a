"""Who may: the one place that decides. ``readable`` says what exists for a viewer, ``require`` what may be done.

Read first (what is not there is NOT_FOUND), then require (FORBIDDEN), so that nothing leaks its existence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from models import AccessLevel, KeyScope, Role, grants
from models.audit import Actor
from models.errors import Forbidden
from models.filters import Everything, Granted
from models.grants import Thing
from models.keys import Whose
from models.pages import Scope

MOST = {KeyScope.READ: AccessLevel.VIEW, KeyScope.WRITE: AccessLevel.EDIT, KeyScope.ADMIN: AccessLevel.ADMIN}
_SCOPE = {level: scope for scope, level in MOST.items()}


@dataclass(frozen=True)
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
    operator_id: int | None = None  # of an operator who acts as the tenant; the user stands for him then

    @cached_property
    def access(self) -> AccessLevel:
        """To everything in the tenant: admins have all, members what the tenant gives its members, keys no more."""
        return self.own_access.at_most(self.most)

    @cached_property
    def own_access(self) -> AccessLevel:
        """The user's, with a key of any scope."""
        return AccessLevel.ADMIN if self.role is Role.ADMIN else self.member_access

    @property
    def scope(self) -> KeyScope:
        return _SCOPE[self.most]

    @property
    def actor(self) -> Actor:
        """As the audit log names whoever it was."""
        return Actor(self.tenant_id, self.user_id, self.operator_id, self.key_id)

    @cached_property
    def _readable(self) -> Scope:
        everything = self.access.includes(AccessLevel.VIEW)
        return Scope(self.tenant_id, Everything() if everything else Granted(self.user_id))


@dataclass(frozen=True, slots=True)
class Operator:
    """Whoever stands above tenants, as long as he does not act as one of them."""

    key_id: str
    operator_id: int
    name: str
    tenant_id: int = 0  # no tenant's: what is counted by tenant is counted for all operators together

    def actor_on(self, tenant_id: int) -> Actor:
        """As the audit log of the tenant names the operator."""
        return Actor(tenant_id, operator_id=self.operator_id, key_id=self.key_id)


Caller: TypeAlias = Viewer | Operator


def identity(caller: Caller) -> tuple[str, int, str]:
    """Who is who beside the tenant, as far as one may be given again what was answered to the other.

    Any key or token of the same user will do, but none that allows less or more.
    """
    if isinstance(caller, Operator):
        return "operator", caller.operator_id, ""
    return "user", caller.user_id, caller.most


def as_viewer(caller: Caller) -> Viewer:
    """Raises Forbidden for operators: what is a tenant's is none of their business."""
    if isinstance(caller, Operator):
        raise Forbidden("Operators see nothing of a tenant: act as one, with the header Waybill-Tenant.")
    return caller


def as_operator(caller: Caller) -> Operator:
    """Raises Forbidden for everybody else, and for operators who act as a tenant."""
    if isinstance(caller, Viewer):
        raise Forbidden("This is for operators, who stand above tenants.")
    return caller


def readable(viewer: Viewer) -> Scope:
    """The batches and objects that exist for the viewer."""
    return viewer._readable  # noqa: SLF001 - asked for by each of his requests


def signed_for(tenant_id: int) -> Scope:
    """What exists for a URL that was signed for somebody of the tenant: it says itself what it is of."""
    return Scope(tenant_id)


async def levels(viewer: Viewer, things: Sequence[Thing]) -> list[AccessLevel]:
    """How far the viewer may go with each, and the credential allows."""
    return [level.at_most(viewer.most) for level in await own_levels(viewer, things)]


async def own_levels(viewer: Viewer, things: Sequence[Thing]) -> list[AccessLevel]:
    """With a credential of any scope: the highest of what the role, the tenant and grants give."""
    if viewer.own_access is AccessLevel.ADMIN or not things:
        return [viewer.own_access] * len(things)
    return [
        viewer.own_access.or_higher(level) for level in await grants.levels(viewer.tenant_id, viewer.user_id, things)
    ]


def require(viewer: Viewer, level: AccessLevel) -> None:
    """In the whole tenant: EDIT makes batches, ADMIN decides about people. Raises Forbidden."""
    check(viewer, viewer.own_access, level)


async def require_on(viewer: Viewer, level: AccessLevel, things: Sequence[Thing]) -> None:
    """EDIT changes and adds to things, ADMIN deletes them and grants access to them. Raises Forbidden."""
    for own in dict.fromkeys(await own_levels(viewer, things)):
        check(viewer, own, level)


def check(viewer: Viewer, own: AccessLevel, level: AccessLevel) -> None:
    """Raises Forbidden where the viewer's ``own`` level, or the scope of the key, is not enough."""
    if not own.includes(level):
        raise Forbidden(f"This needs {level} access; yours is {own}.", required=level.value)
    require_scope(viewer, _SCOPE.get(level, KeyScope.READ))


def sees_everything(viewer: Viewer) -> bool:
    """What is counted of the whole tenant is for those who see all that is counted."""
    return viewer.access.includes(AccessLevel.VIEW)


def manages_sources(viewer: Viewer) -> bool:
    """Where a sync source's files come from and go to is the admins' business; everybody knows that there is one."""
    return viewer.access is AccessLevel.ADMIN


async def sees_people(viewer: Viewer) -> bool:
    """Whether all users of the tenant exist for the viewer: not for those who can neither see nor grant anything."""
    return viewer.access.includes(AccessLevel.VIEW) or await grants.has_any(
        viewer.tenant_id, viewer.user_id, AccessLevel.ADMIN
    )


def listed_grants(viewer: Viewer, level: AccessLevel) -> int | None:
    """Whose grants to a thing the viewer sees who has this level to it: None for everybody's, else the viewer's own."""
    return None if level is AccessLevel.ADMIN else viewer.user_id


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
