"""`waybill dev`: PostgreSQL, SeaweedFS, a first tenant with user and key, and the service, all started together."""

import asyncio
import contextlib
import dataclasses
import errno
import ipaddress
import logging
import os
import shlex
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.datastructures import CommaSeparatedStrings, Secret

from access import credentials
from models import Role, Tenant, User, database
from models.errors import TenantSuspended, Unauthenticated
from storage.signing import Credentials
from waybill import locks, postgres, seaweedfs
from waybill.app import create_app
from waybill.kept_secrets import with_kept_secrets
from waybill.server import settle, uvicorn_options
from waybill.settings import Settings
from waybill.shared_server import SharedServer

TENANT = "main"
USER = "admin"
KEY_NAME = "waybill dev"
QUERY = '{"query": "{ batches { nodes { batchId } } }"}'
WATCH_SECONDS = 0.5

log = logging.getLogger(__name__)


class DevError(Exception):
    """`waybill dev` cannot start; the message says what is wrong and what to do."""


def run(data_dir: Path, settings: Settings) -> None:
    """Serves on the settings' host and port until SIGINT, SIGTERM or SIGHUP, and leaves nothing running.

    The settings' database is replaced by the one in ``data_dir``, and so is S3 unless they name buckets. Raises
    DevError, ServerError.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both unwind everything that was started
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as it is under nohup
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
    try:
        if (data_dir / "lock").exists():
            with _only_one(data_dir):
                pass  # says so before anything else is in the way of a second one
        with (
            _listening(settings.host, settings.port) as listener,
            postgres.Server(data_dir) as server,
            _only_one(data_dir),
            contextlib.ExitStack() as files,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            address, port = listener.getsockname()[:2]  # the port differs when any free one was asked for, by 0
            settings = dataclasses.replace(settings, database_url=Secret(server.url), port=port)
            servers: list[SharedServer] = [server]
            s3_credentials = None
            if not settings.s3_buckets:
                storage = files.enter_context(seaweedfs.Server(data_dir, origins=_origins(settings)))
                settings, s3_credentials = with_files(settings, storage), storage.credentials
                servers.append(storage)
            settings = with_kept_secrets(settings, data_dir)
            key = runner.run(prepare(server.url, data_dir / "api-key", settings.default_quotas))
            app = _app(settings, key, s3_credentials, loopback=ipaddress.ip_address(address).is_loopback)
            web = uvicorn.Config(app, loop="none", timeout_graceful_shutdown=3, **uvicorn_options(settings))
            settle()
            runner.run(_serve(web, listener, servers, lambda: _welcome(settings, key, data_dir)))
        _stopped()
    except KeyboardInterrupt:
        _stopped()
    except PermissionError as error:
        what = f"{error.filename} belongs to another user"
        raise DevError(f"{what}: run waybill dev as that user, or pass another --data-dir") from error
    except OSError as error:
        raise DevError(f"waybill dev cannot run in {data_dir}: {error}") from error


def _stopped() -> None:
    """All is: an interrupt that comes now would make a failure of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def with_files(settings: Settings, storage: seaweedfs.Server) -> Settings:
    """For files in the embedded server, and local copies of some beside it; its credentials are another matter."""
    return dataclasses.replace(
        settings,
        sync_root=settings.sync_root or str(storage.data_dir.absolute() / "copies"),
        sync_profiles=CommaSeparatedStrings([*settings.sync_profiles, f"{TENANT}:{seaweedfs.PROFILE}"]),
        sync_endpoints=CommaSeparatedStrings([*settings.sync_endpoints, storage.url]),
        sync_default_source=settings.sync_default_source or f"{TENANT}.default",
        s3_buckets=CommaSeparatedStrings(storage.buckets),
        s3_region=seaweedfs.REGION,
        s3_endpoint=storage.url,
        s3_path_style=True,
    )


def _origins(settings: Settings) -> list[str]:
    """Our own pages put and show files too."""
    own = [f"http://{name}:{settings.port}" for name in ("127.0.0.1", "localhost", "[::1]")]
    return [*settings.cors_origins, *own]


def _app(settings: Settings, key: str, s3_credentials: Credentials | None, *, loopback: bool) -> Starlette:
    """With the key in its page where only this machine can open it."""
    if not loopback:
        return create_app(settings, s3_credentials=s3_credentials, works=True)
    # Any name may resolve to this machine: a foreign site's page would read the key through its own.
    own = f"[{settings.host}]" if ":" in settings.host else settings.host.lower()
    hosts = sorted({"127.0.0.1", "[::1]", "localhost", own})
    return create_app(settings, graphiql_key=key, hosts=hosts, s3_credentials=s3_credentials, works=True)


async def prepare(url: str, key_file: Path, quotas: dict[str, int]) -> str:
    """Brings the database to the newest schema and returns a working key, made when the file holds none.

    A tenant that has to be made gets ``quotas``. Raises DevError when that would undo what somebody revoked.
    """
    await database.migrate(url)
    async with database.connected(database.config(url, max_connections=2)):
        key = key_file.read_text().strip() if key_file.exists() else ""  # noqa: ASYNC240 - before anything is served
        try:
            await credentials.Authenticator()(credentials.Attempt(f"Bearer {key}"))
        except (TenantSuspended, Unauthenticated):
            key = await _new_key(key_file, quotas)
            _write_secret(key_file, key + "\n")
    return key


async def _new_key(key_file: Path, quotas: dict[str, int]) -> str:
    async with database.transaction():
        tenant, _ = await Tenant.get_or_create(slug=TENANT, defaults=quotas)
        user, _ = await User.get_or_create(tenant=tenant, name=USER, defaults={"role": Role.ADMIN})
        if tenant.revoked_at or user.revoked_at:
            revoked = f'tenant "{TENANT}"' if tenant.revoked_at else f'user "{USER}" of tenant "{TENANT}"'
            raise DevError(
                f"the {revoked} is revoked, so that there is no key to begin with: pass another --data-dir, "
                f"or write a key of another user, from `waybill key create TENANT USER`, into {key_file}"
            )
        return await credentials.create_key(user, KEY_NAME)


async def _serve(
    config: uvicorn.Config, listener: socket.socket, servers: Sequence[SharedServer], welcome: Callable[[], None]
) -> None:
    web = _Web(config, welcome)
    watch = asyncio.create_task(_watch(servers))
    watch.add_done_callback(lambda _: setattr(web, "should_exit", True))
    await web.serve(sockets=[listener])
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch


async def _watch(servers: Sequence[SharedServer]) -> None:
    """Until one can be started no more, they are started again when they died; requests get 503 meanwhile."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        for server in servers:
            if not await asyncio.to_thread(server.alive):
                log.error("%s died and is started again", server.product)
                await asyncio.to_thread(server.recover)
            await asyncio.to_thread(server.trim_log)


class _Web(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, welcome: Callable[[], None]) -> None:
        super().__init__(config)
        self._welcome = welcome

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._welcome()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # by a second Ctrl-C: it waits for no connection, but what has begun ends without a trace
            await self.lifespan.shutdown()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()  # raising them again would make a failure of the way to end


def _welcome(settings: Settings, key: str, data_dir: Path) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{settings.port}/graphql"
    curl = ["curl", url, "-H", f"Authorization: Bearer {key}", "-H", "Content-Type: application/json", "-d", QUERY]
    click.echo(f"GraphiQL  {url}")
    click.echo(f"API key   {key}  (in {data_dir / 'api-key'})")
    click.echo(f"Try       {shlex.join(curl)}")
    click.echo("Ctrl-C stops everything; the data stays.")


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """From the start, so that a taken port is known before anything runs; who connects early waits for the answer."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise DevError(
                f"port {port} on {host} is taken: stop what uses it, or pass another, such as --port {port + 1}"
            ) from None
        raise DevError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
    with listener:
        yield listener


@contextlib.contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    with locks.opened(data_dir / "lock") as file:
        if not locks.lock(file):
            raise DevError(f"waybill dev already runs on {data_dir}, as process {file.read().decode()}")
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def _write_secret(path: Path, text: str) -> None:
    """Whole or not at all, and never readable for others."""
    number, new = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    with os.fdopen(number, "w") as file:
        file.write(text)
    Path(new).replace(path)
