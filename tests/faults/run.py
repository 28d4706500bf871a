"""One run: clients and faults, then an end to both, and the four claims."""

import asyncio
import itertools
import random
import re
import secrets
import signal
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from storage.client import Config, Storage, connected
from storage.signing import Endpoint, presign
from tests.conftest import free_port
from tests.faults.checks import keys_of, look, shown_otherwise, unfinished_of, violations
from tests.faults.client import Client
from tests.faults.forks import Forks, Process
from tests.faults.hooks import PART_BYTES
from tests.faults.ledger import Ledger, Upload
from tests.faults.operations import OPERATIONS
from tests.faults.plans import CLEAN, ROLES, Plan, plans
from tests.faults.reaping import makers, reaped, stray
from tests.faults.sending import late

_CLIENTS = 4
_OPERATIONS = 9  # of each client
_HANGS_SECONDS = 180  # on a machine that has much else to do
_STRAY = 5  # in every so many runs the reaper is asked although nothing is left to it
_READ_BYTES = 1_500  # that completeUploads reads itself: some of the bodies are larger

# As if time had passed.
_EXPIRED = "UPDATE uploads SET expires_at = now() - interval '1 hour', look_at = now() WHERE state = 'PENDING'"
_SOME_EXPIRED = _EXPIRED + " AND random() < 0.2"
_SOME_FORGOTTEN = "UPDATE uploads SET look_at = now() WHERE state = 'PENDING' AND random() < 0.5"
_UNCLAIMED = "UPDATE uploads SET read_at = now() WHERE state = 'VERIFYING'"
_DUE = "UPDATE deletions SET due_at = now()"
_OVER = "UPDATE deletions SET due_at = now(), over_at = now()"
_FINAL = "UPDATE deletions SET due_at = now(), over_at = now(), until_at = now()"


@dataclass(frozen=True)
class World:
    """What all runs share: the servers, a migrated database with one tenant to copy, the API key of its admin."""

    database_url: str  # of the server's own database
    template: str
    key: str
    storage: Config
    forks: Forks
    mutant: str = ""  # a fault of ours, which the processes have


@dataclass
class Outcome:
    seed: int
    seconds: float
    violations: list[str]
    passed: Counter[str]  # boundaries by their names
    broken: Counter[tuple[str, str]]  # those where something was broken, and how
    orphans: Counter[str]  # those because of which an upload in parts was left to the reaper
    report: str = field(repr=False)


@dataclass
class _Run:
    world: World
    seed: int
    plans_of: dict[str, Iterator[Plan]]
    directory: Path
    bucket: str
    database_url: str
    starts: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    orphans: Counter[str] = field(default_factory=Counter)
    port: int = field(default_factory=free_port)

    async def start(self, role: str, plan: Plan) -> Process:
        arguments = {
            "serve": ("serve", "--port", str(self.port)),
            "worker": ("worker",),
            "reap": ("reap",),
            "act": ("reap", "--act"),
            "drain": ("worker", "--drain"),
        }[role]
        name = f"{len(self.starts):02}-{role}"
        self.starts.append(f"{name}: {plan}")
        config = self.world.storage
        assert config.credentials is not None
        environment = {
            "WAYBILL_DATABASE_URL": self.database_url,
            "WAYBILL_DATABASE_CONNECTIONS": "8",
            "WAYBILL_S3_BUCKETS": self.bucket,
            "WAYBILL_S3_ENDPOINT": config.endpoint,
            "WAYBILL_S3_PATH_STYLE": "true",
            "WAYBILL_MAX_VERIFIED_BYTES": str(_READ_BYTES),
            "WAYBILL_MULTIPART_BYTES": str(PART_BYTES),
            "WAYBILL_QUARANTINE_DAYS": "1",
            "AWS_ACCESS_KEY_ID": config.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": config.credentials.secret_key,
        }
        return await self.world.forks.start(
            *arguments,
            environment=environment,
            plan=plan,
            log=self.directory / f"{name}.log",
            boundaries=self.directory / f"{name}.boundaries",
            keeps_checksums=self.seed % 3 != 0,
            mutant=self.world.mutant,
        )

    @asynccontextmanager
    async def kept_up(self, role: str) -> AsyncIterator[None]:
        """Started again whenever it ends, as an orchestrator does; killed in the end."""
        process = await self.start(role, next(self.plans_of[role]))

        stopping = False

        async def keep() -> None:
            nonlocal process
            while not stopping:
                code = await process.ended()
                if not stopping and code == -signal.SIGKILL:
                    process = await self.start(role, next(self.plans_of[role]))
                elif not stopping:
                    self.failures.append(f"(0) {role} ended by itself, with {code}")
                    return
            await process.kill()

        keeper = asyncio.create_task(keep())
        try:
            yield
        finally:
            stopping = True
            await process.kill()
            await keeper

    async def drain(self, plan: Plan = CLEAN) -> int:
        return await (await self.start("drain", plan)).ended()

    def raw_url(self, upload: Upload) -> str:
        """Writes the upload's key whatever is sent."""
        config = self.world.storage
        assert config.credentials is not None
        endpoint = Endpoint.of(config.endpoint, self.bucket, region=config.region, path_style=True)
        key = urlsplit(upload.url).path.removeprefix(endpoint.prefix)
        return presign(config.credentials, "PUT", endpoint, key, now=datetime.now(UTC), expires_in=600)


async def run(world: World, seed: int, directory: Path, bucket: str, *, clean: bool = False) -> Outcome:
    """``directory`` and ``bucket`` are empty, and nobody else's; the bucket is so again afterwards if all is well."""
    began = time.monotonic()
    ledger = Ledger()
    name = f"faults_{secrets.token_hex(6)}"
    server = await asyncpg.connect(world.database_url)
    await server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{world.template}"')
    url = world.database_url.replace("/postgres?", f"/{name}?")
    of_roles = {role: itertools.repeat(CLEAN) if clean else plans(seed, role) for role in ROLES}
    one = _Run(world, seed, of_roles, directory, bucket, url)
    found: list[str] = []
    try:
        async with asyncio.timeout(_HANGS_SECONDS), connected(world.storage) as storage:
            database = await asyncpg.connect(url)
            try:
                found = await _live(one, ledger, database, storage)
            finally:
                database.terminate()
                await _empty(storage, bucket)
    except TimeoutError:
        found = [*ledger.violations, *one.failures, f"(0) it hangs: not done after {_HANGS_SECONDS} seconds"]
    except Exception:  # noqa: BLE001 - it is shown with the seed
        found = [*ledger.violations, *one.failures, f"(0) the run itself failed: {traceback.format_exc()}"]
    finally:
        await server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await server.close()
    passed, broken = _boundaries(directory)
    report = _report(one, ledger, found) if found else ""
    return Outcome(seed, time.monotonic() - began, found, passed, broken, one.orphans, report)


async def _live(one: _Run, ledger: Ledger, database: asyncpg.Connection, storage: Storage) -> list[str]:
    rng = random.Random(one.seed)
    async with AsyncExitStack() as stack:
        url = f"http://127.0.0.1:{one.port}"
        clients = [
            await stack.enter_async_context(
                Client(number, random.Random(rng.random()), ledger, url, one.world.key, one.raw_url)
            )
            for number in range(_CLIENTS)
        ]
        async with one.kept_up("serve"):
            async with one.kept_up("worker"), asyncio.TaskGroup() as tasks:
                for client in clients:
                    tasks.create_task(_work(client, database))
            # Time passes, and the worker breaks on.
            drains = one.plans_of["drain"]
            for time_passes in (_EXPIRED, _OVER, _FINAL):
                await database.execute(time_passes)
                await database.execute(_UNCLAIMED)
                await one.drain(next(drains))
                if time_passes is not _FINAL:
                    await late(clients[0])
        return await _judge(one, ledger, database, storage, clients[0])


async def _work(client: Client, database: asyncpg.Connection) -> None:
    operations, weights = list(OPERATIONS), list(OPERATIONS.values())
    for _ in range(_OPERATIONS):
        if client.number == 0 and client.rng.random() < 0.3:
            await database.execute(client.rng.choice((_SOME_EXPIRED, _SOME_FORGOTTEN, _SOME_FORGOTTEN)))
        [operation] = client.rng.choices(operations, weights)
        await operation(client)


async def _judge(
    one: _Run, ledger: Ledger, database: asyncpg.Connection, storage: Storage, client: Client
) -> list[str]:
    """With nothing that breaks."""
    found = [*ledger.violations, *one.failures]
    await database.execute(_DUE)
    found += violations(await look(database, storage, one.bucket), ledger, settled=False)
    for time_passes in (_EXPIRED, _FINAL):
        await database.execute(time_passes)
        await database.execute(_UNCLAIMED)
        if code := await one.drain():
            found.append(f"(0) the worker cannot drain: it ended with {code}")
    left = await look(database, storage, one.bucket)
    found += violations(left, ledger, settled=True)
    one.orphans += makers(one.directory, left)
    if left.nobodys or one.seed % _STRAY == 1:
        await stray(storage, one.bucket)
        found += await reaped(one.start, one.plans_of, database, storage, one.bucket, left)
    service = await one.start("serve", CLEAN)
    found += await shown_otherwise(left, client)
    await service.kill()
    return found


async def _empty(storage: Storage, bucket: str) -> None:
    await storage.delete_many(bucket, await keys_of(storage, bucket))
    for key, multipart_id in await unfinished_of(storage, bucket):
        await storage.abort_multipart(bucket, key, multipart_id)


_LINE = re.compile(r"\d+\t(?P<sort>\w+) \d+\t(?P<action>\S+)\t(?P<name>.*)\t.*")


def _boundaries(directory: Path) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    passed: Counter[str] = Counter()
    broken: Counter[tuple[str, str]] = Counter()
    for file in directory.glob("*.boundaries"):
        for line in file.read_text().splitlines():
            match = _LINE.fullmatch(line)
            assert match, line
            passed[match["name"]] += 1
            if match["action"] != "-":
                broken[match["name"], match["action"]] += 1
    return passed, broken


def _report(one: _Run, ledger: Ledger, found: list[str]) -> str:
    lines = [f"seed {one.seed}", *found, "", "the plan of each process:", *one.starts, "", "what clients did:"]
    lines += ledger.lines()
    for file in sorted(one.directory.glob("*.boundaries")):
        lines += ["", f"boundaries of {file.stem}:", *file.read_text().splitlines()]
    for file in sorted(one.directory.glob("*.log")):
        said = [line for line in file.read_text().splitlines() if '"level":"INFO"' not in line]
        lines += ["", f"what {file.stem} said:", *said[-40:]]
    return "\n".join(lines)
