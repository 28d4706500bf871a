"""Everything that can be asked."""

import strawberry

from graph.queries.audit import AuditQuery
from graph.queries.batches import BatchQuery
from graph.queries.facets import FacetQuery
from graph.queries.nodes import NodeQuery
from graph.queries.objects import ObjectQuery
from graph.queries.operator import OperatorQuery
from graph.queries.syncs import SyncQuery
from graph.queries.users import UserQuery
from graph.queries.viewer import ViewerQuery


@strawberry.type(description="Everything that can be asked.")
class Query(
    NodeQuery, ViewerQuery, UserQuery, BatchQuery, ObjectQuery, FacetQuery, SyncQuery, AuditQuery, OperatorQuery
):
    pass
