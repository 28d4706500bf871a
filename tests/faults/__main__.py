"""`make faults`: many runs, each with its own seed, until one finds a violation."""

import argparse
import asyncio
import contextlib
import dataclasses
import os
import random
import signal
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
_PATIENCE = 10  # times as long as others a fault of ours is looked for, until it is found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the others count up from it")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no run begins")
    parser.add_argument("--random", action="store_true", help="and a last run whose seed is drawn")
    parser.add_argument(
        "--prove", nargs="*", default=[], metavar="MUTANT", help=f"find faults of ours: all, or {', '.join(MUTANTS)}"
    )
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
        yield (
            url,
            Config(["waybill-one"], seaweedfs.REGION, server.url, path_style=True, credentials=server.credentials),
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
    """Runs one after another, several at once, until one finds a violation."""

    def __init__(self, world: World, buckets: asyncio.Queue[str], given: argparse.Namespace) -> None:
        self._world = world
        self._buckets = buckets
        self._given = given
        self._began = time.monotonic()
        self._known: set[str] = set()  # boundaries that are passed while nothing breaks
        self._passed: Counter[str] = Counter()
        self._broken: Counter[tuple[str, str]] = Counter()
        self._orphans: Counter[str] = Counter()
        self._done = 0
        self.failed: Outcome | None = None

    async def all(self) -> None:
        given = self._given
        await self._one(given.seed, "clean")
        self._known = set(self._passed)
        seeds = iter(range(given.seed, given.seed + given.runs))
        await asyncio.gather(*(self._some(seeds) for _ in range(given.jobs)))
        if given.random and not self.failed:
            await self._one(random.SystemRandom().randrange(10**6, 10**9), "drawn")

    async def _some(self, seeds: Iterator[int]) -> None:
        seconds = self._given.seconds * (_PATIENCE if self._world.mutant else 1)
        while not self.failed and time.monotonic() - self._began < seconds:
            seed = next(seeds, None)
            if seed is None:
                return
            await self._one(seed)

    async def _one(self, seed: int, what: str = "") -> None:
        bucket = await self._buckets.get()
        with tempfile.TemporaryDirectory(prefix="waybill-faults-") as directory:
            outcome = await run(self._world, seed, Path(directory), bucket, clean=what == "clean")
        self._buckets.put_nowait(bucket)
        self._done += 1
        self._passed += outcome.passed
        self._broken += outcome.broken
        self._orphans += outcome.orphans
        if outcome.violations and not self.failed:
            self.failed = outcome
        said = f"{len(outcome.violations)} violations" if outcome.violations else "ok"
        of = f"{what} {self._world.mutant}".strip()
        _say(
            f"{self._done:5}  seed {seed}  {sum(outcome.broken.values())} faults  {outcome.seconds:.1f} s"
            f"  {sum(outcome.passed.values())} boundaries  {said}  {of}"
        )

    def report(self) -> int:
        """The exit code."""
        seconds, broken = time.monotonic() - self._began, Counter(name for name, _ in self._broken.elements())
        _say(f"\n{self._done} runs in {seconds:.0f} s; boundaries passed, and those where something was broken:")
        for name in sorted(self._passed):
            how = ", ".join(f"{count} {action}" for (at, action), count in sorted(self._broken.items()) if at == name)
            _say(f"{self._passed[name]:8} {broken[name]:6}  {name}  {how}".rstrip())
        _say(f"\n{self._orphans.total()} uploads in parts were left to the reaper, which found them, because of:")
        for name, count in self._orphans.most_common():
            _say(f"{count:8}  {name}")
        if self.failed:
            _say(f"\n{self.failed.report}\n\nTo repeat it: make faults RUNS=1 SEED={self.failed.seed}")
            return 1
        never = sorted(self._known - broken.keys())
        if never and self._done >= _ENOUGH:
            _say("\nNever broken, although a clean run passes them:\n" + "\n".join(never))
            return 1
        return 0


async def _main(forks: Forks, url: str, config: Config, given: argparse.Namespace) -> int:
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)  # or the servers would stay
    template, key = await _template(url)
    async with forks, _buckets(config, given.jobs) as buckets:
        own = url.replace(f"/{TEMPLATE}?", "/postgres?")
        world = World(own, template, key, config, forks)
        for mutant in MUTANTS if given.prove == ["all"] else given.prove:
            series = Series(dataclasses.replace(world, mutant=mutant), buckets, given)
            await series.all()
            if series.failed is None:
                _say(f"{mutant}: not found")
                return 1
            _say(f"{mutant}: found by seed {series.failed.seed}: {series.failed.violations[0]}")
        if given.prove and not given.random:
            return 0
        series = Series(world, buckets, given)
        try:
            await series.all()
        except asyncio.CancelledError:  # somebody has seen enough
            series.report()
            raise
        return series.report()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    arguments, forks = _arguments(), Forks()
    with _servers() as (url, config):
        code = asyncio.run(_main(forks, url, config, arguments))
    sys.exit(code)
