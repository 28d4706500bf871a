import strawberry

import models.keys
from access.policy import readable_keys
from graph.context import Context, Info
from graph.types.files import Upload
from graph.types.keys import Key
from graph.types.node import Node, parse_global_id
from graph.types.objects import Batch, Object
from graph.types.people import User
from models import files, reads
from models.errors import BadInput, NotFound
from models.filters import HasKey
from models.pages import Bounds


@strawberry.type
class NodeQuery:
    @strawberry.field(description="Anything by its global id; NOT_FOUND when there is none that you can read.")
    async def node(self, info: Info, id: strawberry.ID) -> Node | None:  # noqa: A002 -- Relay's name
        [found] = await _nodes(info.context, [id])
        if isinstance(found, NotFound):
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


async def _nodes(context: Context, ids: list[strawberry.ID]) -> list[Node | NotFound]:
    """One statement per type."""
    parsed = [parse_global_id(text) for text in ids]
    wanted: dict[str, set[int]] = {}
    for type_name, key in parsed:
        wanted.setdefault(type_name, set()).add(key)
    found: dict[tuple[str, int], Node] = {}
    for type_name, keys in wanted.items():
        for node in await _of_type(context, type_name, sorted(keys)):
            found[parse_global_id(node.id)] = node
    return [
        found.get(one) or NotFound("There is no node with this id.", id=text)
        for one, text in zip(parsed, ids, strict=True)
    ]


async def _of_type(context: Context, type_name: str, keys: list[int]) -> list[Node]:
    match type_name:
        case "Batch":
            return [
                Batch.of(row)
                for row in (await reads.batches(context.scope, HasKey(tuple(keys)), Bounds(len(keys)))).rows
            ]
        case "Object":
            return [
                Object.of(row)
                for row in (await reads.objects(context.scope, HasKey(tuple(keys)), Bounds(len(keys)))).rows
            ]
        case "Upload":
            return [Upload.of(row) for row in await files.find(context.scope, keys)]
        case "Key":
            return [Key.of(row) for row in await models.keys.some(readable_keys(context.viewer), keys)]
        case "User":
            return [User.of(row) for row in await context.users.load_many(keys) if row]
        case _:
            return []
