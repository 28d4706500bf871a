"""What is answered when the database is there, is busy, is gone, or hangs: by /healthz and /readyz, and to requests."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest

from tests.conftest import BUCKETS, Caller, free_port, served, wait_for
from waybill import seaweedfs

BODY = {"query": "{ batches { nodes { batchId } } }"}
REQUEST_TIMEOUT_SECONDS = 2.0


class Gate:
    """A way to the database that can be shut (new connections are refused, old ones cut) or frozen (nothing moves)."""

    def __init__(self, url: str) -> None:
        query = parse_qs(urlsplit(url).query)
        self._socket = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._open = asyncio.Event()
        self._open.set()
        self._pipes: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = free_port()
        parts = urlsplit(url)
        self.url = f"postgresql://{parts.username}@127.0.0.1:{self.port}{parts.path}?sslmode=disable"

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def shut(self) -> None:
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._pipes.add(task)
        self.connections += 1
        there, back = await asyncio.open_unix_connection(self._socket)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._copy(reader, back))
                both.create_task(self._copy(there, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            back.close()
            writer.close()
            self._pipes.discard(task)

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            await self._open.wait()
            target.write(data)
            await target.drain()
        raise ConnectionResetError


@pytest.fixture(scope="module")
async def gate(database_url: str) -> AsyncIterator[Gate]:
    gate = Gate(database_url)
    await gate.open()
    yield gate
    gate.thaw()
    await gate.shut()


@pytest.fixture(scope="module")
async def service(gate: Gate) -> AsyncIterator[httpx.AsyncClient]:
    """A service process behind the gate."""
    settings = {"WAYBILL_DATABASE_CONNECTIONS": "2", "WAYBILL_REQUEST_TIMEOUT_SECONDS": str(REQUEST_TIMEOUT_SECONDS)}
    process = served(gate.url, **settings)
    url = await asyncio.to_thread(process.__enter__)
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        yield client
    await asyncio.to_thread(process.__exit__, None, None, None)


async def timed(client: httpx.AsyncClient, path: str) -> tuple[httpx.Response, float]:
    started = time.perf_counter()
    return await client.get(path), time.perf_counter() - started


async def test_process_is_alive_and_ready(http: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert answer.headers["cache-control"] == "no-store"


def said_with_files(database_url: str, seaweed: seaweedfs.Server, **changes: str) -> tuple[int, str]:
    """By /readyz of a process whose credentials for S3 are in its environment."""
    files = {
        "WAYBILL_S3_BUCKETS": ",".join(BUCKETS),
        "WAYBILL_S3_ENDPOINT": seaweed.url,
        "WAYBILL_S3_PATH_STYLE": "true",
        "AWS_ACCESS_KEY_ID": seaweed.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweed.credentials.secret_key,
    }
    with served(database_url, until="/healthz", **{**files, **changes}) as url:
        begin = time.perf_counter()
        answer = httpx.get(f"{url}/readyz")
        assert time.perf_counter() - begin < 2
        return answer.status_code, answer.json()["status"]


def test_buckets_must_be_there(database_url: str, seaweed: seaweedfs.Server) -> None:
    assert said_with_files(database_url, seaweed) == (200, "ok")
    missing = ",".join([*BUCKETS, "missing"])
    assert said_with_files(database_url, seaweed, WAYBILL_S3_BUCKETS=missing) == (503, "storage unavailable")


def test_bucket_that_is_missing_is_in_the_log_before_anybody_asks(
    database_url: str, with_files: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with served(database_url, until="/healthz", log=str(log), **{**with_files, "WAYBILL_S3_BUCKETS": "missing"}):
        wait_for(lambda: "bucket missing: there is no such bucket" in log.read_text())


def test_files_that_hang_are_not_ready(database_url: str, seaweed: seaweedfs.Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert said_with_files(database_url, seaweed, WAYBILL_S3_ENDPOINT=url) == (503, "storage unavailable")


async def test_database_that_refuses_is_not_ready_until_it_is_back(service: httpx.AsyncClient, gate: Gate) -> None:
    assert (await service.get("/readyz")).status_code == 200
    await gate.shut()
    answer, seconds = await timed(service, "/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "database unavailable"})
    assert seconds < 2
    assert (await service.get("/healthz")).status_code == 200
    await gate.open()
    assert (await service.get("/readyz")).status_code == 200


async def test_database_that_hangs_is_not_ready_within_two_seconds(service: httpx.AsyncClient, gate: Gate) -> None:
    gate.freeze()
    for _ in range(2):
        answer, seconds = await timed(service, "/readyz")
        assert answer.status_code == 503
        assert seconds < 2
    gate.thaw()
    assert (await service.get("/readyz")).status_code == 200


async def test_full_pool_is_ready(service: httpx.AsyncClient, database_url: str, admin: Caller) -> None:
    lock = await asyncpg.connect(database_url)
    async with lock.transaction():
        await lock.execute("LOCK TABLE batches")
        busy = [asyncio.create_task(service.post("/graphql", json=BODY, headers=admin.headers)) for _ in range(4)]
        await asyncio.sleep(0.3)
        answer, seconds = await timed(service, "/readyz")
        assert not any(task.done() for task in busy)
    assert answer.status_code == 200
    assert seconds < 2
    assert {task.status_code for task in await asyncio.gather(*busy)} == {200}
    await lock.close()


async def test_many_askers_ask_the_database_once(service: httpx.AsyncClient, gate: Gate) -> None:
    assert (await service.get("/readyz")).status_code == 200
    before = gate.connections
    gate.freeze()
    answers = await asyncio.gather(*(timed(service, "/readyz") for _ in range(20)))
    assert {answer.status_code for answer, _ in answers} == {503}
    assert max(seconds for _, seconds in answers) < 2
    assert gate.connections - before <= 2
    gate.thaw()


async def test_requests_are_unavailable_while_the_database_is_away_and_work_afterwards(
    service: httpx.AsyncClient, gate: Gate, admin: Caller
) -> None:
    assert (await service.post("/graphql", json=BODY, headers=admin.headers)).status_code == 200
    await gate.shut()
    for _ in range(3):
        answer = await service.post("/graphql", json=BODY, headers=admin.headers)
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["extensions"] == {"code": "UNAVAILABLE"}
    await gate.open()
    assert (await service.post("/graphql", json=BODY, headers=admin.headers)).status_code == 200


async def test_no_request_hangs_on_a_database_that_does(service: httpx.AsyncClient, gate: Gate, admin: Caller) -> None:
    gate.freeze()
    posts = (service.post("/graphql", json=BODY, headers=admin.headers) for _ in range(6))
    started = time.perf_counter()
    for answer in await asyncio.gather(*posts):
        assert answer.status_code == 504
        assert answer.json()["errors"][0]["extensions"] == {"code": "TIMEOUT"}
    assert time.perf_counter() - started < REQUEST_TIMEOUT_SECONDS + 3
    gate.thaw()
    async with asyncio.timeout(10):
        while (await service.post("/graphql", json=BODY, headers=admin.headers)).status_code != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # it is another process that recovers


async def test_clients_that_go_away_free_their_connections(
    service: httpx.AsyncClient, database_url: str, admin: Caller
) -> None:
    lock = await asyncpg.connect(database_url)
    async with lock.transaction():
        await lock.execute("LOCK TABLE batches")
        for _ in range(4):  # of a pool of two
            with pytest.raises(httpx.ReadTimeout):
                await service.post("/graphql", json=BODY, headers=admin.headers, timeout=0.3)
        started = time.perf_counter()
        answer = await service.post("/graphql", json={"query": "{ viewer { user { name } } }"}, headers=admin.headers)
        assert answer.status_code == 200
        assert time.perf_counter() - started < 0.5  # before the time-out of the first one frees them
    await lock.close()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_only_get_is_answered(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.post(path)).status_code == 405
