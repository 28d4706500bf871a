"""What `waybill sync-demo` does: files go into a bucket, notices are sent, and the copies are watched and verified."""

import asyncio
import contextlib
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urljoin

import click
import httpx
import orjson

from access.locations import directory_of
from access.signatures import sign
from models import User, sources
from models.audit import Actor
from models.locations import Location, location
from waybill import dev, locks, seaweedfs
from waybill.cli import client, demo_files
from waybill.cli.admin import run as on_database
from waybill.cli.admin import show, tenant_named
from waybill.cli.database import read_settings
from waybill.cli.demo_files import Bucket, DemoFile
from waybill.cli.demo_progress import Progress, Standing, following
from waybill.cli.sources import opened
from waybill.cli.sync_demo import DEFAULT_URL
from waybill.shared_server import ServerError

SOURCE = "demo"
NAME = f"{dev.TENANT}.{SOURCE}"
_CONCURRENCY = 16
_DAY_SECONDS = 24 * 3600
_PAUSE_SECONDS = 0.3
_STUCK_SECONDS = 120  # without anything being copied
_REFUSED = {400: 1, 401: 1, 409: 1}  # what is wrong on purpose

_PAGE = """query ($batch: String!, $after: String) {
  syncs(first: 100, after: $after, where: {source: "demo", batchId: $batch}) {
    nodes { state size path sha256 fileName error }
    pageInfo { hasNextPage endCursor }
  }
}"""
_SHOWN = """query ($id: String!, $seconds: Int!) {
  object(objectId: $id) { localCopy { access(expiresIn: $seconds, disposition: INLINE) { url }
    thumbnail(width: 256, expiresIn: $seconds) { url } } }
}"""


def run(data_dir: Path, count: int, url: str) -> None:
    """Raises ClickException unless all were copied and are equal."""
    settings = read_settings()
    for name in ("database_url", "s3_buckets"):
        if str(getattr(settings, name) or ""):
            raise click.ClickException(f"unset WAYBILL_{name.upper()}: this works with what `waybill dev` brings")
    try:
        with _service(data_dir, url.rstrip("/").removesuffix("/graphql")) as service, seaweedfs.Server(data_dir) as s3:
            root = Path(dev.with_files(settings, s3).sync_root)
            secret = on_database(data_dir, lambda: _secret(data_dir, s3))
            demo = Demo(service, secret, (data_dir / "api-key").read_text().strip(), root, demo_files.chosen(count))
            asyncio.run(demo.run(s3))
    except ServerError as error:
        raise click.ClickException(str(error)) from error
    except PermissionError as error:
        what = f"{error.filename} belongs to another user"
        raise click.ClickException(f"{what}: run this as that user, or pass another --data-dir") from error
    except httpx.HTTPError as error:
        where = "say where waybill dev listens with --url or WAYBILL_URL"
        raise click.ClickException(f"{str(error) or type(error).__name__}: {where}") from error


@contextlib.contextmanager
def _service(data_dir: Path, url: str) -> Iterator["_Running"]:
    """The one that runs in the data directory, or one of our own meanwhile."""
    lock = data_dir / "lock"
    if lock.exists() and locks.held(lock):
        yield _Running(url, is_ours=False)
        return
    click.echo(f"starting waybill dev in {data_dir} ...")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it does not outlive us
    command = [sys.executable, "-m", "waybill", "dev", "--data-dir", str(data_dir), "--host", "127.0.0.1"]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield _Running(_told(process, log), is_ours=True)
        finally:
            process.terminate()
            process.wait()


def _told(process: "subprocess.Popen[str]", log: IO[str]) -> str:
    """The address that it says when it is ready."""
    assert process.stdout is not None  # noqa: S101 - for mypy
    for line in process.stdout:
        if line.startswith("GraphiQL"):
            return line.split()[-1].removesuffix("/graphql")
    log.seek(0)
    raise click.ClickException(f"waybill dev did not start:\n{log.read()[-2_000:]}")


@dataclass(frozen=True, slots=True)
class _Running:
    url: str
    is_ours: bool  # so that it ends with us


async def _secret(data_dir: Path, s3: seaweedfs.Server) -> bytes:
    """Of the source, which is made if it is not there."""
    tenant = await tenant_named(dev.TENANT)
    place = Location(demo_files.BUCKET, endpoint=s3.url, profile=seaweedfs.PROFILE)
    made = opened(data_dir)
    if (row := await sources.named(tenant.id, SOURCE)) is None:
        user = await User.get(tenant=tenant, name=dev.USER)
        _, secret = await made.create(
            Actor(tenant.id), tenant.slug, user.id, SOURCE, place, directory_of(SOURCE), _CONCURRENCY
        )
        return secret.encode()
    if location(orjson.loads(row["origin"])) != place:
        raise click.ClickException(f"there is another source {NAME} already: pass another --data-dir")
    if row["paused_at"] is not None:
        raise click.ClickException(f"the source is paused: waybill source resume {dev.TENANT} {SOURCE}")
    return made.secrets_of(row)[0]


@dataclass
class Demo:
    service: _Running
    secret: bytes
    key: str
    root: Path
    files: list[DemoFile]
    batch: str = field(default_factory=lambda: f"demo-{time.time_ns() // 1_000_000:x}")
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)

    async def run(self, s3: seaweedfs.Server) -> None:
        size_bytes = sum(file.size for file in self.files)
        async with demo_files.bucket(s3) as bucket:
            await bucket.fill(self.files)
            click.echo(f"{len(self.files):,} files, {size_bytes:,} bytes, are in the bucket {demo_files.BUCKET}")
            async with client.Service(f"{self.service.url}/graphql", self.key) as service:
                with following(len(self.files), size_bytes) as progress:
                    _, rows = await asyncio.gather(self._send(), self._follow(service, progress))
                show(("answers", "status", "detail"), [(n, *answer) for answer, n in sorted(self.answers.items())])
                await self._verify(bucket, rows)
                await self._tell(service)

    async def _send(self) -> None:
        """All notices, and some that the service has to refuse."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:

            async def send(body: bytes, signed: bytes | None = None) -> None:
                headers = {
                    "Content-Type": "application/json",
                    "Authorization": sign(self.secret, body if signed is None else signed),
                }
                answer = await http.post(f"{self.service.url}/sync/{NAME}/", content=body, headers=headers)
                self.answers[answer.status_code, _detail(answer)] += 1

            bodies = [self._notice(number) for number in range(len(self.files))]
            await demo_files.each(bodies, send)
            await send(bodies[0])  # once more
            await send(bodies[0].replace(b"demo-", b"Demo-"), bodies[0])  # changed after it was signed
            await send(self._notice(0, oeid="../elsewhere"))
        statuses: Counter[int] = Counter()
        for (status, _), n in self.answers.items():
            statuses[status] += n
        if statuses != {201: len(self.files), **_REFUSED}:
            raise click.ClickException(f"{self.service.url} answered {dict(self.answers)}: is it another service?")

    def _notice(self, number: int, **changed: str) -> bytes:
        file = self.files[number]
        notice = {"oeid": self.batch, "ref_id": self._id(number), "file_name": file.name, "file_type": file.type}
        return orjson.dumps(notice | changed)

    def _id(self, number: int) -> str:
        return f"{self.batch}-{number:04}"

    async def _follow(self, service: client.Service, progress: Progress) -> list[Any]:
        """Until each file is SYNCED or FAILED; the rows then."""
        moved_at, before = time.monotonic(), Standing()
        while True:
            rows = [row async for row in self._rows(service)]
            standing = Standing.of(rows)
            progress.show(standing)
            if standing.synced + standing.failed == len(self.files):
                return rows
            if standing != before:
                moved_at, before = time.monotonic(), standing
            elif time.monotonic() - moved_at > _STUCK_SECONDS:
                raise click.ClickException(
                    f"nothing was copied for {_STUCK_SECONDS} seconds: see the log of waybill dev"
                )
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _rows(self, service: client.Service) -> Any:
        after = None
        while True:
            page = (await service.call(_PAGE, batch=self.batch, after=after))["syncs"]
            for row in page["nodes"]:
                yield row
            if not page["pageInfo"]["hasNextPage"]:
                return
            after = page["pageInfo"]["endCursor"]

    async def _verify(self, bucket: Bucket, rows: list[Any]) -> None:
        """Raises ClickException unless every copy is what is in the bucket."""
        digests: dict[str, str] = {}

        async def ask(file: DemoFile) -> None:
            digests[file.name] = await bucket.digest(file)

        await demo_files.each(self.files, ask)
        wrong = [f"{row['fileName']}: {row['error']}" for row in rows if row["state"] != "SYNCED"]
        there = [row for row in rows if row["state"] == "SYNCED"]
        wrong += [
            f"{row['path']}: said to be {row['sha256']}" for row in there if row["sha256"] != digests[row["fileName"]]
        ]
        expected = {row["path"]: digests[row["fileName"]] for row in there}
        wrong += [f"{path}: another than in the bucket" for path in demo_files.unequal(self.root, expected)]
        how = demo_files.program() or "SHA-256"
        if wrong:
            raise click.ClickException(
                "\n".join([f"{len(wrong):,} of {len(self.files):,} files are not equal:", *wrong[:20]])
            )
        click.echo(f"{how}: {len(rows):,} copies are equal to what is in the bucket")

    async def _tell(self, service: client.Service) -> None:
        found = (await service.call(_SHOWN, id=self._id(0), seconds=_DAY_SECONDS))["object"]["localCopy"]
        what, url = ("thumbnail", found["thumbnail"]) if found["thumbnail"] else ("copy", found["access"])
        base = DEFAULT_URL if self.service.is_ours else self.service.url
        query = f'{{ syncs(where: {{batchId: "{self.batch}"}}) {{ nodes {{ fileName state size sha256 path }} }} }}'
        click.echo(f"Copies     {self.root / dev.TENANT / SOURCE / self.batch}")
        if self.service.is_ours:
            click.echo(f"Now start  {shlex.join(['waybill', 'dev', '--data-dir', str(self.root.parent)])}")
        click.echo(f"GraphiQL   {base}/graphql  with  {query}")
        click.echo(f"{what.capitalize():<10} {urljoin(base, url['url'])}  (for a day)")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(orjson.loads(answer.content)["detail"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return answer.reason_phrase
