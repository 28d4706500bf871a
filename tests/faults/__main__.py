"""`make faults`: many runs, each with its own seed; says which boundaries were broken, and stops at a violation."""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg

from access.credentials import create_key
from models import Role, Tenant, User, database
from storage.client import Config, connected
from tests.conftest import TEMPLATE
from tests.faults.forks import Forks
from tests.faults.mutants import MUTANTS
from tests.faults.run import Outcome, World, run
from waybill import postgres, seaweedfs

_ENOUGH = 500  # runs, after which each boundary has been broken


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the others count up from it")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=3, help="runs at once")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no run begins")
    parser.add_argument("--random", action="store_true", help="and a last run whose seed is drawn")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="a fault of ours, which is to be found")
    parser.add_argument("--keep", type=Path, help="a directory for the reports of violations")
    return parser.parse_args()


@contextlib.contextmanager
def _servers() -> Iterator[tuple[str, Config]]:
    """Of their own, or those of the tests that started this."""
    directory = Path(os.environ.get("WAYBILL_TEST_DATA", ""))
    with contextlib.ExitStack() as stack:
        if (url := os.environ.get("WAYBILL_TEST_DATABASE")) is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="waybill-faults-")))
            directory.chmod(0o755)  # as root, PostgreSQL's user has to enter it
            directory /= "data"
            url = stack.enter_context(postgres.running(directory, durable=False))
            asyncio.run(database.migrate(url))
        server = stack.enter_context(seaweedfs.Server(directory, buckets=["waybill-one", "waybill-two"]))
        yield url, Config(
            ["waybill-one"], seaweedfs.REGION, server.url, path_style=True, credentials=server.credentials
        )


async def _template(url: str) -> tuple[str, str]:
    """A copy of the migrated database with one tenant, and the key of its admin."""
    name = f"faults_{random.SystemRandom().getrandbits(48):x}"
    own = await asyncpg.connect(url.replace(f"/{TEMPLATE}?", "/postgres?"))
    await own.execute(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')
    await own.close()
    async with database.connected(database.config(url.replace(f"/{TEMPLATE}?", f"/{name}?"), max_connections=1)):
        tenant = await Tenant.create(slug="faults", quota_bytes=10**9, quota_objects=10**6)
        user = await User.create(tenant=tenant, name="admin", role=Role.ADMIN)
        return name, await create_key(user, "faults")


@contextlib.asynccontextmanager
async def _buckets(config: Config, count: int) -> AsyncIterator[asyncio.Queue[str]]:
    """One for each of the runs that go on at once."""
    names = [f"faults-{os.getpid()}-{number}" for number in range(count)]
    queue: asyncio.Queue[str] = asyncio.Queue()
    async with connected(config) as storage:
        for name in names:
            await storage._client.create_bucket(Bucket=name)
            queue.put_nowait(name)
        yield queue
        for name in names:
            await storage._client.delete_bucket(Bucket=name)


class Series:
    def __init__(self, world: World, buckets: asyncio.Queue[str], arguments: argparse.Namespace) -> None:
        self._world = world
        self._buckets = buckets
        self._arguments = arguments
        self._began = time.monotonic()
        self._passed: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self.done = 0
        self.failed: Outcome | None = None

    async def all(self) -> None:
        given = self._arguments
        self._note(await self._one(given.seed, clean=True), "clean")
        known = set(self._passed)
        seeds = iter(range(given.seed, given.seed + given.runs))
        await asyncio.gather(*(self._some(seeds) for _ in range(given.jobs)))
        if given.random and self.failed is None:
            self._note(await self._one(random.SystemRandom().randrange(10**6, 10**9)), "drawn")
        self._summary(known)

    async def _some(self, seeds: Iterator[int]) -> None:
        for seed in seeds:
            if self.failed or time.monotonic() - self._began > self._arguments.seconds:
                return
            self._note(await self._one(seed), "")

    async def _one(self, seed: int, *, clean: bool = False) -> Outcome:
        bucket = await self._buckets.get()
        directory = Path(tempfile.mkdtemp(prefix="waybill-faults-"))
        try:
            return await run(self._world, seed, directory, bucket, clean=clean)
        finally:
            shutil.rmtree(directory)
            self._buckets.put_nowait(bucket)

    def _note(self, outcome: Outcome, what: str) -> None:
        self.done += 1
        self._passed += outcome.passed
        self._broken += outcome.broken
        faults = sum(outcome.broken.values())
        result = f"{len(outcome.violations)} VIOLATIONS" if outcome.violations else "ok"
        rate = (time.monotonic() - self._began) / self.done
        _say(f"{self.done:5} seed {outcome.seed} {what} {faults} faults {outcome.seconds:.1f} s {result} ({rate:.2f})")
        if outcome.violations and self.failed is None:
            self.failed = outcome
            _say(outcome.report)
            mutant = f" --mutant {self._world.mutant}" if self._world.mutant else ""
            _say(f"\nagain: python -m tests.faults --seed {outcome.seed} --runs 1{mutant}")

    def _summary(self, known: set[str]) -> None:
        kinds = Counter(line.split("\t")[0] for line in self._broken.elements())
        _say(f"\n{self.done} runs, {sum(self._passed.values())} boundaries, {sum(kinds.values())} of them broken:")
        for name in sorted(self._passed):
            actions = {key.split("\t")[1]: n for key, n in self._broken.items() if key.split("\t")[0] == name}
            _say(f"{self._passed[name]:8} {kinds[name]:5}  {name}  {actions or ''}")
        self.never = sorted(known - kinds.keys())


async def _main(url: str, config: Config, arguments: argparse.Namespace) -> int:
    template, key = await _template(url)
    async with Forks() as forks, _buckets(config, arguments.jobs) as buckets:
        own = url.replace(f"/{TEMPLATE}?", "/postgres?")
        series = Series(World(own, template, key, config, forks, arguments.mutant), buckets, arguments)
        await series.all()
    if series.failed is not None:
        return 1
    if series.never and series.done >= _ENOUGH:
        _say("\nnever broken, although a clean run passes them:\n" + "\n".join(series.never))
        return 1
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with _servers() as (url, config):
        code = asyncio.run(_main(url, config, _arguments()))
    sys.exit(code)
