"""Canary keys: who sends one is refused like everybody without a key, and is remembered and told of.

All of that is done by a task, after the answer, so that nothing of the answer tells a canary from a wrong key.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from access.webhook import Webhook
from models import canaries
from models.pages import Row

_MOST_WAITING = 1_000
_LAST_SECONDS = 5.0  # for what is left at the end
_PAUSES_SECONDS = (1, 5)  # between the tries to keep one

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sighting:
    public_id: str
    seen_at: datetime
    address: str
    agent: str
    path: str
    request_id: str | None


class Watch:
    """``count`` is how many were seen since the start."""

    def __init__(self, webhook: Webhook | None) -> None:
        self.count = 0
        self._webhook = webhook
        self._waiting: asyncio.Queue[Sighting] = asyncio.Queue(_MOST_WAITING)

    def saw(self, public_id: str, address: str, agent: str, path: str, request_id: str | None) -> None:
        self.count += 1
        address, agent, path = map(canaries.storable, (address, agent, path))
        sighting = Sighting(public_id, datetime.now(UTC), address, agent, path, request_id)
        try:
            self._waiting.put_nowait(sighting)
        except asyncio.QueueFull:
            _say(sighting)

    async def run(self) -> None:
        while True:
            sighting = await self._waiting.get()
            try:
                _say(sighting)
                kept = await _keep(sighting)
                if self._webhook is not None:
                    self._webhook.send(
                        {
                            "event": "canary",
                            "key": sighting.public_id,
                            "note": kept["note"] if kept else None,
                            "seenAt": sighting.seen_at,
                            "address": sighting.address,
                            "agent": sighting.agent,
                            "path": sighting.path,
                            "requestId": sighting.request_id,
                        }
                    )
            finally:
                self._waiting.task_done()

    async def finish(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SECONDS):
                await self._waiting.join()


@asynccontextmanager
async def watching(webhook: Webhook | None) -> AsyncIterator[Watch]:
    watch = Watch(webhook)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        await watch.finish()
        task.cancel()
        await asyncio.wait([task])


def _say(sighting: Sighting) -> None:
    _log.critical(
        "a canary key was used",
        extra={
            "key_id": sighting.public_id,
            "address": sighting.address,
            "agent": sighting.agent,
            "path": sighting.path,
            "request_id": sighting.request_id,
        },
    )


async def _keep(sighting: Sighting) -> Row | None:
    for pause in (*_PAUSES_SECONDS, None):
        try:
            return await canaries.add_alert(
                sighting.public_id, sighting.seen_at, sighting.address, sighting.agent, sighting.path
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the alert goes on
            if pause is None:
                _log.error("a canary alert cannot be kept", extra={"cause": repr(error)})
            else:
                await asyncio.sleep(pause)
    return None
