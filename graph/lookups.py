"""One batch or object by the client's id, or NOT_FOUND. What the viewer cannot read does not exist."""

from graph.context import Context
from graph.inputs import is_id
from models import reads
from models.errors import NotFound
from models.filters import HasBatchId
from models.pages import Bounds, Row


async def batch(context: Context, batch_id: str) -> Row:
    if is_id(batch_id, context.limits):
        page = await reads.batches(context.scope, HasBatchId((batch_id,)), Bounds(1))
        if page.rows:
            return page.rows[0]
    raise NotFound("There is no batch with this batchId.", batchId=batch_id)


async def object_(context: Context, object_id: str) -> Row:
    if is_id(object_id, context.limits):
        row = await reads.object_with_id(context.scope, object_id)
        if row is not None:
            return row
    raise NotFound("There is no object with this objectId.", objectId=object_id)
