"""One batch or object by the client's id, or NOT_FOUND. What the viewer cannot read does not exist."""

from graph.context import Context
from models import reads
from models.errors import NotFound
from models.filters import HasBatchId, HasObjectId
from models.pages import Bounds, Row


async def batch(context: Context, batch_id: str) -> Row:
    page = await reads.batches(context.scope, HasBatchId((batch_id,)), Bounds(1))
    if not page.rows:
        raise NotFound("There is no batch with this batchId.", batchId=batch_id)
    return page.rows[0]


async def object_(context: Context, object_id: str) -> Row:
    page = await reads.objects(context.scope, HasObjectId((object_id,)), Bounds(1))
    if not page.rows:
        raise NotFound("There is no object with this objectId.", objectId=object_id)
    return page.rows[0]
