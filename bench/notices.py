"""Notices a second: how many signed requests to `/sync/` one and two service processes accept, and how soon.

    .venv/bin/python bench/notices.py [SECONDS] [RATE ...]

Each rate is offered for so long, whether or not answers come, as other applications do; a latency begins when a request
is due. PostgreSQL, the service and the client share the machine. In the end every 201 must be a row.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

import httpx
import orjson
import uvloop

from access.boxes import Boxes
from access.locations import Allowed
from access.signatures import sign
from access.sources import Sources
from models import Role, Tenant, User, database
from models.audit import Actor
from models.locations import Directory, Location
from waybill import postgres

WAYBILL = str(Path(sys.executable).with_name("waybill"))
KEY = secrets.token_bytes(32)
SOURCE = "bench.notices"
CONNECTIONS = 250  # to each process
OF_A_BATCH = 100
ANSWER_SECONDS = 10


class Request(NamedTuple):
    ref_id: str
    due: float
    text: bytes


@dataclass
class Result:
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)  # seconds, of those that were accepted
    accepted: set[str] = field(default_factory=set)
    missing: int = 0  # answers
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Connection(asyncio.Protocol):
    """One request at a time. Whoever has none waits in ``free``."""

    def __init__(self, free: "deque[Connection]", waiting: deque[Request], result: Result) -> None:
        self._free, self._waiting, self._result = free, waiting, result
        self._request: Request | None = None
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # which uvloop's own is not by its class
        self._free.append(self)

    def send(self, request: Request) -> None:
        self._request = request
        self._transport.write(request.text)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]):
            return
        assert self._request is not None
        status = int(self._received[9:12])
        self._result.statuses[status] += 1
        self._result.missing -= 1
        if self._result.missing == 0:
            self._result.done.set()
        if status == 201:
            self._result.accepted.add(self._request.ref_id)
            self._result.latencies.append(time.perf_counter() - self._request.due)
        self._received, self._request = b"", None
        if self._waiting:
            self.send(self._waiting.popleft())
        else:
            self._free.append(self)

    def close(self) -> None:
        self._transport.close()


def texts(count: int, secret: bytes) -> Iterator[tuple[str, bytes]]:
    """Requests and what they are about, signed beforehand."""
    run = secrets.token_hex(4)
    for number in range(count):
        ref_id = f"{run}-{number}"
        notice = {
            "oeid": f"{run}-{number // OF_A_BATCH}",
            "ref_id": ref_id,
            "file_name": f"{secrets.token_hex(12)}.jpg",
            "file_type": "image/jpeg",
        }
        body = orjson.dumps(notice)
        head = (
            f"POST /sync/{SOURCE}/ HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Authorization: {sign(secret, body)}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        yield ref_id, head.encode() + body


async def offer(ports: Sequence[int], secret: bytes, rate: int, seconds: float) -> Result:
    result, free, waiting = Result(), deque[Connection](), deque[Request]()
    made = list(texts(int(rate * seconds), secret))
    result.missing = len(made)
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    for _ in range(CONNECTIONS):
        for port in ports:
            _, one = await loop.create_connection(lambda: Connection(free, waiting, result), "127.0.0.1", port)
            connections.append(one)
    began = time.perf_counter()
    for number, (ref_id, text) in enumerate(made):
        due = began + number / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        elif number % 20 == 0:
            await asyncio.sleep(0)
        request = Request(ref_id, due, text)
        if free:
            free.popleft().send(request)
        else:
            waiting.append(request)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(result.done.wait(), ANSWER_SECONDS)
    took = time.perf_counter() - began
    for one in connections:
        one.close()
    latencies = sorted(result.latencies) or [0.0]
    quantiles = " ".join(f"{latencies[int((len(latencies) - 1) * q)] * 1000:7.1f}" for q in (0.5, 0.99))
    others: dict[object, int] = {status: count for status, count in result.statuses.items() if status != 201}
    if result.missing:
        others["unanswered"] = result.missing
    per_second = result.statuses[201] / took
    print(f"{len(ports)}  {rate:6,}  {per_second:6,.0f}  {quantiles}  {others or ''}", flush=True)
    return result


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(url: str, count: int) -> Iterator[list[int]]:
    ports = [free_port() for _ in range(count)]
    environment = os.environ | {
        "WAYBILL_DATABASE_URL": url,
        "WAYBILL_ENCRYPTION_KEYS": KEY.hex(),
        "WAYBILL_RATE_LIMIT_SYNC_NOTICES": "100000000",
    }
    with contextlib.ExitStack() as stack:
        for port in ports:
            command = [WAYBILL, "serve", "--port", str(port)]
            process = stack.enter_context(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
            stack.callback(process.terminate)
        for port in ports:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                        break
                time.sleep(0.1)
        yield ports


async def source() -> bytes:
    """The secret of a new source."""
    tenant_slug, name = SOURCE.split(".")
    tenant = await Tenant.create(slug=tenant_slug)
    user = await User.create(tenant=tenant, name="bench", role=Role.ADMIN)
    sources = Sources(Boxes([KEY]), Allowed(directories=True))
    _, secret = await sources.create(
        Actor(tenant.id), tenant_slug, user.id, name, Location("bucket"), Directory("notices")
    )
    return secret.encode()


async def rows() -> set[str]:
    found = await database.fetch(
        "SELECT o.object_id FROM syncs s JOIN objects o ON o.tenant_id = s.tenant_id AND o.id = s.object_pk"
    )
    return {row["object_id"] for row in found}


async def measure(url: str, seconds: float, rates: Sequence[int]) -> None:
    await database.migrate(url)
    async with database.connected(database.config(url, statement_timeout_seconds=600)):
        secret = await source()
        accepted: set[str] = set()
        print("processes, offered and accepted a second, ms until answered (median, 99 %)")
        for count in (1, 2):
            with serving(url, count) as ports:
                await offer(ports, secret, 100, 1)  # so that everything is warm
                for rate in rates:
                    accepted |= (await offer(ports, secret, rate, seconds)).accepted
        lost = accepted - await rows()
        print(f"{len(accepted):,} accepted, {len(lost):,} of them lost")
        assert not lost


def main(seconds: float, rates: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as directory:
        Path(directory).chmod(0o755)
        with (
            postgres.running(Path(directory) / "data") as url,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(measure(url, seconds, rates))


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else 10, [*map(int, sys.argv[2:])] or [500, 1000, 1500, 4000])
