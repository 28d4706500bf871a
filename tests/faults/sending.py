"""What clients do with the files that they have announced, and others with their URLs."""

import asyncio
from typing import Any

from tests.faults.client import Answer, Client
from tests.faults.hooks import PART_BYTES
from tests.faults.ledger import Call, Upload

COMPLETE = """mutation($input: CompleteUploadsInput!) { completeUploads(input: $input) {
  results { uploadId state problem } } }"""
PARTS = "query($id: ID!) { node(id: $id) { ... on Upload { parts(first: 100) { nodes { number url etag } } } } }"


def new_body(client: Client) -> tuple[bytes, bool]:
    """And whether its SHA-256 is announced."""
    proved = client.rng.random() < 0.8
    if client.ledger.large_left and client.rng.random() < 0.1:
        client.ledger.large_left -= 1
        return client.rng.randbytes(1024) * (PART_BYTES // 1024) + client.rng.randbytes(
            client.rng.choice((1, 1_000))
        ), proved
    return client.rng.randbytes(client.rng.choice((0, 1, 100, 1_000, 2_000, 70_000))), proved


def uploads_of(client: Client, call: Call, answer: Answer, bodies: dict[str, tuple[bytes, bool]]) -> list[Upload]:
    made = []
    for one in answer.data["uploads"]:
        of = client.ledger.objects[one["object"]["objectId"]]
        body, proved = bodies[of.id]
        headers = {header["name"]: header["value"] for header in one["headers"]}
        in_parts = one["partCount"] is not None
        made.append(Upload(one["id"], of, call, body, proved, one["url"], headers, in_parts))
    for upload in made:
        client.ledger.uploads[upload.id] = upload
        upload.object.uploads.append(upload)
    return made


async def send_all(client: Client, uploads: list[Upload]) -> None:
    """As clients do, and others who are tired, confused or mean; then they say that it is done."""
    for upload in uploads:
        await client.rng.choice(_SENDINGS_IN_PARTS if upload.in_parts else _SENDINGS)(client, upload)
    some = [upload for upload in uploads if client.rng.random() < 0.85]
    if some:
        await complete(client, some)


async def _whole(client: Client, upload: Upload) -> None:
    await client.put(upload, upload.body)


async def _twice(client: Client, upload: Upload) -> None:
    await asyncio.gather(client.put(upload, upload.body), client.put(upload, upload.body))


async def _cut_off(client: Client, upload: Upload) -> None:
    await client.put_a_part(upload)


async def _cut_off_and_again(client: Client, upload: Upload) -> None:
    await client.put_a_part(upload)
    await client.put(upload, upload.body)


async def _wrong(client: Client, upload: Upload) -> None:
    """Other bytes of the same number; right ones do not come after them."""
    await client.put(upload, client.rng.randbytes(len(upload.body)))


async def _wrong_past_all_checks(client: Client, upload: Upload) -> None:
    """As an S3 server takes them that enforces nothing; their number may be another."""
    body = client.rng.randbytes(len(upload.body) + client.rng.choice((0, 0, 1)))
    await client.put(upload, body, client.raw_url(upload))


async def _not_at_all(client: Client, upload: Upload) -> None:
    """Or late: see ``late``."""


_SENDINGS = (
    _whole, _whole, _whole, _whole, _whole, _twice, _cut_off, _cut_off_and_again, _wrong, _wrong_past_all_checks,
    _not_at_all,
)  # fmt: skip


async def _parts(client: Client, upload: Upload, *, lost: bool = False, twice: bool = False) -> None:
    """Those that S3 does not have, in any order; ``lost``: and of these not all."""
    found = (await client.query(PARTS, id=upload.id)).data
    nodes = found["parts"]["nodes"] if found and "parts" in found else []  # it may be gone, or go meanwhile
    upload.part_urls |= {part["number"]: part["url"] for part in nodes}
    missing = [part["number"] for part in nodes if part["etag"] is None]
    client.rng.shuffle(missing)
    if not lost:
        upload.sent.append(upload.body)
    for number in missing[lost:] * (1 + twice):
        await _part(client, upload, number, upload.body)


async def _part(client: Client, upload: Upload, number: int, body: bytes) -> None:
    piece = body[(number - 1) * PART_BYTES : number * PART_BYTES]
    if upload.part_urls[number] and (etag := await client.send(upload.part_urls[number], piece, {})):
        upload.etags[number] = etag


async def _all_parts(client: Client, upload: Upload) -> None:
    await _parts(client, upload)


async def _parts_twice(client: Client, upload: Upload) -> None:
    await _parts(client, upload, twice=True)


async def _parts_broken_off(client: Client, upload: Upload) -> None:
    await _parts(client, upload, lost=True)


async def _parts_with_a_break(client: Client, upload: Upload) -> None:
    """Somebody asks too early for them to be put together, and then they go on."""
    await _parts(client, upload, lost=True)
    await complete(client, [upload])
    await _parts(client, upload)


async def _wrong_part(client: Client, upload: Upload) -> None:
    """Of the right size, after the right one."""
    await _parts(client, upload)
    wrong = upload.body[:PART_BYTES] + client.rng.randbytes(len(upload.body) - PART_BYTES)
    upload.sent.append(wrong)
    if upload.part_urls:
        await _part(client, upload, 2, wrong)


_SENDINGS_IN_PARTS = (
    _all_parts, _all_parts, _parts_twice, _parts_broken_off, _parts_with_a_break, _wrong_part, _not_at_all,
)  # fmt: skip


async def late(client: Client) -> None:
    """Bytes of uploads that may have been given up long since, whose request began in time."""
    for upload in list(client.ledger.uploads.values()):
        if client.rng.random() < 0.5:
            continue
        if upload.in_parts:
            if upload.part_urls:
                upload.sent.append(upload.body)
                await _part(client, upload, 2, upload.body)
        elif not upload.sent:
            await client.put(upload, upload.body)


async def complete(client: Client, uploads: list[Upload]) -> None:
    call = client.ledger.call(client.number, f"completeUploads {[one.id for one in uploads]}")
    given: dict[str, Any] = {"uploadIds": [one.id for one in uploads]}
    if client.rng.random() < 0.5:
        given["parts"] = [
            {"uploadId": one.id, "parts": [{"number": part, "etag": etag} for part, etag in one.etags.items()]}
            for one in uploads
            if one.in_parts and one.etags
        ]
    told(client, call, uploads, await client.mutate(call, COMPLETE, input=given))


def told(client: Client, call: Call, uploads: list[Upload], answer: Answer) -> None:
    """What became of the uploads."""
    if answer.data is None:
        return
    for upload, result in zip(uploads, answer.data["results"], strict=True):
        call.detail += f" {result['state'] or result['problem']}"
        if result["state"] == "COMPLETE":
            upload.complete = True
        elif result["state"] == "EXPIRED":
            upload.over = True
        elif result["problem"] == "NOT_FOUND":
            client.ledger.not_there(upload.object, str(call))
