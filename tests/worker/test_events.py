"""S3's own events complete uploads; S3 and SQS are those of moto, which has notifications."""

import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple, cast
from unittest.mock import patch

import aioboto3
import httpx
import pytest
from moto.server import ThreadedMotoServer
from starlette.datastructures import CommaSeparatedStrings

from models import database
from models.errors import StorageUnavailable
from storage import events as sqs
from storage.client import Storage, connected
from storage.events import EventQueue, event_queue
from storage.multipart import Place, abort_many
from storage.signing import Credentials
from tests.conftest import Caller, NewCaller, running
from tests.graph.test_parts import BODY, parts_of, place_of
from tests.models.conftest import until
from tests.uploads import announced, forget, put
from waybill.app import storage_config
from waybill.settings import Settings
from worker.events import EVENTS, consuming, take

BUCKET = "events"
CREDENTIALS = Credentials("test", "test", None)


class Notified(NamedTuple):
    """A service whose bucket notifies a queue of its own."""

    caller: Caller
    storage: Storage
    queue: EventQueue
    client: Any
    url: str
    dead_url: str

    async def send(self, body: str) -> None:
        await self.client.send_message(QueueUrl=self.url, MessageBody=body)

    async def take(self, *, redriven: bool = True) -> int:
        messages = await self.queue.receive()
        await take(self.storage, self.queue, messages, redriven=redriven)
        return len(messages)

    async def state(self) -> str:
        [row] = await database.fetch("SELECT state FROM uploads WHERE tenant_id = $1", self.caller.tenant.id)
        return str(row["state"])

    async def key(self) -> str:
        [row] = await database.fetch("SELECT key FROM uploads WHERE tenant_id = $1", self.caller.tenant.id)
        return str(row["key"])


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
async def http(http: httpx.AsyncClient, settings: Settings, aws: str) -> AsyncIterator[httpx.AsyncClient]:
    """An application on the other one's connections, for there is one such set in a process."""
    del http
    here = dataclasses.replace(settings, s3_endpoint=aws, s3_buckets=CommaSeparatedStrings([BUCKET]))
    with patch.object(database, "connected", lambda *_, **__: contextlib.nullcontext()):
        async with running(here, CREDENTIALS) as client:
            yield client


@pytest.fixture(scope="module")
async def cloud(settings: Settings, aws: str) -> AsyncIterator[Notified]:
    """With nobody who calls."""
    here = dataclasses.replace(settings, s3_endpoint=aws, s3_buckets=CommaSeparatedStrings([BUCKET]))
    session = aioboto3.Session("test", "test", region_name=settings.s3_region)
    async with contextlib.AsyncExitStack() as stack:
        patched = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in (
            ("AWS_ENDPOINT_URL_SQS", aws),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("NO_PROXY", "127.0.0.1"),
        ):
            patched.setenv(name, value)
        patched.setattr(sqs, "_WAIT_SECONDS", 0)
        client = await stack.enter_async_context(session.client("sqs"))
        dead_url, dead_arn = await new_queue(client, "dead")
        policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": 2})
        url, arn = await new_queue(client, "events", RedrivePolicy=policy, VisibilityTimeout="0")
        storage = await stack.enter_async_context(connected(storage_config(here, CREDENTIALS)))
        await storage._client.create_bucket(Bucket=BUCKET)
        await storage._client.put_bucket_notification_configuration(
            Bucket=BUCKET,
            NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
        )
        queue = await stack.enter_async_context(event_queue(url, settings.s3_region))
        yield Notified(cast("Caller", None), storage, queue, client, url, dead_url)


async def new_queue(client: Any, name: str, **attributes: str) -> tuple[str, str]:
    """Its URL and its name for other services."""
    url = (await client.create_queue(QueueName=name, Attributes=attributes))["QueueUrl"]
    answer = await client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return url, answer["Attributes"]["QueueArn"]


@pytest.fixture
async def notified(cloud: Notified, http: httpx.AsyncClient, new_caller: NewCaller) -> AsyncIterator[Notified]:
    while await cloud.take():  # what S3 says of the notification itself, and what another test has left
        pass
    caller = await new_caller()
    yield cloud._replace(caller=dataclasses.replace(caller, http=http))
    # Of a bucket that no other test has.
    await forget(caller)
    await database.execute("DELETE FROM deletions WHERE tenant_id = $1", caller.tenant.id)


def count(outcome: str) -> float:
    return float(EVENTS.labels(outcome)._value.get())


def event(key: str, name: str = "ObjectCreated:Put") -> str:
    return json.dumps({"Records": [{"eventName": name, "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}}}]})


async def test_upload_completes_by_itself_when_s3_tells_of_it(notified: Notified) -> None:
    upload = await announced(notified.caller, b"hello", proved=False)
    assert await put(upload, b"hello") == 200

    async def complete() -> bool:
        return await notified.state() == "COMPLETE"

    async with consuming(notified.storage, notified.queue):
        await until(complete)


async def test_forged_event_changes_nothing(notified: Notified) -> None:
    await announced(notified.caller, b"hello")
    before = await database.fetch("SELECT * FROM uploads WHERE tenant_id = $1", notified.caller.tenant.id)
    missing = count("missing")
    await notified.send(event(await notified.key()))
    assert await notified.take() == 1
    assert await database.fetch("SELECT * FROM uploads WHERE tenant_id = $1", notified.caller.tenant.id) == before
    assert count("missing") == missing + 1
    assert await notified.take() == 0


async def test_forged_event_of_an_upload_in_parts_changes_nothing(notified: Notified) -> None:
    upload = await announced(notified.caller, BODY)
    [first] = await parts_of(notified.caller, upload)
    before = await database.fetch("SELECT * FROM uploads WHERE tenant_id = $1", notified.caller.tenant.id)
    missing = count("missing")
    await notified.send(event(await notified.key()))
    assert await notified.take() == 1
    async with httpx.AsyncClient(trust_env=False) as client:
        await client.put(first["url"], content=b"of another size")  # which this S3 does not refuse
    await notified.send(event(await notified.key()))
    assert await notified.take() == 1
    assert await database.fetch("SELECT * FROM uploads WHERE tenant_id = $1", notified.caller.tenant.id) == before
    assert count("missing") == missing + 2
    assert await notified.take() == 0


async def test_event_of_an_upload_whose_parts_are_gone_ends_it(notified: Notified) -> None:
    await announced(notified.caller, BODY)
    assert await abort_many(notified.storage, [Place(*await place_of(notified.caller))]) == {}
    await notified.send(event(await notified.key()))
    assert await notified.take() == 1
    assert await notified.state() == "EXPIRED"
    assert await notified.take() == 0


async def test_bytes_that_are_others_than_announced_are_given_up(notified: Notified) -> None:
    upload = await announced(notified.caller, b"hello", proved=False)
    assert await put(upload, b"hello") == 200
    await database.execute("UPDATE uploads SET size_bytes = 6 WHERE tenant_id = $1", notified.caller.tenant.id)
    await notified.take()
    assert await notified.state() == "EXPIRED"


async def test_events_that_are_repeated_unknown_or_of_other_things_are_counted_and_go(notified: Notified) -> None:
    upload = await announced(notified.caller, b"hello", proved=False)
    assert await put(upload, b"hello") == 200
    assert await notified.take() == 1
    before = {outcome: count(outcome) for outcome in ("repeated", "unknown", "ignored", "test")}
    key = await notified.key()
    for body in (
        event(key),
        event(key),
        event("of+nobody%2Fat+all"),
        event(key, "ObjectRemoved:Delete"),
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}),
    ):
        await notified.send(body)
    while await notified.take():
        pass
    assert {outcome: count(outcome) - before[outcome] for outcome in before} == {
        "repeated": 2,
        "unknown": 1,
        "ignored": 1,
        "test": 1,
    }
    assert await notified.state() == "COMPLETE"


async def test_messages_that_cannot_be_read_go_to_the_dead_letters(notified: Notified) -> None:
    bodies = [" ", "[]", '{"Records": [{"s3": null}]}', '{"Records": 1}', "null"]
    bodies += [event("a%00b"), event("a\ud800b"), "[" * 100_000]
    before = count("malformed")
    upload = await announced(notified.caller, b"hello", proved=False)
    for body in bodies:
        await notified.send(body)
    assert await put(upload, b"hello") == 200
    while await notified.take():
        pass
    assert await notified.state() == "COMPLETE"  # they keep no other waiting
    assert count("malformed") == before + 2 * len(bodies)
    dead = await notified.client.receive_message(QueueUrl=notified.dead_url, MaxNumberOfMessages=10)
    assert sorted(message["Body"] for message in dead["Messages"]) == sorted(bodies)


async def test_message_that_cannot_be_read_is_deleted_where_it_would_come_for_days(notified: Notified) -> None:
    await notified.send("nonsense")
    assert await notified.take(redriven=False) == 1
    assert await notified.take(redriven=False) == 0


async def test_missing_redrive_policy_is_known(notified: Notified) -> None:
    assert await notified.queue.has_redrive_policy()
    assert not await EventQueue(notified.client, notified.dead_url).has_redrive_policy()


async def test_event_comes_again_when_s3_does_not_answer(notified: Notified) -> None:
    upload = await announced(notified.caller, b"hello", proved=False)
    assert await put(upload, b"hello") == 200

    async def away(*_: object) -> None:
        raise StorageUnavailable

    with patch.object(Storage, "head", away), pytest.raises(StorageUnavailable):
        await notified.take()
    assert await notified.state() == "PENDING"
    assert await notified.take() == 1
    assert await notified.state() == "COMPLETE"
