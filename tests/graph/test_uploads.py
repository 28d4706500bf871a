"""Files from announcement to access, with a real S3 server: what is not proved is never readable."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from graph.types.node import global_id
from models import AccessLevel, Role, database, reads
from models.errors import StorageUnavailable
from models.reads import Parts
from storage.client import Storage, Stored
from storage.proof import Finding, Verdict
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements
from tests.uploads import (
    COMPLETE,
    CREATE_BATCH,
    CREATE_UPLOADS,
    FILE,
    announced,
    completed,
    content,
    file_of,
    forget,
    get,
    put,
    stored,
)
from worker import work


async def test_file_goes_up_is_proved_and_comes_back_with_its_name_and_type(admin: Caller) -> None:
    body = b"hello \xf0\x9f\x92\xa1" * 1_000
    upload = await announced(admin, body, name="Größe 💡.txt")
    assert (upload["state"], upload["method"], upload["object"]) == ("PENDING", "PUT", {"objectId": "o"})
    refused = (await admin.post(FILE, id="o")).json()
    assert refused["errors"][0]["extensions"] == {"code": "FILE_NOT_COMPLETE", "state": "PENDING"}
    assert refused["data"]["object"]["file"]["access"] is None
    assert await completed(admin, upload) == [("PENDING", "FILE_MISSING")]
    assert await put(upload, body) == 200
    assert await completed(admin, upload) == [("COMPLETE", None)]
    assert await completed(admin, upload) == [("COMPLETE", None)]
    file = (await admin.execute(FILE, id="o"))["object"]["file"]
    access = file.pop("access")
    assert file.pop("completedAt") is not None
    assert file == {
        "state": "COMPLETE",
        "name": "Größe 💡.txt",
        "contentType": "text/plain",
        "size": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    answer = await get(access["url"])
    assert answer.content == body
    assert answer.headers["content-type"] == "text/plain"
    assert "filename*=UTF-8''Gr%C3%B6%C3%9Fe%20%F0%9F%92%A1.txt" in answer.headers["content-disposition"]
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_empty_file_is_a_file(admin: Caller) -> None:
    await stored(admin, b"")
    assert await content(admin) == b""


@pytest.mark.parametrize(
    ("sent", "headers"),
    [
        (b"hello!", {}),
        (b"hell", {}),
        (b"HELLO", {}),
        (b"hello", {"content-type": "text/html"}),
        (b"hello", {"if-none-match": "x"}),
    ],
    ids=["longer", "shorter", "other bytes", "other type", "not create-only"],
)
async def test_s3_itself_refuses_what_was_not_announced(admin: Caller, sent: bytes, headers: dict[str, str]) -> None:
    upload = await announced(admin, b"hello")
    assert await put(upload, sent, **headers) in (400, 403)
    assert await completed(admin, upload) == [("PENDING", "FILE_MISSING")]
    assert await put(upload, b"hello") == 200


async def test_bytes_are_never_overwritten(admin: Caller) -> None:
    upload = await stored(admin, b"hello", proved=False)
    assert await put(upload, b"HELLO") in (409, 412)
    assert await content(admin) == b"hello"


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (Stored(size=6, content_type="", etag="", sha256=None), "SIZE_MISMATCH"),
        (Stored(size=5, content_type="", etag="", sha256="00" * 32), "CHECKSUM_MISMATCH"),
    ],
)
async def test_wrong_bytes_never_become_readable(admin: Caller, found: Stored, problem: str) -> None:
    """As a server would have them that does not enforce what was signed."""
    upload = await announced(admin, b"hello")
    assert await put(upload, b"hello") == 200
    with patch.object(Storage, "head", lambda *_: _value(found)):
        assert await completed(admin, upload) == [("PENDING", problem)]
    assert (await admin.post(FILE, id="o")).json()["data"]["object"]["file"]["access"] is None


async def _value(value: Any) -> Any:
    return value


async def test_digest_that_s3_does_not_keep_is_proved_by_reading(admin: Caller) -> None:
    upload = await announced(admin, b"hello")
    assert await put(upload, b"hello") == 200
    with patch.object(Storage, "head", lambda *_: _value(Stored(5, "", "", None))):
        assert await completed(admin, upload) == [("COMPLETE", None)]


async def test_file_too_large_to_be_read_at_once_is_read_by_the_worker(admin: Caller, storage: Storage) -> None:
    good, bad = await announced(admin, b"hello"), await announced(admin, b"HELLO", "bad")
    assert await put(good, b"hello") == 200
    assert await put(bad, b"HELLO") == 200
    with (
        patch.object(Storage, "head", lambda *_: _value(Stored(5, "", "", None))),
        patch("graph.context.Context.prove", lambda _, rows, __: _value([Finding(Verdict.UNREAD)] * len(rows))),
    ):
        assert await completed(admin, good, bad) == [("VERIFYING", None)] * 2
        assert await completed(admin, good) == [("VERIFYING", None)]
    with patch.object(Storage, "head", lambda *_: _value(Stored(5, "", "", hashlib.sha256(b"hello").hexdigest()))):
        await work.drain(storage)
    assert await completed(admin, good, bad) == [("COMPLETE", None), ("EXPIRED", "CHECKSUM_MISMATCH")]


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_url_works_and_ends_with_the_upload_where_clocks_differ(admin: Caller, minutes: int) -> None:
    def now() -> datetime:
        return (datetime.now(UTC) + timedelta(minutes=minutes)).replace(microsecond=0)

    with patch("graph.types.files._now", now):
        upload = await announced(admin, b"hello")
    query = parse_qs(urlsplit(upload["url"]).query)
    began = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%S%z")
    ends = began + timedelta(seconds=int(query["X-Amz-Expires"][0]))
    assert timedelta(0) <= datetime.fromisoformat(upload["expiresAt"]) - ends < timedelta(seconds=1)
    assert await put(upload, b"hello") == 200
    assert await completed(admin, upload) == [("COMPLETE", None)]


async def test_two_completions_at_once_are_one(admin: Caller) -> None:
    upload = await announced(admin, b"hello")
    assert await put(upload, b"hello") == 200
    answers = await asyncio.gather(*(completed(admin, upload) for _ in range(5)))
    assert answers == [[("COMPLETE", None)]] * 5
    rows = await database.fetch("SELECT state FROM uploads WHERE tenant_id = $1", admin.tenant.id)
    assert [row["state"] for row in rows] == ["COMPLETE"]


async def test_missing_bucket_is_no_missing_file(
    admin: Caller, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    upload = await announced(admin, b"hello")
    await database.execute("UPDATE uploads SET bucket = 'no-such' WHERE tenant_id = $1", admin.tenant.id)
    assert await admin.refused(COMPLETE, ids=[upload["id"]]) == "STORAGE_UNAVAILABLE"
    assert "look at its credentials and buckets" in caplog.text
    await database.execute(
        "UPDATE uploads SET state = 'VERIFYING', read_at = now() WHERE tenant_id = $1", admin.tenant.id
    )
    with pytest.raises(StorageUnavailable):
        await work.drain(storage)
    assert await completed(admin, upload) == [("VERIFYING", None)]
    await forget(admin)


async def test_objects_are_filtered_by_the_state_of_their_file(admin: Caller) -> None:
    await stored(admin, b"hello", "complete")
    await announced(admin, b"hello", "pending")
    await admin.create_batch("none", {"none": []})
    assert await admin.object_ids({"fileState": "COMPLETE"}) == ["complete"]
    assert await admin.object_ids({"fileState": "PENDING"}) == ["pending"]
    assert await admin.object_ids({"not": {"fileState": "COMPLETE"}}) == ["none", "pending"]
    assert await admin.object_ids({"fileState": "PENDING", "batchId": "none"}) == []
    either = [{"fileState": "PENDING", "batchId": "batch of pending"}, {"fileState": "COMPLETE"}]
    assert await admin.object_ids({"fileState": "PENDING", "or": either}) == ["pending"]
    assert await admin.object_ids({"or": [{"fileState": "PENDING"}, {"fileState": "COMPLETE"}]}) == [
        "pending",
        "complete",
    ]


async def test_a_page_with_a_hundred_urls_is_two_statements_and_no_request_to_s3(admin: Caller) -> None:
    objects = [{"objectId": f"o{n}", "file": file_of(b"")} for n in range(100)]
    await admin.execute(CREATE_BATCH, input={"batchId": "b", "objects": objects})
    await database.execute(
        "UPDATE uploads SET state = 'COMPLETE', completed_at = now() WHERE tenant_id = $1", admin.tenant.id
    )
    query = "{ objects(first: 100) { nodes { file { access(expiresIn: 60) { url } } } } }"
    with patch("aiobotocore.httpsession.AIOHTTPSession.send", side_effect=AssertionError):
        statements, data = await count_statements(admin, query)
    assert statements == 2
    urls = {node["file"]["access"]["url"] for node in data["objects"]["nodes"]}
    assert len(urls) == 100
    assert {parse_qs(urlsplit(url).query)["X-Amz-Expires"][0] for url in urls} == {"60"}


async def test_two_owners_of_the_same_file_name_do_not_meet(admin: Caller, new_caller: NewCaller) -> None:
    other = await new_caller()
    await stored(admin, b"mine")
    await stored(other, b"theirs")
    assert (await content(admin), await content(other)) == (b"mine", b"theirs")


async def test_uploads_of_others_are_not_found(admin: Caller, new_caller: NewCaller) -> None:
    upload = await announced(admin, b"hello")
    assert await put(upload, b"hello") == 200
    other = await new_caller()
    assert await completed(other, upload) == [(None, "NOT_FOUND")]
    assert await other.refused("query($id: ID!) { node(id: $id) { id } }", id=upload["id"]) == "NOT_FOUND"
    assert await other.refused(CREATE_UPLOADS, files=[{"objectId": "o", "file": file_of(b"")}]) == "NOT_FOUND"
    assert (await admin.execute("query($id: ID!) { node(id: $id) { id } }", id=upload["id"]))["node"] == {
        "id": upload["id"]
    }


async def test_who_may_only_look_may_read_but_not_upload(new_caller: NewCaller) -> None:
    owner = await new_caller(member_access=AccessLevel.VIEW)
    upload = await stored(owner, b"hello")
    reader = await new_caller(owner.tenant, role=Role.MEMBER)
    assert await content(reader) == b"hello"
    assert await reader.refused(CREATE_UPLOADS, files=[{"objectId": "o", "file": file_of(b"")}]) == "FORBIDDEN"
    assert await reader.refused(COMPLETE, ids=[upload["id"]]) == "FORBIDDEN"


async def test_leave_to_write_is_for_those_who_may(new_caller: NewCaller) -> None:
    owner = await new_caller(member_access=AccessLevel.VIEW)
    upload = await announced(owner, b"hello", proved=False)
    reader = await new_caller(owner.tenant, role=Role.MEMBER)
    wanted = "... on Upload { url headers { value } }"
    assert await reader.refused(f"query($id: ID!) {{ node(id: $id) {{ {wanted} }} }}", id=upload["id"]) == "FORBIDDEN"
    both = [upload["id"], global_id("User", reader.user.id)]
    answer = (await reader.post(f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ id {wanted} }} }}", ids=both)).json()
    assert answer["data"]["nodes"] == [None, {"id": both[1]}]
    [error] = answer["errors"]
    assert (error["extensions"]["code"], error["path"]) == ("FORBIDDEN", ["nodes", 0])


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ({"size": -1}, "size"),
        ({"size": 5 * 1024**4 + 1}, "size"),
        ({"size": 1 << 70}, "BigInt"),
        ({"size": 1.5}, "BigInt"),
        ({"contentType": "text/plain\r\nx: y"}, "contentType"),
        ({"contentType": "text"}, "contentType"),
        ({"contentType": ""}, "contentType"),
        ({"name": ""}, "name"),
        ({"name": "../a"}, "name"),
        ({"name": "a\\b"}, "name"),
        ({"name": ".."}, "name"),
        ({"name": "a\0b"}, "NUL"),
        ({"name": "x" * 2_000}, "2000 characters"),
        ({"name": "exe\u202etxt"}, "U+202E"),
        ({"sha256": "00"}, "sha256"),
        ({"sha256": "x" * 64}, "sha256"),
    ],
)
async def test_malformed_file_is_bad_input_and_nothing_is_stored(admin: Caller, file: Any, says: str) -> None:
    objects = [{"objectId": "o", "file": file_of(b"", **file)}]
    error = await admin.error(CREATE_BATCH, input={"batchId": "b", "objects": objects})
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert says in error["message"]
    assert await admin.object_ids() == []


async def test_too_many_or_doubled_files_are_refused(admin: Caller) -> None:
    await admin.create_batch("b", {"o": []})
    one = {"objectId": "o", "file": file_of(b"")}
    assert await admin.refused(CREATE_UPLOADS, files=[one] * 2) == "ALREADY_EXISTS"
    assert await admin.refused(CREATE_UPLOADS, files=[one] * 1_001) == "BAD_INPUT"
    assert await admin.refused(COMPLETE, ids=["x"] * 1_001) == "BAD_INPUT"
    assert await admin.refused(COMPLETE, ids=["nonsense"]) == "BAD_INPUT"
    assert await admin.refused(CREATE_UPLOADS, files=[one, {"objectId": "no", "file": file_of(b"")}]) == "NOT_FOUND"


@pytest.mark.parametrize("seconds", [0, -1, 604_801])
async def test_access_for_longer_than_a_week_or_no_time_is_bad_input(admin: Caller, seconds: int) -> None:
    await stored(admin, b"hello")
    query = f'{{ object(objectId: "o") {{ file {{ access(expiresIn: {seconds}) {{ url }} }} }} }}'
    [error] = (await admin.post(query)).json()["errors"]
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert "604800" in error["message"]


async def test_completion_while_s3_does_not_answer_changes_nothing_and_can_be_repeated(admin: Caller) -> None:
    upload = await announced(admin, b"hello")
    assert await put(upload, b"hello") == 200

    async def down(*_: object) -> None:
        raise StorageUnavailable

    with patch.object(Storage, "head", down):
        assert await admin.refused(COMPLETE, ids=[upload["id"]]) == "STORAGE_UNAVAILABLE"
    assert await completed(admin, upload) == [("COMPLETE", None)]


async def test_objects_of_uploads_are_read_in_one_statement_and_without_their_data(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{n}": [("k", "v")] for n in range(300)})
    given = [{"objectId": f"o{n}", "file": file_of(b"")} for n in range(300)]
    query = "mutation($files: [ObjectFileInput!]!) {{ createUploads(input: {{files: $files}}) {{ uploads {{ {} }} }} }}"
    alone, _ = await count_statements(admin, query.format("id"), files=given)
    with patch.object(reads, "objects", side_effect=reads.objects) as read:
        statements, data = await count_statements(admin, query.format("object { objectId }"), files=given)
    assert [upload["object"]["objectId"] for upload in data["createUploads"]["uploads"]] == [
        f"o{n}" for n in range(300)
    ]
    assert statements == alone
    assert read.call_args.args[3] == Parts(data=False, file=False)
    statements, data = await count_statements(admin, query.format("object { file { state } }"), files=given)
    assert statements == alone + 1
    assert data["createUploads"]["uploads"][7]["object"]["file"] == {"state": "PENDING"}
    _, data = await count_statements(admin, query.format("object { data { value } }"), files=given)
    assert data["createUploads"]["uploads"][7]["object"]["data"] == [{"value": "v"}]


async def test_a_thousand_files_are_announced_in_a_bounded_number_of_statements(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{n}": [] for n in range(1_000)})
    given = [{"objectId": f"o{n}", "file": file_of(b"")} for n in range(1_000)]
    statements, data = await count_statements(admin, CREATE_UPLOADS, files=given)
    assert statements <= 8
    assert len({upload["url"] for upload in data["createUploads"]["uploads"]}) == 1_000


async def test_refusal_by_s3_is_masked_for_the_client_and_named_in_the_log(
    admin: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    upload = await announced(admin, b"hello")

    async def denied(*_: object) -> None:
        answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        raise ClientError(answer, "HeadObject")  # type: ignore[arg-type]

    with patch.object(Storage, "head", denied):
        error = await admin.error(COMPLETE, ids=[upload["id"]])
    assert error["extensions"]["code"] == "STORAGE_UNAVAILABLE"
    assert "Denied" not in str(error)
    assert "look at its credentials and buckets" in caplog.text
