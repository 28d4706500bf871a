import strawberry

import models.keys
from access import policy
from graph.context import Context, Info
from graph.types.audit import AuditEntry
from graph.types.files import Upload
from graph.types.grants import Grant
from graph.types.keys import Key
from graph.types.node import Node, parse_global_id
from graph.types.objects import Batch, Object
from graph.types.people import User
from graph.types.sync_sources import SyncSource
from graph.types.syncs import Sync
from models import AccessLevel, audit, files, grants, reads, sources, syncs
from models.errors import BadInput, Forbidden, NotFound, WaybillError
from models.filters import HasKey
from models.grants import Thing
from models.pages import Bounds, Row


@strawberry.type
class NodeQuery:
    @strawberry.field(description="Anything by its global id; NOT_FOUND when there is none that you can read.")
    async def node(self, info: Info, id: strawberry.ID) -> Node | None:  # noqa: A002 -- Relay's name
        [found] = await _nodes(info.context, [id])
        if isinstance(found, WaybillError):
            raise found
        return found

    @strawberry.field(
        description="Several things by their global ids, in this order; null and NOT_FOUND for each that is not there."
    )
    async def nodes(self, info: Info, ids: list[strawberry.ID]) -> list[Node | None]:
        most = info.context.limits.max_page_size
        if len(ids) > most:
            raise BadInput(f'"ids" has {len(ids)} entries; at most {most} are allowed.')
        return await _nodes(info.context, ids)  # type: ignore[return-value]  # an exception becomes its entry's error


async def _nodes(context: Context, ids: list[strawberry.ID]) -> list[Node | WaybillError]:
    """One statement per type."""
    parsed = [parse_global_id(text) for text in ids]
    wanted: dict[str, set[int]] = {}
    for type_name, key in parsed:
        wanted.setdefault(type_name, set()).add(key)
    found: dict[tuple[str, int], Node | WaybillError] = {}
    for type_name, keys in wanted.items():
        found.update({(type_name, key): node for key, node in await _of_type(context, type_name, sorted(keys))})
    return [
        found.get(one) or NotFound("There is no node with this id.", id=text)
        for one, text in zip(parsed, ids, strict=True)
    ]


async def _of_type(context: Context, type_name: str, keys: list[int]) -> list[tuple[int, Node | WaybillError]]:
    match type_name:
        case "Batch":
            batches = await reads.batches(context.scope, HasKey(tuple(keys)), Bounds(len(keys)))
            return [(row["id"], Batch.of(row)) for row in batches.rows]
        case "Object":
            objects = await reads.objects(context.scope, HasKey(tuple(keys)), Bounds(len(keys)))
            return [(row["id"], Object.of(row)) for row in objects.rows]
        case "Upload":
            rows = await files.find(context.scope, keys)
            things = [Thing(row["batch_pk"], row["object_pk"]) for row in rows]
            levels = await policy.own_levels(context.viewer, things)
            return [(row["file_pk"], _upload(context, row, own)) for row, own in zip(rows, levels, strict=True)]
        case "Grant":
            rows = await grants.some(context.viewer.tenant_id, keys)
            levels = await policy.levels(context.viewer, [Thing(row["batch_pk"], row["object_pk"]) for row in rows])
            return [
                (row["id"], Grant.of(row))
                for row, level in zip(rows, levels, strict=True)
                if policy.listed_grants(context.viewer, level) in (None, row["user_id"])
            ]
        case "Key":
            whose = policy.readable_keys(context.viewer)
            return [(row["id"], Key.of(row)) for row in await models.keys.some(whose, keys)]
        case "AuditEntry" if context.viewer.access is AccessLevel.ADMIN:
            return [(row["id"], AuditEntry.of(row)) for row in await audit.some(context.viewer.tenant_id, keys)]
        case "Sync":
            return [(row["id"], Sync.of(row)) for row in await syncs.some(context.scope, keys)]
        case "SyncSource":
            return [(row["id"], SyncSource.of(row)) for row in await sources.some(context.viewer.tenant_id, keys)]
        case "User":
            return [(row["id"], User.of(row)) for row in await context.users.load_many(keys) if row]
        case _:
            return []


def _upload(context: Context, row: Row, own: AccessLevel) -> Upload | Forbidden:
    """It is leave to write, and so not for everybody who may read the object."""
    try:
        policy.check(context.viewer, own, AccessLevel.EDIT)
    except Forbidden as error:
        return error
    return Upload.of(row)
