import strawberry

from graph.context import Info
from graph.types.people import User
from graph.types.viewer import Tenant, Viewer


@strawberry.type
class ViewerQuery:
    @strawberry.field(description="Whoever sent this request.")
    async def viewer(self, info: Info) -> Viewer:
        viewer = info.context.viewer
        return Viewer(
            user=User.of(await info.context.users.load(viewer.user_id)),
            tenant=Tenant(pk=viewer.tenant_id, slug=viewer.tenant_slug, member_access=viewer.member_access),
            access=viewer.access,
            scope=viewer.scope,
        )
