"""Local copies: Waybill's worker beside `aws s3 sync` and `aws s3 cp`, from one S3 server in one run, taking turns.

    .venv/bin/python bench/syncs.py [ROUNDS] [SMALL FILES] [MIB OF THE LARGE ONE]

needs `aws` (pip install awscli, in an environment of its own). Waybill's time is from the notices until all are SYNCED,
PostgreSQL's included, with a worker that waits as it does in a service; that of `aws` is all of its process. Memory is
the most that the process had at once. Everything is compared afterwards with what was put into the bucket.
"""

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from access.boxes import Boxes
from access.locations import Allowed
from access.sources import Sources
from models import Role, Tenant, User, database, jobs, notices, sources
from models.audit import Actor
from models.locations import Directory, Location
from models.notices import Notice, Outcome
from waybill import dev, postgres, seaweedfs

WAYBILL = str(Path(sys.executable).with_name("waybill"))
CONCURRENCY = 32  # of the source: a file has its place until the transaction is over that registers it
SMALL_BYTES = 10_000
BUCKET = "bench"  # not the service's own, of which it looks for files without a row
MIB = 1024**2


class Measured(NamedTuple):
    seconds: float
    peak_mib: float


def put(directory: Path, aws: Sequence[str], small: int, large_mib: int) -> None:
    for kind, count, size in (("small", small, SMALL_BYTES), ("large", 1, large_mib * MIB)):
        (directory / kind).mkdir(parents=True)
        for number in range(count):
            with (directory / kind / f"{number:05}.bin").open("wb") as file:
                for begin in range(0, size, MIB):
                    file.write(os.urandom(min(MIB, size - begin)))
        place = f"s3://{BUCKET}/{kind}/"
        subprocess.run([*aws, "cp", "--recursive", "--quiet", str(directory / kind), place], check=True)


def digests(directory: Path) -> list[str]:
    """Of all files below it, sorted."""
    found = []
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").hexdigest())
    return sorted(found)


@contextlib.contextmanager
def peak_of(pid: int) -> Iterator[Callable[[], float]]:
    """MiB, of the process alone: what wait4 says of a child is at least what its parent had when it began."""
    most, done = 0.0, threading.Event()

    def look() -> None:
        nonlocal most
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
                most = max(most, int(found[1]) / 1024)

    def watch() -> None:
        while not done.wait(0.01):
            look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield lambda: most
    finally:
        done.set()
        thread.join()


def by_aws(*command: str) -> Measured:
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process, peak_of(process.pid) as peak:
        assert process.wait() == 0
        return Measured(time.perf_counter() - began, peak())


class Bench:
    def __init__(self, data: Path, url: str, s3: seaweedfs.Server) -> None:
        self._data, self._url, self._s3 = data, url, s3
        self._sources: dict[str, int] = {}
        self._tenant_id = 0

    async def prepare(self) -> None:
        tenant = await Tenant.create(slug=dev.TENANT)
        user = await User.create(tenant=tenant, name="bench", role=Role.ADMIN)
        self._tenant_id = tenant.id
        allowed = Allowed({(dev.TENANT, seaweedfs.PROFILE)}, [self._s3.url], directories=True)
        for kind in ("small", "large"):
            origin = Location(BUCKET, f"{kind}/", self._s3.url, profile=seaweedfs.PROFILE)
            row, _ = await Sources(Boxes([bytes(32)]), allowed).create(
                Actor(tenant.id), tenant.slug, user.id, kind, origin, Directory(kind), CONCURRENCY
            )
            self._sources[kind] = row["id"]

    async def copied(self, kind: str, names: Sequence[str]) -> tuple[Measured, Path]:
        """By a worker that has just been started, and waits; and where the copies are."""
        batch = f"bench-{time.time_ns()}"
        command = [WAYBILL, "worker", "--data-dir", str(self._data)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process, peak_of(process.pid) as peak:  # noqa: ASYNC220
            try:
                await self._listening()
                began = time.perf_counter()
                wanted = [Notice(batch, f"{batch}-{number}", name, "image/png") for number, name in enumerate(names)]
                for first in range(0, len(wanted), 100):
                    some = wanted[first : first + 100]
                    answers = await notices.request(self._tenant_id, self._sources[kind], some)
                    assert {one.outcome for one in answers} == {Outcome.QUEUED}
                    await jobs.add(jobs.SYNC)
                while not await self._are_all_synced(kind):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                measured = Measured(time.perf_counter() - began, peak())
            finally:
                process.terminate()
        return measured, self._data / "copies" / dev.TENANT / kind / batch

    async def _listening(self) -> None:
        """As the worker is when it has begun to wait for jobs."""
        while True:
            rows = await database.fetch(
                "SELECT FROM pg_stat_activity WHERE application_name = 'waybill jobs' AND query LIKE '%pgqueuer%'"
            )
            if rows:
                await asyncio.sleep(1)  # what it does at first
                return
            await asyncio.sleep(0.05)

    async def _are_all_synced(self, kind: str) -> bool:
        stats = await sources.stats(self._tenant_id, self._sources[kind])
        assert not stats.failed
        return not stats.queued + stats.running


async def measure(bench: Bench, directory: Path, aws: Sequence[str], rounds: int) -> None:
    results: dict[tuple[str, str], list[Measured]] = {}
    for number in range(rounds):
        for kind, how in (("small", ["sync", "--quiet"]), ("large", ["cp", "--recursive", "--quiet"])):
            wanted = digests(directory / kind)
            there = directory / f"aws-{kind}-{number}"
            place = f"s3://{BUCKET}/{kind}/"
            ours, copies = await bench.copied(kind, sorted(path.name for path in (directory / kind).iterdir()))
            theirs = await asyncio.to_thread(by_aws, *aws, *how, place, str(there))
            for who, measured, where in (("waybill", ours, copies), ("aws", theirs, there)):
                assert digests(where) == wanted
                shutil.rmtree(where)
                results.setdefault((kind, who), []).append(measured)
                load = os.getloadavg()[0]
                print(
                    f"{kind} {who}: {measured.seconds:.2f} s, {measured.peak_mib:.0f} MiB (load {load:.1f})", flush=True
                )
    for kind in ("small", "large"):
        us, them = (
            Measured(*map(statistics.median, zip(*results[kind, who], strict=True))) for who in ("waybill", "aws")
        )
        ratios = f"{them.seconds / us.seconds:.2f} x as long, {them.peak_mib / us.peak_mib:.2f} x the memory"
        print(f"{kind}: waybill {shown(us)}; aws {shown(them)}, {ratios}")


def shown(measured: Measured) -> str:
    return f"{measured.seconds:.2f} s, {measured.peak_mib:.0f} MiB"


def main(rounds: int, small: int, large_mib: int) -> None:
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        data = directory / "data"
        with postgres.running(data) as url, seaweedfs.Server(data, buckets=(seaweedfs.BUCKET, BUCKET)) as s3:
            os.environ |= {
                "AWS_ACCESS_KEY_ID": s3.credentials.access_key,
                "AWS_SECRET_ACCESS_KEY": s3.credentials.secret_key,
                "AWS_DEFAULT_REGION": seaweedfs.REGION,
            }
            aws = ["aws", "--endpoint-url", s3.url, "s3"]
            put(directory, aws, small, large_mib)

            async def run() -> None:
                await database.migrate(url)
                async with database.connected(database.config(url, statement_timeout_seconds=600)):
                    bench = Bench(data, url, s3)
                    await bench.prepare()
                    await measure(bench, directory, aws, rounds)

            asyncio.run(run())


if __name__ == "__main__":
    given = [*map(int, sys.argv[1:])]
    main(*(given + [3, 1_000, 2_048][len(given) :]))
