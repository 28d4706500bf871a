"""Boundaries of a process: each commit and each S3 call, found where asyncpg and aiobotocore send them.

A boundary is one side of such a call, before it is sent or after it is answered. It has a running number, one among its
sort, and a name: the functions that asked for it. It is written down before anything breaks there.
"""

import os
import re
import signal
import sys
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary
from zlib import crc32

import asyncpg
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.httpsession import AIOHTTPSession
from asyncpg.protocol.protocol import Protocol
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError
from botocore.retries.standard import ExponentialBackoff

from access import uses
from models import orphans
from storage import multipart
from tests.faults.plans import AIMED_OF, Fault, Plan, Sort
from worker import queue, reaper

_SERVICE = ("models", "storage", "access", "graph", "worker", "waybill", "pgqueuer")
_BELOW = (
    *("models.database", "models.asyncpg_client", "models.trace", "models.faults", "models.quotas"),
    "pgqueuer.adapters.drivers.asyncpg",
)
_CLAIM = "models.answers.claim"
_NEAREST = 2
PART_BYTES = 5 * 1024**2  # the least that S3 takes
_WRITES = re.compile(r"\b(INSERT INTO|UPDATE|DELETE FROM|MERGE|TRUNCATE)\b")
_BROKEN = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>a fault was planned</Message></Error>"


class Boundaries:
    """Passed by one process; ``log`` is a file descriptor."""

    def __init__(self, plan: Plan, log: int) -> None:
        self._plan = {(fault.sort, fault.number): fault for fault in plan.faults}
        self._log = log
        self._number = 0
        self._numbers: Counter[Sort] = Counter()
        self._left: Counter[Sort] = Counter()  # calls that still have to fail

    def passed(self, sort: Sort, side: str, what: str, key: str = "") -> Fault | None:
        """What is to break here, unless it is the process: that has ended then. ``key`` gets an upload in parts."""
        self._number += 1
        self._numbers[sort] += 1
        number = self._numbers[sort]
        name = f"{side} {sort} {what}"
        fault = self._plan.get((sort, number)) or self._aimed(name)
        if fault is None and self._left[sort] and side == "before":
            self._left[sort] -= 1
            fault = Fault(sort, number, "error")
        elif fault is not None:
            self._left[sort] += fault.times - 1
        line = f"{self._number}\t{sort} {number}\t{fault.action if fault else '-'}\t{name}\t{key}\n"
        os.write(self._log, line.encode())
        if fault is not None and fault.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return fault

    def _aimed(self, name: str) -> Fault | None:
        for sort, number in self._plan:
            if sort == "aimed" and crc32(f"{number} {name}".encode()) % AIMED_OF == 0:
                return self._plan.pop((sort, number))
        return None


def _asked() -> str:
    """The nearest functions of ours."""
    names: list[str] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and len(names) < _NEAREST:
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] in _SERVICE and module not in _BELOW:
            names.append(f"{module}.{frame.f_code.co_qualname}")
        frame = frame.f_back
    return " < ".join(names)


def install(plan: Plan, log: int, *, keeps_checksums: bool, reaps: bool) -> None:
    """Without ``keeps_checksums`` S3 is one that answers no SHA-256, as some do. ``reaps``: it is the reaper."""
    boundaries = Boundaries(plan, log)
    _install_commits(boundaries)
    _install_s3(boundaries, keeps_checksums=keeps_checksums)
    multipart._LEAST_PART_BYTES = PART_BYTES
    if reaps:
        orphans.LEAST_AGE = timedelta(seconds=-60)  # all is old enough for it
    # What would only be waited for.
    ExponentialBackoff.delay_amount = lambda *_: 0.01  # type: ignore[method-assign]
    queue._PAUSE_SECONDS = 0.2
    queue._SWEEP = "* * * * * */1"  # each second
    reaper._PAUSE_SECONDS = 0.5
    uses._PAUSE_SECONDS = 0.3


def _install_commits(boundaries: Boundaries) -> None:
    # What each connection's transaction wrote first, besides its idempotency key.
    writing: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def wrapped(original: Any, text_of: Callable[[Any], str]) -> Any:
        async def send(self: Any, first: Any, *args: Any, **options: Any) -> Any:
            text = text_of(first)
            sort: Sort
            if text.startswith("COMMIT") and (wrote := writing.pop(self, None)):
                sort, asked = "commit", wrote
            elif self.is_in_transaction() or not _WRITES.search(text):
                if text.startswith("BEGIN"):
                    writing.pop(self, None)
                elif _WRITES.search(text) and writing.get(self, _CLAIM).startswith(_CLAIM):
                    writing[self] = _asked()
                return await original(self, first, *args, **options)
            else:
                sort, asked = "write", _asked()
            if boundaries.passed(sort, "before", asked):
                self.abort()
                raise asyncpg.ConnectionDoesNotExistError("a fault was planned before it was sent")
            answer = await original(self, first, *args, **options)
            if boundaries.passed(sort, "after", asked):
                self.abort()
                raise asyncpg.ConnectionDoesNotExistError("a fault was planned after it was done")
            return answer

        return send

    for name, text_of in (("query", str), ("copy_in", lambda _: "INSERT INTO")):
        setattr(Protocol, name, wrapped(getattr(Protocol, name), text_of))
    for name in ("bind_execute", "bind_execute_many"):
        setattr(Protocol, name, _named(wrapped(getattr(Protocol, name), lambda state: state.query)))


def _named(send: Any) -> Any:
    """asyncpg gives these two all arguments by name."""

    async def named(self: Any, *args: Any, **options: Any) -> Any:
        return await (send(self, *args, **options) if args else send(self, options.pop("state"), **options))

    return named


class _Raw:
    async def read(self) -> bytes:
        return _BROKEN


def _install_s3(boundaries: Boundaries, *, keeps_checksums: bool) -> None:
    original = AIOHTTPSession.send

    async def send(self: Any, request: Any) -> Any:
        asked = f"{request.method} by {_asked()}"
        path, _, query = request.url.partition("?")
        key = path if request.method == "POST" and query == "uploads" else ""
        if fault := boundaries.passed("s3", "before", asked, key):
            if fault.action == "status":
                return AioAWSResponse(request.url, 500, {"content-type": "application/xml"}, _Raw())
            raise EndpointConnectionError(endpoint_url=request.url, error="a fault was planned")
        answer = await original(self, request)
        if not keeps_checksums:
            answer.headers.pop("x-amz-checksum-sha256", None)
        if boundaries.passed("s3", "after", asked, key):
            raise ConnectionClosedError(endpoint_url=request.url, error="a fault was planned", request=request)
        return answer

    AIOHTTPSession.send = send
