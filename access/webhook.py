"""Telling another service by HTTP, in the background, until it has heard.

The body is JSON. The header ``Waybill-Signature: t=<unix time>,v1=<hex>`` holds the HMAC-SHA256 of
``<unix time>.<body>`` with the secret: whoever receives it refuses what is signed otherwise or long ago.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx
import orjson

SIGNATURE = "waybill-signature"

_MOST_WAITING = 1_000  # which may come at once
_LAST_SECONDS = 5.0  # for what is left at the end
_PAUSES_SECONDS = (1, 5, 30)  # between the tries to say one

_log = logging.getLogger(__name__)


def signature(secret: str, body: bytes, at: int) -> str:
    digest = hmac.new(secret.encode(), b"%d.%b" % (at, body), hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Webhook:
    def __init__(self, client: httpx.AsyncClient, url: str, secret: str) -> None:
        self._client = client
        self._url = url
        self._secret = secret
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)

    def send(self, message: Mapping[str, object]) -> None:
        """Later. What comes while too much waits is left out, which the log says."""
        try:
            self._waiting.put_nowait(orjson.dumps(message))
        except asyncio.QueueFull:
            _log.error("the webhook was not told: too much waits")

    async def run(self) -> None:
        while True:
            body = await self._waiting.get()
            try:
                await self._tell(body)
            finally:
                self._waiting.task_done()

    async def _tell(self, body: bytes) -> None:
        for pause in (*_PAUSES_SECONDS, None):
            if (problem := await self._try(body)) is None:
                return
            if pause is None:
                _log.error("the webhook was not told", extra={"cause": problem})
            else:
                await asyncio.sleep(pause)

    async def _try(self, body: bytes) -> str | None:
        """What went wrong; not the address, in which a secret may be."""
        headers = {
            "content-type": "application/json",
            "user-agent": "waybill",
            SIGNATURE: signature(self._secret, body, int(time.time())),
        }
        try:
            async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                return None if response.is_success else f"it answers with {response.status_code}"
        except (httpx.HTTPError, OSError) as error:
            return type(error).__name__

    async def finish(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._waiting.join()


@asynccontextmanager
async def telling(client: httpx.AsyncClient, url: str, secret: str) -> AsyncIterator[Webhook]:
    webhook = Webhook(client, url, secret)
    task = asyncio.create_task(webhook.run())
    try:
        yield webhook
    finally:
        await webhook.finish()
        task.cancel()
        await asyncio.wait([task])
