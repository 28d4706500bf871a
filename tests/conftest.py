"""One PostgreSQL for the whole run, one database per worker from a migrated template, one tenant per test.

And one SeaweedFS, from the first test that needs it.
"""

import asyncio
import contextlib
import gc
import logging
import os
import random
import secrets
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from starlette.datastructures import CommaSeparatedStrings, Secret

from access import remembered
from access.credentials import create_key
from models import AccessLevel, Role, Tenant, User, database
from storage.client import Config, Storage, connected
from storage.signing import Credentials
from tests import processes
from tests.small_parts import PART_BYTES
from waybill import postgres, seaweedfs
from waybill.app import create_app
from waybill.settings import Settings

pytest_plugins = ("tests.wall",)

TEMPLATE = "waybill"
BUCKETS = ["waybill-one", "waybill-two"]
ORIGIN = "https://app.example"
PORTS = range(30_000, 32_768)  # above those that SeaweedFS takes
_server = contextlib.ExitStack()


def pytest_configure(config: pytest.Config) -> None:
    """Start PostgreSQL before any worker is: they find it by the environment, which says nothing else of Waybill."""
    remembered.SECONDS = 0.0  # so that each request counts its own statements; tests/access/test_remembered.py sets it
    for name in [name for name in os.environ if name.startswith("WAYBILL_") and not name.startswith("WAYBILL_TEST_")]:
        del os.environ[name]
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    binaries = os.environ.get("WAYBILL_TEST_POSTGRES")
    # Not pytest's own directory: as root, PostgreSQL's user cannot enter it.
    directory = Path(_server.enter_context(tempfile.TemporaryDirectory(prefix="waybill-test-")))
    directory.chmod(0o755)
    server = postgres.running(directory / "data", binaries=Path(binaries) if binaries else None, durable=False)
    os.environ["WAYBILL_TEST_DATA"] = str(directory / "data")
    os.environ["WAYBILL_TEST_DATABASE"] = url = _server.enter_context(server)
    asyncio.run(database.migrate(url))


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _server.close()


def pytest_collection_finish() -> None:
    """What is here now stays to the end: the collector need not look at it again and again."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Commands that run in this process set up the log, which the next test may look at."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


def url_of(name: str) -> str:
    return os.environ["WAYBILL_TEST_DATABASE"].replace(f"/{TEMPLATE}?", f"/{name}?")


async def new_database(template: str = TEMPLATE) -> str:
    """The URL of a new database; dropped with the server."""
    name = f"test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(url_of("postgres"))
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()
    return url_of(name)


@pytest.fixture(scope="session")
async def database_url() -> str:
    return await new_database()


@pytest.fixture(scope="session")
def seaweed() -> Iterator[seaweedfs.Server]:
    """The workers' common S3 server, which the last of them stops."""
    with seaweedfs.Server(Path(os.environ["WAYBILL_TEST_DATA"]), buckets=BUCKETS, origins=[ORIGIN]) as server:
        yield server


@pytest.fixture(scope="session")
def storage_config(seaweed: seaweedfs.Server) -> Config:
    return Config(
        buckets=BUCKETS,
        region=seaweedfs.REGION,
        endpoint=seaweed.url,
        path_style=True,
        credentials=seaweed.credentials,
    )


@pytest.fixture(scope="session")
async def storage(storage_config: Config) -> AsyncIterator[Storage]:
    async with connected(storage_config) as storage:
        yield storage


@pytest.fixture(scope="session")
def settings(database_url: str, seaweed: seaweedfs.Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        database_url=Secret(database_url),
        database_connections=5,
        s3_buckets=CommaSeparatedStrings(BUCKETS),
        s3_endpoint=seaweed.url,
        s3_path_style=True,
        multipart_bytes=5 * 1024**2,
        rate_limit_failed_logins=1_000_000,  # all tests have one address
        encryption_keys=Secret("0f" * 32),
        sync_root=str(tmp_path_factory.mktemp("copies")),
        sync_endpoints=CommaSeparatedStrings([seaweed.url]),
    )


@contextlib.asynccontextmanager
async def running(settings: Settings, credentials: Credentials) -> AsyncIterator[httpx.AsyncClient]:
    """The application with its lifespan; its answers come over ASGI."""
    app = create_app(settings, s3_credentials=credentials)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://waybill.test") as client:
            yield client


@pytest.fixture(scope="session")
async def http(settings: Settings, seaweed: seaweedfs.Server) -> AsyncIterator[httpx.AsyncClient]:
    async with running(settings, seaweed.credentials) as client:
        yield client


def without_cost(answer: httpx.Response) -> Any:
    """What is answered, besides the points that each request costs."""
    content = answer.json()
    if list(content.get("extensions", ())) == ["cost"]:
        del content["extensions"]
    return content


class GraphQLErrors(AssertionError):
    """An answer that should have had no errors."""


@dataclass
class Caller:
    """A user of one tenant, sending operations through the front door."""

    http: httpx.AsyncClient
    tenant: Tenant
    user: User
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def post(self, query: str, **variables: object) -> httpx.Response:
        body = {"query": query, "variables": variables}
        return await self.http.post("/graphql", json=body, headers=self.headers)

    async def execute(self, query: str, **variables: object) -> Any:
        """``data`` of an answer without errors."""
        answer = (await self.post(query, **variables)).json()
        if "errors" in answer:
            raise GraphQLErrors(answer["errors"])
        return answer["data"]

    async def error(self, query: str, **variables: object) -> Any:
        """The single error of an answer that has no data for the field."""
        answer = (await self.post(query, **variables)).json()
        [error] = answer["errors"]
        assert not any((answer.get("data") or {}).values())
        return error

    async def refused(self, query: str, **variables: object) -> str:
        """The code of the single error."""
        return str((await self.error(query, **variables))["extensions"]["code"])

    async def create_batch(self, batch_id: str, objects: dict[str, list[tuple[str, str]]] | None = None) -> Any:
        """``objects`` maps ids to pairs."""
        given = [
            {"objectId": object_id, "data": [{"key": key, "value": value} for key, value in pairs]}
            for object_id, pairs in (objects or {}).items()
        ]
        data = await self.execute(
            """mutation($batchId: String!, $objects: [ObjectInput!]) {
              createBatch(input: {batchId: $batchId, objects: $objects}) {
                batch { id batchId createdAt } objects { id objectId updatedAt }
              }
            }""",
            batchId=batch_id,
            objects=given,
        )
        return data["createBatch"]

    async def object_ids(self, where: object = None) -> list[str]:
        """The ids of all objects that match, through as many pages as it takes."""
        found: list[str] = []
        after = None
        while True:
            data = await self.execute(
                """query($where: ObjectWhere, $after: String) { objects(first: 100, after: $after, where: $where) {
                  nodes { objectId } pageInfo { hasNextPage endCursor } } }""",
                where=where,
                after=after,
            )
            found += [node["objectId"] for node in data["objects"]["nodes"]]
            if not data["objects"]["pageInfo"]["hasNextPage"]:
                return found
            after = data["objects"]["pageInfo"]["endCursor"]


NewCaller = Callable[..., Awaitable[Caller]]


@pytest.fixture
def new_caller(http: httpx.AsyncClient) -> NewCaller:
    """Make a user: of a new tenant, or of ``tenant``."""

    async def make(
        tenant: Tenant | None = None, role: Role = Role.ADMIN, member_access: AccessLevel = AccessLevel.NONE
    ) -> Caller:
        if tenant is None:
            tenant = await Tenant.create(slug=f"t-{secrets.token_hex(6)}", member_access=member_access)
        user = await User.create(tenant=tenant, name=f"user-{secrets.token_hex(4)}", role=role)
        return Caller(http, tenant, user, await create_key(user, "test"))

    return make


@pytest.fixture
async def admin(new_caller: NewCaller) -> Caller:
    """The admin of a new, empty tenant."""
    return await new_caller()


def free_port() -> int:
    """None that the system gives to outgoing connections: there are thousands of them, and who is started, or started
    again, some time later could not listen where one of them began, for a minute after its end.
    """
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def served(
    database_url: str,
    *,
    until: str = "/readyz",
    log: str = os.devnull,
    prepare: str = "",
    **environment: str,
) -> Iterator[str]:
    """A real `waybill serve` process, whose answer at ``until`` is good; the address it listens on."""
    port = free_port()
    environment["WAYBILL_DATABASE_URL"] = database_url
    with processes.running("serve", "--port", str(port), error=log, prepare=prepare, **environment):
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{port}{until}").status_code == 200, 60)
        yield f"http://127.0.0.1:{port}"


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Until the condition holds; a server that does not listen yet counts as not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if condition():
                return
        time.sleep(0.05)
    raise TimeoutError


@pytest.fixture(scope="session")
def with_files(seaweed: seaweedfs.Server) -> dict[str, str]:
    """The environment of a service process that keeps files."""
    return {
        "WAYBILL_S3_BUCKETS": ",".join(BUCKETS),
        "WAYBILL_S3_ENDPOINT": seaweed.url,
        "WAYBILL_S3_PATH_STYLE": "true",
        "AWS_ACCESS_KEY_ID": seaweed.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed.credentials.secret_key,
    }


@pytest.fixture(scope="session")
def service_url(database_url: str, with_files: dict[str, str]) -> Iterator[str]:
    """A service process on this worker's database, for tests that need a socket."""
    most = {"WAYBILL_RATE_LIMIT_FAILED_LOGINS": "1000000", "WAYBILL_MULTIPART_BYTES": str(PART_BYTES)}
    with served(database_url, prepare="tests.small_parts:cut", **most, **with_files) as url:
        yield url
