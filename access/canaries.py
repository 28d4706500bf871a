"""Canary keys: who sends one is refused like everybody without a key, and is remembered and told of.

All of that is done by a task, at a moment that has nothing to do with the answer's, so that neither this answer nor the
next one on the same process tells a canary from a wrong key by the time it takes.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import Counter

from access.webhook import Webhook
from models import canaries

_MOST_WAITING = 1_000  # of more, only the number is said
_LATER_SECONDS = (1.0, 3.0)
_LAST_SECONDS = 5.0  # for what is left at the end
_PAUSES_SECONDS = (1, 5)  # between the tries to keep one

_log = logging.getLogger(__name__)
_uses = Counter("waybill_canary_uses_total", "requests with a canary key")


@dataclass(frozen=True, slots=True)
class Sighting:
    public_id: str
    seen_at: datetime
    address: str
    agent: str
    path: str
    request_id: str | None


class Watch:
    def __init__(self, webhook: Webhook | None) -> None:
        self._webhook = webhook
        self._waiting: list[Sighting] = []
        self._more = 0
        self._any = asyncio.Event()
        self._ending = asyncio.Event()

    def saw(self, public_id: str, address: str, agent: str, path: str, request_id: str | None) -> None:
        _uses.inc()
        if len(self._waiting) < _MOST_WAITING:
            address, agent, path = map(canaries.storable, (address, agent, path))
            self._waiting.append(Sighting(public_id, datetime.now(UTC), address, agent, path, request_id))
        else:
            self._more += 1
        self._any.set()

    async def run(self) -> None:
        """Until it is to end and nothing waits."""
        while self._waiting or not self._ending.is_set():
            await self._any.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(*_LATER_SECONDS)):  # noqa: S311 - no secret
                    await self._ending.wait()
            await self._tell()

    def end(self) -> None:
        self._ending.set()
        self._any.set()

    async def _tell(self) -> None:
        sightings, self._waiting = self._waiting, []
        more, self._more = self._more, 0
        self._any.clear()
        for sighting in sightings:
            _say(sighting)
        if more:
            _log.critical("canary keys were used more often than can be told", extra={"more": more})
        if not sightings:
            return
        notes = await _keep(sightings)
        if self._webhook is not None:
            for sighting in sightings:
                self._webhook.send(
                    {
                        "event": "canary",
                        "key": sighting.public_id,
                        "note": notes.get(sighting.public_id),
                        "seenAt": sighting.seen_at,
                        "address": sighting.address,
                        "agent": sighting.agent,
                        "path": sighting.path,
                        "requestId": sighting.request_id,
                    }
                )


@asynccontextmanager
async def watching(webhook: Webhook | None) -> AsyncIterator[Watch]:
    watch = Watch(webhook)
    task = asyncio.create_task(watch.run())
    try:
        yield watch
    finally:
        watch.end()
        await asyncio.wait([task], timeout=_LAST_SECONDS)
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


async def _keep(sightings: Sequence[Sighting]) -> Mapping[str, str]:
    """The notes of the keys."""
    seen = [(one.public_id, one.seen_at, one.address, one.agent, one.path) for one in sightings]
    for pause in (*_PAUSES_SECONDS, None):
        try:
            return await canaries.add_alerts(seen)
        except Exception as error:  # noqa: BLE001 - whatever it is, the alert goes on
            if pause is None:
                _log.error("canary alerts cannot be kept", extra={"cause": repr(error), "alerts": len(seen)})
            else:
                await asyncio.sleep(pause)
    return {}
