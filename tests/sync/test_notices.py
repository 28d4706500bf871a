"""What becomes of a notice, and what its sender is told."""

import asyncio
import dataclasses
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import timedelta

import orjson
import pytest
from starlette.datastructures import Secret

from models import Tenant, database, sealing
from models.audit import Actor
from sync.endpoint import MOST_BYTES
from tests.models.relay import relaying
from tests.statements import statements_of
from tests.sync.conftest import JSON, Intake, NewSender, Sender, by, notice
from waybill.settings import Settings
from waybill.syncing import sync_sources

QUEUED = {"detail": "Object queued for sync"}


async def test_notice_is_queued_with_the_batch_and_the_object_that_it_is_about(sender: Sender) -> None:
    """As the seed's clients send it: signed as it is, spaces too."""
    body = b'{"oeid": "8cfb", "ref_id": "6345", "file_name": "65d9.jpg", "file_type": "image/jpeg"}'
    signature = hmac.new(sender.secret, body, hashlib.sha256).hexdigest()
    answer = await sender.post(body, {"Content-Type": "application/json", "Authorization": signature})
    assert (answer.status_code, answer.json()) == (201, QUEUED)
    assert len(answer.headers["x-request-id"]) == 16
    [row] = await sender.rows()
    assert (row["batch_id"], row["object_id"], row["file_name"], row["state"]) == ("8cfb", "6345", "65d9.jpg", "QUEUED")
    assert row["signature"].hex() == signature
    assert orjson.loads(row["data"]) == [
        {"key": "file_name", "value": "65d9.jpg"},
        {"key": "file_type", "value": "image/jpeg"},
    ]


async def test_address_is_good_without_its_final_slash(sender: Sender) -> None:
    body = orjson.dumps(notice())
    answer = await sender.http.post(sender.path.rstrip("/"), content=body, headers=sender.signed(body))
    assert answer.status_code == 201


async def test_address_without_a_source_is_that_of_the_default_source(sender: Sender, intake: Intake) -> None:
    async with intake(sync_default_source=sender.name) as http:
        for path in ("/sync/", "/sync"):
            body = orjson.dumps(notice())
            answer = await http.post(path, content=body, headers=sender.signed(body))
            assert (answer.status_code, answer.json()) == (201, QUEUED)
            assert (await http.post(path, content=body, headers=JSON)).status_code == 401
    assert len(await sender.rows()) == 2


async def test_without_a_default_source_no_signature_is_right(sender: Sender) -> None:
    body = orjson.dumps(notice())
    assert (await sender.http.post("/sync/", content=body, headers=sender.signed(body))).status_code == 401


@pytest.mark.parametrize(("state", "status"), [("QUEUED", 409), ("RUNNING", 409), ("SYNCED", 409), ("FAILED", 201)])
async def test_file_is_queued_once_and_again_when_it_failed(sender: Sender, state: str, status: int) -> None:
    given = notice()
    assert (await sender.send(given)).status_code == 201
    await sender.set_state(state)
    answer = await sender.send(given)
    assert answer.status_code == status
    assert (answer.json() == QUEUED) is (status == 201)
    assert [row["state"] for row in await sender.rows()] == ["QUEUED" if status == 201 else state]


async def test_conflict_says_what_is_in_the_way(sender: Sender) -> None:
    given = notice()
    assert (await sender.send(given)).status_code == 201
    assert await sender.refused(given) == (409, "The file is queued or synced already.")
    assert await sender.refused(given | {"oeid": "other"}) == (409, "The object is in another batch.")
    [batch] = await database.fetch("SELECT id FROM batches WHERE tenant_id = $1", sender.tenant.id)
    # No batch is sealed while files are to be copied.
    await database.execute(
        "UPDATE syncs SET state = 'FAILED', problem = 'NOT_FOUND' WHERE tenant_id = $1", sender.tenant.id
    )
    await sealing.seal(sender.tenant.id, sender.row["created_by_id"], batch["id"])
    assert await sender.refused(notice()) == (409, "The batch is sealed: nothing is added to it.")


async def test_paused_source_takes_nothing_and_says_so_to_its_senders_only(sender: Sender, with_keys: Settings) -> None:
    made = sync_sources(with_keys)
    await made.change(Actor(sender.tenant.id), sender.row["name"], paused=True)
    assert await sender.refused() == (503, "The source is paused: send it again later.")
    assert (await sender.send()).headers["retry-after"] == "60"
    assert (await sender.refused(authorization="0" * 64))[0] == 401
    assert await sender.counts() == {"synced_objects_count": 0, "queued_objects_count": 0}


async def test_suspended_tenant_is_told_so(sender: Sender) -> None:
    await database.execute("UPDATE tenants SET revoked_at = now() WHERE id = $1", sender.tenant.id)
    assert (await sender.refused())[0] == 403
    assert (await sender.http.get(sender.path, headers=sender.signed())).status_code == 403
    assert (await sender.refused(authorization="0" * 64))[0] == 401


async def test_quota_refuses_the_notice_and_says_why(sender: Sender) -> None:
    await Tenant.filter(id=sender.tenant.id).update(quota_objects=1)
    given = notice()
    assert (await sender.send(given)).status_code == 201
    status, detail = await sender.refused()
    assert status == 403
    assert "quota does not allow for 1 objects more: 1 used, of 1" in detail
    assert (await sender.send(given | {"file_name": "other.jpg"})).status_code == 201  # of the same object


async def test_source_that_is_known_costs_no_statement_but_that_of_all_notices(sender: Sender) -> None:
    answers = [await statements_of(sender.send) for _ in range(2)]
    assert [answer.status_code for answer, _ in answers] == [201, 201]
    assert [statements for _, statements in answers] == [1, 0]


async def test_new_secret_is_good_at_once(sender: Sender, with_keys: Settings) -> None:
    assert (await sender.send()).status_code == 201  # so that the source is known
    _, secret = await sync_sources(with_keys).rotate(Actor(sender.tenant.id), sender.row["name"])
    assert (await dataclasses.replace(sender, secret=secret.encode()).send()).status_code == 201


async def test_former_secret_is_good_as_long_as_was_said(
    sender: Sender, with_keys: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("access.senders.KNOWN_SECONDS", 0)
    made, actor = sync_sources(with_keys), Actor(sender.tenant.id)
    _, secret = await made.rotate(actor, sender.row["name"])
    second = dataclasses.replace(sender, secret=secret.encode())
    assert [(await one.send()).status_code for one in (sender, second)] == [201, 201]
    _, secret = await made.rotate(actor, sender.row["name"], timedelta(0))
    third = dataclasses.replace(sender, secret=secret.encode())
    assert [(await one.send()).status_code for one in (sender, second, third)] == [401, 401, 201]


async def test_key_that_is_dropped_takes_the_former_secret_with_it_and_nothing_else(
    sender: Sender, with_keys: Settings, intake: Intake
) -> None:
    former = with_keys.encryption_keys
    both = dataclasses.replace(with_keys, encryption_keys=Secret(f"{'ab' * 32},{former}"))
    _, secret = await sync_sources(both).rotate(Actor(sender.tenant.id), sender.row["name"])
    async with by(sender, intake(encryption_keys=Secret("ab" * 32))) as limited:
        second = dataclasses.replace(limited, secret=secret.encode())
        assert [(await one.send()).status_code for one in (limited, second)] == [401, 201]


async def test_too_many_notices_of_a_source_are_limited_and_others_are_not(
    sender: Sender, new_sender: NewSender, intake: Intake
) -> None:
    other = await new_sender()
    for status in (429, 412):
        async with by(sender, intake(rate_limit_sync_notices=2, sync_limited_status=status)) as limited:
            assert [(await limited.send()).status_code for _ in range(2)] == [201, 201]
            answer = await limited.send()
            assert answer.status_code == status
            assert 60 <= int(answer.headers["retry-after"]) <= 120
            assert answer.json()["detail"].startswith("Too many notices: send it again in ")
            assert (await dataclasses.replace(other, http=limited.http).send()).status_code == 201
            assert (await limited.http.get(sender.path, headers=sender.signed())).status_code == 200


async def test_unsigned_requests_use_up_their_address_and_signed_ones_go_on(sender: Sender, intake: Intake) -> None:
    async with by(sender, intake(rate_limit_failed_logins=2)) as limited:
        wrong = [await limited.send(authorization="0" * 64) for _ in range(3)]
        assert [answer.status_code for answer in wrong] == [401, 401, 429]
        assert int(wrong[-1].headers["retry-after"]) > 0
        assert (await limited.http.get(sender.path)).status_code == 429
        assert (await limited.send()).status_code == 201


async def test_without_keys_nothing_is_taken(sender: Sender, intake: Intake) -> None:
    async with by(sender, intake(encryption_keys=Secret(""))) as keyless:
        for answer in (await keyless.send(), await keyless.http.get("/sync/")):
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert "KEYS" not in answer.text


async def test_secret_that_no_key_opens_is_unavailable(sender: Sender, intake: Intake) -> None:
    async with by(sender, intake(encryption_keys=Secret("ab" * 32))) as other:
        answer = await other.send()
    assert answer.status_code == 503
    assert "KEYS" not in answer.text


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(MOST_BYTES // 1000 + 1):
        yield b" " * 1000


async def test_notice_is_small(sender: Sender) -> None:
    padded = orjson.dumps(notice())
    padded += b" " * (MOST_BYTES - len(padded))
    assert (await sender.send(padded)).status_code == 201
    assert await sender.refused(padded + b" ") == (413, "The body has more than 16,384 bytes.")
    answer = await sender.http.post(sender.path, content=chunks(), headers=JSON)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json; charset="utf-8"']
)
async def test_content_type_may_have_parameters(sender: Sender, content_type: str) -> None:
    assert (await sender.send(content_type=content_type)).status_code == 201


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/json; charset=latin-1", "multipart/form-data"])
async def test_other_content_types_are_refused(sender: Sender, content_type: str) -> None:
    assert (await sender.refused(content_type=content_type))[0] == 415
    assert (await sender.refused(content_type=content_type, authorization=""))[0] == 415  # before the signature


async def test_compressed_bodies_are_refused(sender: Sender) -> None:
    assert (await sender.refused(content_encoding="gzip"))[0] == 415


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused_with_those_that_are_allowed(sender: Sender, method: str) -> None:
    for path in (sender.path, "/sync/"):
        answer = await sender.http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
        assert set(answer.json()) == {"detail"}


async def test_body_that_stops_is_a_time_out(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("access.requests._BODY_SECONDS", 0.05)

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    answer = await sender.http.post(sender.path, content=body(), headers=JSON)
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")


async def test_database_that_does_not_answer_is_unavailable(sender: Sender, database_url: str) -> None:
    """And what it was asked for before is not answered as if it were done."""
    async with relaying(database_url) as relay:
        config = database.config(relay.url + "?sslmode=disable", max_connections=2)
        async with database.connected(config):
            with relay.holding("request", b"syncs_request") as held:
                asked = asyncio.create_task(sender.send())
                await held.arrived(1)
                relay.cut()
                answer = await asked
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "you get 409 then" in answer.json()["detail"]
    assert await sender.rows() == []
