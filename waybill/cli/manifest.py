"""`waybill manifest`: what is in a batch, in the lines that its digest is made of."""

from typing import Any

import click
import orjson

from waybill.cli.client import PAGE, Service, client_command, of_batch

# From the end, because lists are newest first; a page is newest first itself.
LIST = """query Manifest($id: String!, $last: Int, $before: String) { batch(batchId: $id) { sealedAt
  objects(last: $last, before: $before) {
    nodes { objectId data { key value } file { name contentType size sha256 } }
    pageInfo { hasPreviousPage startCursor } } } }"""


@client_command("manifest")
@click.argument("batch_id", metavar="BATCH")
async def manifest(service: Service, batch_id: str, as_json: bool) -> None:  # noqa: ARG001 - it is JSON anyway
    """Print what is in BATCH: one line of JSON per object, in the order in which they were made.

    Sorted by the objects' ids, the lines of a sealed batch have the batch's digest as their SHA-256.
    """
    page = await _page(service, batch_id, None)
    if page["sealedAt"] is None:
        click.echo("The batch is not sealed: it may change, and has no digest.", err=True)
    while True:
        for node in reversed(page["objects"]["nodes"]):
            click.echo(orjson.dumps(node, option=orjson.OPT_SORT_KEYS))
        if not page["objects"]["pageInfo"]["hasPreviousPage"]:
            return
        page = await _page(service, batch_id, page["objects"]["pageInfo"]["startCursor"])


async def _page(service: Service, batch_id: str, before: str | None) -> Any:
    with of_batch(batch_id):
        return (await service.page(LIST, {"last": PAGE}, id=batch_id, before=before))["batch"]
