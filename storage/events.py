"""What S3 tells of new objects, through an SQS queue that its buckets notify. A message is no proof: S3 is asked."""

import json
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StorageUnavailable

if TYPE_CHECKING:  # the types are not installed with the service
    from types_aiobotocore_sqs.client import SQSClient

MOST_MESSAGES = 10  # that SQS gives at once
_WAIT_SECONDS = 20  # the longest that SQS waits for a message

_log = logging.getLogger(__name__)


class Message(NamedTuple):
    body: str
    receipt: str


class Created(NamedTuple):
    """Where an object is said to be new."""

    bucket: str
    key: str


class Malformed(ValueError):
    """The message is none of S3's."""


class EventQueue:
    """Every method raises StorageUnavailable when SQS does not answer or refuses; the log says why."""

    def __init__(self, client: "SQSClient", url: str) -> None:
        self._client = client
        self._url = url

    async def receive(self) -> list[Message]:
        """At most ten, after at most 20 seconds. Whatever is not deleted comes again."""
        with _translated():
            answer = await self._client.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=MOST_MESSAGES, WaitTimeSeconds=_WAIT_SECONDS
            )
        return [Message(one["Body"], one["ReceiptHandle"]) for one in answer.get("Messages", [])]

    async def delete(self, messages: Sequence[Message]) -> None:
        """At most ten."""
        if not messages:
            return
        entries: Any = [{"Id": str(number), "ReceiptHandle": one.receipt} for number, one in enumerate(messages)]
        with _translated():
            await self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    async def has_redrive_policy(self) -> bool:
        """Whether SQS itself puts away what was received too often."""
        with _translated():
            answer = await self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["RedrivePolicy"])
        return "RedrivePolicy" in answer.get("Attributes", {})


@asynccontextmanager
async def event_queue(url: str, region: str) -> AsyncIterator[EventQueue]:
    """Endpoint and credentials are those that the AWS SDK finds, and so is the region, if it finds one."""
    session = aioboto3.Session()
    how = AioConfig(read_timeout=_WAIT_SECONDS + 10, retries={"mode": "standard", "total_max_attempts": 3})
    async with session.client("sqs", region_name=session.region_name or region, config=how) as client:
        yield EventQueue(client, url)


def created(body: str) -> list[Created] | None:
    """The new objects of a message; None of the one that S3 sends when the notification is set up.

    Raises Malformed.
    """
    try:
        content = json.loads(body)
        if content.get("Event") == "s3:TestEvent":
            return None
        return [
            Created(_text(record["s3"]["bucket"]["name"]), _text(unquote_plus(record["s3"]["object"]["key"])))
            for record in content["Records"]
            if record["eventName"].startswith("ObjectCreated:")
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error


def _text(value: str) -> str:
    """Raises ValueError for what PostgreSQL takes for none, so that whoever forged it keeps no other waiting."""
    if b"\0" in value.encode():
        raise ValueError("it has a NUL")
    return value


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError, aiohttp.ClientError, OSError) as error:
        _log.warning("the queue of S3 events cannot be used: %s", error)
        raise StorageUnavailable("The queue of S3 events does not answer.") from error
