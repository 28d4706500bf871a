"""Large files in parts, with a real S3 server: sent, sent again, put together, given up."""

import hashlib
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.exceptions import ClientError

from models import database
from models.errors import StorageUnavailable
from storage import multipart
from storage.client import Storage
from tests.conftest import Caller, NewCaller
from tests.graph.test_quotas import limit, usage
from tests.uploads import (
    CREATE_BATCH,
    FILE,
    announced,
    completed,
    content,
    file_of,
    put,
)

PART = 5 * 1024**2  # the least that S3 takes
BODY = bytes(range(256)) * (PART // 256) + b"the rest"  # two parts
DIGEST = hashlib.sha256(BODY).hexdigest()

PARTS = """query($id: ID!, $first: Int = 100, $after: String, $last: Int, $before: String) {
  node(id: $id) { ... on Upload { state url headers { name } partSize partCount expiresAt
  parts(first: $first, after: $after, last: $last, before: $before) {
    totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    nodes { number size url headers { name value } expiresAt etag } } } } }"""
COMPLETE = """mutation($ids: [ID!]!, $parts: [SentPartsInput!]) {
  completeUploads(input: {uploadIds: $ids, parts: $parts}) { results { state problem parts } } }"""
ABORT = "mutation($ids: [ID!]!) { abortUploads(input: {uploadIds: $ids}) { results { state problem } } }"
PENDING = "query($id: String!) { object(objectId: $id) { pendingUpload { id partCount parts { nodes { etag } } } } }"
CHECKSUM = "query($id: String!) { object(objectId: $id) { file { sha256 checksum { algorithm value } } } }"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multipart, "_LEAST_PART_BYTES", PART)


async def parts_of(caller: Caller, upload: Any) -> list[Any]:
    nodes: list[Any] = (await caller.execute(PARTS, id=upload["id"]))["node"]["parts"]["nodes"]
    return nodes


def piece(number: int) -> bytes:
    return BODY[(number - 1) * PART : number * PART]


async def send(caller: Caller, upload: Any, *numbers: int) -> dict[int, str]:
    """The parts of ``BODY`` with these numbers, all of them if there are none; their ETags."""
    etags = {}
    async with httpx.AsyncClient(trust_env=False) as client:
        for part in await parts_of(caller, upload):
            if not numbers or part["number"] in numbers:
                answer = await client.put(part["url"], content=piece(part["number"]))
                assert answer.status_code == 200
                etags[part["number"]] = answer.headers["etag"]
    return etags


async def complete(caller: Caller, upload: Any, etags: dict[int, str] | None = None) -> tuple[Any, ...]:
    given = None
    if etags is not None:
        given = [{"uploadId": upload["id"], "parts": [{"number": n, "etag": etag} for n, etag in etags.items()]}]
    data = await caller.execute(COMPLETE, ids=[upload["id"]], parts=given)
    return tuple(data["completeUploads"]["results"][0].values())


async def place_of(caller: Caller) -> tuple[str, str, str]:
    """Of the tenant's newest upload."""
    [row, *_] = await database.fetch(
        "SELECT bucket, key, multipart_id FROM uploads WHERE tenant_id = $1 ORDER BY id DESC", caller.tenant.id
    )
    return row["bucket"], row["key"], row["multipart_id"]


async def stored(caller: Caller, **other: Any) -> Any:
    upload = await announced(caller, BODY, **other)
    await send(caller, upload)
    assert await complete(caller, upload) == ("COMPLETE", None, [])
    return upload


async def test_large_file_goes_up_in_parts_is_proved_and_comes_back(admin: Caller) -> None:
    upload = await announced(admin, BODY)
    assert (upload["url"], upload["headers"]) == ("", [])
    found = (await admin.execute(PARTS, id=upload["id"]))["node"]
    assert (found["state"], found["partSize"], found["partCount"]) == ("PENDING", PART, 2)
    assert [(part["number"], part["size"], part["etag"]) for part in found["parts"]["nodes"]] == [
        (1, PART, None),
        (2, 8, None),
    ]
    assert await complete(admin, upload) == ("PENDING", "FILE_MISSING", [1, 2])
    etags = await send(admin, upload)
    assert {part["number"]: f'"{part["etag"]}"' for part in await parts_of(admin, upload)} == etags
    assert (await admin.post(FILE, id="o")).json()["errors"][0]["extensions"]["code"] == "FILE_NOT_COMPLETE"
    for _ in range(2):
        assert await complete(admin, upload, etags) == ("COMPLETE", None, [])
    assert hashlib.sha256(await content(admin)).hexdigest() == DIGEST
    assert (await admin.execute(CHECKSUM, id="o"))["object"]["file"]["checksum"] == {
        "algorithm": "SHA256",
        "value": DIGEST,
    }
    assert [part["url"] for part in await parts_of(admin, upload)] == ["", ""]


async def test_small_file_has_no_parts(admin: Caller) -> None:
    upload = await announced(admin, b"hello")
    found = (await admin.execute(PARTS, id=upload["id"]))["node"]
    assert found["url"]
    assert (found["partSize"], found["partCount"], found["parts"]["nodes"], found["parts"]["totalCount"]) == (
        None,
        None,
        [],
        0,
    )


async def test_file_in_parts_without_a_digest_says_what_s3_says(admin: Caller) -> None:
    await stored(admin, proved=False)
    found = (await admin.execute(CHECKSUM, id="o"))["object"]["file"]
    of_parts = b"".join(hashlib.md5(piece(number), usedforsecurity=False).digest() for number in (1, 2))
    etag = f"{hashlib.md5(of_parts, usedforsecurity=False).hexdigest()}-2"
    assert found == {"sha256": None, "checksum": {"algorithm": "ETAG", "value": etag}}


async def test_other_bytes_than_the_digest_says_never_become_the_file(admin: Caller) -> None:
    upload = await announced(admin, BODY, sha256="00" * 32)
    await send(admin, upload)
    assert await complete(admin, upload) == ("PENDING", "CHECKSUM_MISMATCH", [])
    assert (await admin.post(FILE, id="o")).json()["data"]["object"]["file"]["access"] is None


async def test_part_sent_again_is_the_last_one_sent(admin: Caller) -> None:
    upload = await announced(admin, BODY)
    _, second = await parts_of(admin, upload)
    assert await put(second, b"THE REST") == 200
    etags = await send(admin, upload)
    assert await complete(admin, upload, etags) == ("COMPLETE", None, [])
    assert await content(admin) == BODY


@pytest.mark.parametrize("sent", [b"the rest!", b"the res"])
async def test_s3_itself_refuses_a_part_of_another_size(admin: Caller, sent: bytes) -> None:
    upload = await announced(admin, BODY)
    _, part = await parts_of(admin, upload)
    assert await put(part, sent) == 403


async def test_part_of_another_size_is_named_where_s3_does_not_refuse_it(admin: Caller, storage: Storage) -> None:
    upload = await announced(admin, BODY)
    etags = await send(admin, upload, 1)
    bucket, key, multipart_id = await place_of(admin)
    sent = {"Bucket": bucket, "Key": key, "UploadId": multipart_id, "PartNumber": 2, "Body": b"the rest and more"}
    await storage._client.upload_part(**sent)  # type: ignore[arg-type]
    assert await complete(admin, upload) == ("PENDING", "PART_MISMATCH", [2])
    assert [part["etag"] is None for part in await parts_of(admin, upload)] == [False, True]
    etags |= await send(admin, upload, 2)
    assert await complete(admin, upload, etags) == ("COMPLETE", None, [])


async def test_etag_of_another_part_and_missing_parts_are_named_and_nothing_is_changed(admin: Caller) -> None:
    upload = await announced(admin, BODY)
    etags = await send(admin, upload)
    assert await complete(admin, upload, {1: etags[2], 2: etags[1]}) == ("PENDING", "PART_MISMATCH", [1, 2])
    assert await complete(admin, upload, {1: etags[1], 2: "other"}) == ("PENDING", "PART_MISMATCH", [2])
    assert await complete(admin, upload, {2: etags[2]}) == ("PENDING", "FILE_MISSING", [1])
    assert await complete(admin, upload, {}) == ("PENDING", "FILE_MISSING", [1, 2])
    assert await complete(admin, upload, etags) == ("COMPLETE", None, [])


async def test_numbers_that_no_part_has_are_bad_input(admin: Caller) -> None:
    large, small = await announced(admin, BODY), await announced(admin, b"hello", "small")

    async def refused(*given: tuple[Any, Sequence[int]]) -> str:
        parts = [
            {"uploadId": upload["id"], "parts": [{"number": number, "etag": "x"} for number in numbers]}
            for upload, numbers in given
        ]
        error = await admin.error(COMPLETE, ids=[large["id"], small["id"]], parts=parts)
        assert error["extensions"]["code"] == "BAD_INPUT"
        return str(error["message"])

    for number in (0, -1, 3, 10_001):
        assert f"none of number {number}" in await refused((large, [1, number]))
    assert "more than once" in await refused((large, [1, 1]))
    assert "more than once" in await refused((large, [1]), (large, [2]))
    assert "no parts" in await refused((small, [1]))
    other = await announced(admin, BODY, "other")
    assert "uploadIds" in await refused((other, [1]))
    assert await complete(admin, large) == ("PENDING", "FILE_MISSING", [1, 2])


async def test_parts_come_in_pages_both_ways_and_each_page_is_one_entry_of_the_log(admin: Caller) -> None:
    objects = [{"objectId": "o", "file": {"name": "a", "contentType": "a/b", "size": 7 * PART + 1}}]
    data = await admin.execute(CREATE_BATCH, input={"batchId": "b", "objects": objects})
    [upload] = data["createBatch"]["uploads"]

    async def page(**which: Any) -> tuple[list[int], Any]:
        parts = (await admin.execute(PARTS, id=upload["id"], **which))["node"]["parts"]
        assert parts["totalCount"] == 8
        return [part["number"] for part in parts["nodes"]], parts["pageInfo"]

    numbers, first = await page(first=3)
    assert (numbers, first["hasNextPage"], first["hasPreviousPage"]) == ([1, 2, 3], True, False)
    numbers, second = await page(first=3, after=first["endCursor"])
    assert (numbers, second["hasNextPage"], second["hasPreviousPage"]) == ([4, 5, 6], True, True)
    assert (await page(first=3, after=second["endCursor"]))[0] == [7, 8]
    assert (await page(first=None, last=3))[0] == [6, 7, 8]
    numbers, back = await page(first=None, last=2, before=second["startCursor"])
    assert (numbers, back["hasNextPage"], back["hasPreviousPage"]) == ([2, 3], True, True)
    assert (await page(first=None, last=2, before=first["startCursor"]))[0] == []
    query = "query($where: AuditWhere) { auditLog(where: $where) { nodes { objectId details { key value } } } }"
    entries = (await admin.execute(query, where={"actions": ["WRITE_URL"]}))["auditLog"]["nodes"]
    assert [one["details"] for one in reversed(entries)] == [
        [{"key": "parts", "value": pages}] for pages in ("1-3", "4-6", "7-8", "6-8", "2-3")
    ]
    assert {one["objectId"] for one in entries} == {"o"}


async def test_s3_is_asked_about_parts_once_a_page_and_only_where_that_is_wanted(admin: Caller) -> None:
    upload = await announced(admin, BODY)
    query = "query($id: ID!) {{ node(id: $id) {{ ... on Upload {{ parts {{ nodes {{ url {} }} }} }} }} }}"
    with patch("aiobotocore.httpsession.AIOHTTPSession.send", side_effect=AssertionError):
        await admin.execute(query.format("size"), id=upload["id"])
    with patch.object(Storage, "list_parts", side_effect=_nothing) as asked:
        await admin.execute(query.format("etag"), id=upload["id"])
    assert asked.call_count == 1


async def _nothing(*_: object, **__: object) -> list[Any]:
    return []


async def test_url_of_a_part_lasts_no_longer_than_the_upload(admin: Caller) -> None:
    upload = await announced(admin, BODY)

    async def seconds() -> list[int]:
        urls = [part["url"] for part in await parts_of(admin, upload)]
        return [int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0]) for url in urls if url]

    assert await seconds() == [3_600, 3_600]
    change = "UPDATE uploads SET expires_at = now() + $2::interval WHERE tenant_id = $1"
    await database.fetch(change.replace("$2", "'100 s'"), admin.tenant.id)
    assert all(90 <= one <= 100 for one in await seconds())
    await database.fetch(change.replace("$2", "'0 s'"), admin.tenant.id)
    assert await seconds() == []
    assert (await admin.execute(PENDING, id="o"))["object"]["pendingUpload"] is None
    assert await complete(admin, upload) == ("PENDING", "UPLOAD_EXPIRED", [1, 2])


@pytest.mark.parametrize("why", ["quota", "taken id", "S3 refuses", "S3 is down"])
async def test_refused_announcement_leaves_no_upload_in_s3(admin: Caller, storage: Storage, why: str) -> None:
    await admin.create_batch("b", {"taken": []})
    begun: list[tuple[str, str, str]] = []
    asked: list[str] = []
    original = Storage.create_multipart

    async def create(self: Storage, bucket: str, key: str, *arguments: Any, **options: Any) -> str:
        asked.append(key)
        if len(asked) == 3 and why.startswith("S3"):
            raise refusal if why == "S3 refuses" else StorageUnavailable
        multipart_id = await original(self, bucket, key, *arguments, **options)
        begun.append((bucket, key, multipart_id))
        return multipart_id

    refusal = ClientError({"Error": {"Code": "AccessDenied"}}, "CreateMultipartUpload")
    if why == "quota":
        await limit(admin, most_bytes=3 * len(BODY) - 1)
    ids = ["a", "b", "taken" if why == "taken id" else "c"]
    objects = [{"objectId": one, "file": file_of(BODY)} for one in ids]
    codes = {"quota": "QUOTA_EXCEEDED", "taken id": "ALREADY_EXISTS"}
    create_objects = """mutation($objects: [ObjectInput!]!) {
      createObjects(input: {batchId: "b", objects: $objects}) { uploads { id } } }"""
    with patch.object(Storage, "create_multipart", create):
        code = await admin.refused(create_objects, objects=objects)
    assert code == codes.get(why, "STORAGE_UNAVAILABLE")
    assert len(begun) >= 2
    assert [await storage.list_parts(*one) for one in begun] == [None] * len(begun)
    assert await admin.object_ids() == ["taken"]
    assert (await usage(admin))[:2] == (0, 0)


async def test_most_large_files_of_a_call_are_bounded(admin: Caller) -> None:
    large = {"name": "a", "contentType": "a/b", "size": PART + 1}
    objects = [{"objectId": f"o{number}", "file": large} for number in range(1_001)]
    error = await admin.error(CREATE_BATCH, input={"batchId": "b", "objects": objects})
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert "1,000" in error["message"]


async def test_uploads_of_others_cannot_be_aborted(admin: Caller, new_caller: NewCaller) -> None:
    upload = await announced(admin, b"hello")
    other = await new_caller()
    data = await other.execute(ABORT, ids=[upload["id"]])
    assert data["abortUploads"]["results"] == [{"state": None, "problem": "NOT_FOUND"}]
    assert await completed(admin, upload) == [("PENDING", "FILE_MISSING")]
    assert await admin.refused(ABORT, ids=["x"] * 1_001) == "BAD_INPUT"
