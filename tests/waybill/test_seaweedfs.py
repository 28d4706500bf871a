"""Every test starts servers of its own; tests/storage/test_presigned.py has what they enforce."""

import contextlib
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import wait_for
from tests.waybill.buckets import ask, body_of, ports, put
from tests.waybill.conftest import NOBODY, as_nobody, gone, needs_root
from waybill import seaweedfs
from waybill.seaweedfs import SeaweedFSError, Server

USER = """
import sys
from pathlib import Path
from waybill import seaweedfs
with seaweedfs.Server(Path(sys.argv[1])) as server:
    print(server.url, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_user(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that uses the server until it is killed or this block ends, and the URL that it has."""
    command = [sys.executable, "-c", USER, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()


def snapshot(directory: Path) -> list[str]:
    return sorted(str(path) for path in directory.rglob("*"))


def test_first_start_stop_and_start_again(directory: Path) -> None:
    data_dir = directory / "deep" / "data"
    begin = time.monotonic()
    with Server(data_dir, buckets=["one", "two"]) as server:
        first_seconds = time.monotonic() - begin
        url, credentials, pid = server.url, server.credentials, server.pid
        put(server, "a/b", b"kept")
        server.buckets.reverse()
        put(server, "a/b", b"other bucket")
        assert server.alive()
        assert len(credentials.secret_key) == 40
        for name in ("seaweedfs.json", "seaweedfs.log"):
            assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600
        assert stat.S_IMODE((data_dir / "seaweedfs").stat().st_mode) == 0o700
        assert credentials.secret_key not in server.log.read_text()
        assert credentials.secret_key.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    assert gone(pid)
    for part, port in zip(seaweedfs.PARTS, ports(data_dir), strict=True):
        assert not Path(f"/tmp/seaweedfs-{part}-grpc-{port + seaweedfs.GRPC}.sock").exists()  # noqa: S108
    begin = time.monotonic()
    with Server(data_dir, buckets=["one", "two", "three"]) as server:
        assert time.monotonic() - begin < first_seconds + 3  # it would wait for 5 seconds
        assert (server.url, server.credentials) == (url, credentials)
        assert body_of(server, "a/b") == b"kept"
        server.buckets.reverse()
        put(server, "a/b", b"new bucket")


def test_users_share_one_server_and_the_last_stops_it(directory: Path) -> None:
    with another_user(directory) as (process, url):
        with Server(directory) as server:
            pid = server.pid
            assert server.url == url
            put(server, "a", b"kept")
        assert not gone(pid)
        with Server(directory) as server:
            process.communicate()
            assert server.pid == pid
            assert body_of(server, "a") == b"kept"
    assert gone(pid)


def test_killed_user_leaves_an_orphan_that_the_next_replaces(directory: Path) -> None:
    with another_user(directory) as (process, url):
        orphan = int((directory / "seaweedfs" / "pid").read_text())
        process.kill()
    assert not gone(orphan)
    with Server(directory) as server:
        assert gone(orphan)
        assert server.pid != orphan
        assert server.url == url


def test_whatever_was_confirmed_outlives_kill_9(directory: Path) -> None:
    """The server is killed three times while clients send files of one byte to some megabytes."""
    confirmed: dict[str, bytes] = {}
    begun: dict[str, bytes] = {}
    stop = threading.Event()

    def send(server: Server, sender: int) -> None:
        rng = random.Random(sender)
        for number in range(10_000):
            if stop.is_set():
                return
            key = f"{server.pid}/{sender}/{number}"
            begun[key] = rng.randbytes(rng.choice([1, 100, 10_000, 300_000, 9_000_000]))
            with contextlib.suppress(httpx.TransportError):
                if ask(server, "PUT", key, begun[key]).status_code == 200:
                    confirmed[key] = begun[key]

    with Server(directory) as server, ThreadPoolExecutor() as pool:
        for _ in range(3):
            before, url = len(confirmed), server.url
            stop.clear()
            senders = [pool.submit(send, server, number) for number in range(4)]
            wait_for(lambda: len(confirmed) > before + 15)  # noqa: B023 - called at once
            os.kill(server.pid, signal.SIGKILL)
            stop.set()
            for sender in senders:
                sender.result()
            assert not server.alive()
            begin = time.monotonic()
            server.recover()
            assert time.monotonic() - begin < 4
            assert server.url == url
            for key, body in confirmed.items():
                assert body_of(server, key) == body
            for key in begun.keys() - confirmed.keys():
                answer = ask(server, "GET", key)
                assert answer.status_code == 404 or answer.content == begun[key]


def test_taken_port_is_replaced_and_the_files_stay(directory: Path) -> None:
    with Server(directory) as server:
        put(server, "first", b"first")
        old = ports(directory)
    filers = old[seaweedfs.PARTS.index("filer")] + seaweedfs.GRPC
    with socket.create_server(("127.0.0.1", filers)), Server(directory) as server:
        assert ports(directory) != old
        assert body_of(server, "first") == b"first"
        put(server, "second", b"second")
    with Server(directory) as server:
        assert ports(directory) != old
        assert body_of(server, "first") == b"first"
        assert body_of(server, "second") == b"second"


def sockets(ports: list[int]) -> list[Path]:
    names = [
        f"seaweedfs-{part}-grpc-{port + seaweedfs.GRPC}.sock" for part, port in zip(seaweedfs.PARTS, ports, strict=True)
    ]
    return [path for name in names if (path := Path("/tmp", name)).exists()]  # noqa: S108


def test_address_that_somebody_uses_is_waited_for_and_never_changed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server(directory) as server:
        old, url = ports(directory), server.url
        os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: not server.alive())
        with socket.create_server(("127.0.0.1", old[0] + seaweedfs.GRPC)) as taken:
            monkeypatch.setattr(seaweedfs, "PORTS_SECONDS", 0.1)
            with pytest.raises(SeaweedFSError, match=f"port {old[0]}, or 10,000 above it, is taken"):
                server.recover()
            with pytest.raises(SeaweedFSError, match="is taken"), Server(directory):  # joins those who know it
                pass
            monkeypatch.undo()
            threading.Timer(0.5, taken.close).start()
            server.recover()
        assert (server.url, ports(directory)) == (url, old)
        put(server, "a", b"a")


def test_sockets_of_a_killed_server_are_removed_with_its_ports(directory: Path) -> None:
    with Server(directory) as server:
        old = ports(directory)
        assert sockets(old)
        with contextlib.suppress(ProcessLookupError):
            os.kill(server.pid, signal.SIGKILL)
        wait_for(lambda: not server.alive())
        data = (directory / "seaweedfs.json").read_bytes()
        left = [(path.parent / f"{path.name}.left") for path in sockets(old)]
        for path, copy in zip(sockets(old), left, strict=True):
            path.rename(copy)
    (directory / "seaweedfs.json").write_bytes(data)
    for copy in left:
        copy.rename(copy.with_suffix(""))  # as if the one who used it had been killed as well
    with socket.create_server(("127.0.0.1", old[0] + seaweedfs.GRPC)), Server(directory):
        assert ports(directory) != old
        assert not sockets(old)


def test_port_taken_in_the_last_moment_is_replaced(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = seaweedfs._free_ports()
        choices = iter([[port, *free[1:]], free])
        seems_free = iter([True] * len(free))
        monkeypatch.setattr(seaweedfs, "_free_ports", lambda: next(choices))
        monkeypatch.setattr(seaweedfs, "_is_free", lambda _: next(seems_free, False))
        with Server(directory) as server:
            put(server, "a", b"a")
            assert ports(directory) == free


def test_start_that_fails_shows_the_log_and_leaves_nothing(directory: Path) -> None:
    with Server(directory):
        pass
    shutil.rmtree(directory / "seaweedfs" / "filerldb2")
    (directory / "seaweedfs" / "filerldb2").write_text("not a directory")
    with pytest.raises(SeaweedFSError, match=r"did not start[\s\S]*filerldb2"), Server(directory):
        pass
    assert gone(int((directory / "seaweedfs" / "pid").read_text()))


def test_unusable_directory_is_said_and_left(directory: Path) -> None:
    (directory / "file").touch()
    before = snapshot(directory)
    for place in (directory / "file", directory / "file" / "below"):
        with pytest.raises(SeaweedFSError, match="is not a directory"), Server(place):
            pass
    assert snapshot(directory) == before


@needs_root
def test_program_that_the_servers_user_cannot_reach_is_copied(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = directory / "private"
    private.mkdir(mode=0o700)
    shutil.copy(seaweedfs._program(), private / "weed")
    monkeypatch.setattr(seaweedfs, "_program", lambda: private / "weed")
    for _ in range(2):
        with Server(directory / "data") as server:
            put(server, "a", b"a")
            [copy] = (directory / "data").glob("seaweedfs-*")
            assert os.fsencode(copy) in Path(f"/proc/{server.pid}/cmdline").read_bytes()
            assert Path(f"/proc/{server.pid}").stat().st_uid != 0


@needs_root
def test_ordinary_user(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(seaweedfs._program(), directory / "weed")
    monkeypatch.setattr(seaweedfs, "_program", lambda: directory / "weed")
    home = directory / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)

    def start(data_dir: Path) -> str:
        with Server(data_dir) as server:
            put(server, "a", b"a")
            return f"ran as {Path(f'/proc/{server.pid}').stat().st_uid}"

    assert as_nobody(lambda: start(home / "data")) == f"ran as {NOBODY}"
    assert as_nobody(lambda: start(home / "data")) == f"ran as {NOBODY}"
    assert start(home / "data") == f"ran as {NOBODY}"  # root serves another user's files as that user
    assert f"{directory} is not writable" in as_nobody(lambda: start(directory / "data"))
    start(directory / "roots")
    (directory / "roots").chmod(0o777)
    assert "belongs to another user" in as_nobody(lambda: start(directory / "roots"))
