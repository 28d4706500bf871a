"""`waybill serve` as a process to be measured: its port, when it answers, and what it takes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from access.credentials import create_key
from models import Role, Tenant, User, database

WAYBILL = str(Path(sys.executable).with_name("waybill"))
_START_SECONDS = 60
_TICKS = os.sysconf("SC_CLK_TCK")
ENVIRONMENT = {
    "WAYBILL_RATE_LIMIT_KEY_POINTS": "2000000000",
    "WAYBILL_RATE_LIMIT_TENANT_POINTS": "2000000000",
    "WAYBILL_LOG_LEVEL": "WARNING",
    "WAYBILL_S3_BUCKETS": "bench",
    "AWS_ACCESS_KEY_ID": "bench",
    "AWS_SECRET_ACCESS_KEY": "bench",
}


class Member(NamedTuple):
    """An admin of a tenant without quotas."""

    tenant_id: int
    user_id: int
    key: str


async def member(url: str, slug: str) -> Member:
    async with database.connected(database.config(url)):
        quotas = {"quota_bytes": None, "quota_objects": None}
        tenant, _ = await Tenant.get_or_create(slug=slug, defaults=quotas)
        user, _ = await User.get_or_create(tenant=tenant, name="bench", defaults={"role": Role.ADMIN})
        return Member(tenant.id, user.id, await create_key(user, "bench"))


class Serving(NamedTuple):
    process: int
    http: httpx.Client
    answered_after: float  # seconds from the process's start to its first answer

    def post(self, body: bytes) -> None:
        """Raises SystemExit where it answers with errors, for then nothing was measured."""
        answer = self.http.post("/graphql", content=body)
        if answer.status_code != 200 or "errors" in answer.json():
            raise SystemExit(f"waybill answers {answer.status_code}: {answer.text[:500]}")


@contextmanager
def serving(url: str, key: str, first: bytes) -> Iterator[Serving]:
    """It is asked for ``first`` until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | ENVIRONMENT | {"WAYBILL_DATABASE_URL": url, "WAYBILL_PORT": str(port)}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as http:
        started = time.perf_counter()
        process = subprocess.Popen([WAYBILL, "serve"], env=environment, stdout=subprocess.DEVNULL)
        try:
            while True:
                try:
                    Serving(process.pid, http, 0).post(first)
                    break
                except httpx.TransportError:
                    if process.poll() is not None or time.perf_counter() - started > _START_SECONDS:
                        raise SystemExit("waybill did not start") from None
                    time.sleep(0.005)
            yield Serving(process.pid, http, time.perf_counter() - started)
        finally:
            process.terminate()
            process.wait()


def processor_seconds(process: int) -> float:
    """What it has used so far, in and for it; 0 of one that is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def children(process: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
