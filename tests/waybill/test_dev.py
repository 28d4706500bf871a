"""`waybill dev` as a process: started, used by what it prints, killed, and started again."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from models import User, database, jobs, notices, sources
from models.locations import Directory, Location, stored
from models.notices import Notice
from models.sources import NewSource
from tests import processes
from tests.conftest import new_database, wait_for
from tests.waybill.buckets import body_of, put
from tests.waybill.conftest import gone, new_directory, postmaster
from waybill import dev as embedded
from waybill import postgres, seaweedfs
from waybill.cli import COMMANDS, main
from waybill.cli.database import chosen_database

QUERY = "{ batches { nodes { batchId } } }"


@dataclass
class Dev:
    process: BaseProcess
    url: str
    key: str
    curl: str
    error: Path  # what it says is wrong

    def post(self, query: str, key: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.post(self.url, json={"query": query}, headers=headers, timeout=10)

    def batches(self) -> list[str]:
        nodes = self.post(QUERY).json()["data"]["batches"]["nodes"]
        return [node["batchId"] for node in nodes]

    def create_batch(self, batch_id: str) -> None:
        answer = self.post(f'mutation {{ createBatch(input: {{batchId: "{batch_id}"}}) {{ batch {{ id }} }} }}')
        assert "errors" not in answer.json()

    def stop(self, number: signal.Signals) -> int | None:
        processes.send(self.process, number)
        self.process.join(60)
        return self.process.exitcode


@contextlib.contextmanager
def dev(
    data_dir: Path,
    *options: str,
    prepare: str = "",
    **environ: str,
) -> Iterator[Dev]:
    """On any free port; stopped at the end, if it has not been before."""
    command = ["dev", "--data-dir", str(data_dir), "--port", "0", *options]
    with tempfile.TemporaryDirectory() as directory:
        out, error = Path(directory, "out"), Path(directory, "error")
        with processes.running(*command, out=out, error=error, prepare=prepare, **environ) as process:
            wait_for(lambda: process.exitcode is not None or (out.exists() and out.read_text().count("\n") == 4), 60)
            assert process.exitcode is None, error.read_text()
            yield Dev(process, *said(out.read_text()), error)


def said(output: str) -> tuple[str, str, str]:
    """URL, key, and a command to try."""
    [url] = re.findall(r"^GraphiQL +(\S+)$", output, re.MULTILINE)
    [key] = re.findall(r"^API key +(\S+)", output, re.MULTILINE)
    [curl] = re.findall(r"^Try +(.+)$", output, re.MULTILINE)
    return url, key, curl


@pytest.fixture(scope="module")
def once_started() -> Iterator[Path]:
    with new_directory() as path:
        with postgres.Server(path, durable=False):  # does not wait for the disk
            pass
        with dev(path) as first:
            assert first.stop(signal.SIGINT) == 0
        yield path


@pytest.fixture
def used(directory: Path, once_started: Path) -> Path:
    """Where it was started once before, a copy for each test: the first start takes the longest."""
    subprocess.run(["cp", "-a", f"{once_started}/.", directory], check=True)
    known = directory / "seaweedfs.json"
    content = json.loads(known.read_bytes())
    known.write_text(json.dumps({**content, "ports": seaweedfs._free_ports()}))
    return directory


def refused(*options: str | Path) -> str:
    """What `waybill dev` says that does not start."""
    ended = processes.finished("dev", *map(str, options))
    assert ended.exit_code == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


def command(*arguments: str, **environ: str) -> str:
    """What a command says that works on the database, here in this process."""
    done = CliRunner(env=environ).invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def test_start_use_stop_and_start_again(directory: Path) -> None:
    data_dir = directory / "data"
    with dev(data_dir, prepare=processes.ANEW) as first:
        first.create_batch("kept")
        pasted = subprocess.run(["sh", "-c", first.curl], capture_output=True, text=True, check=True)
        assert '"batchId":"kept"' in pasted.stdout
        assert first.key in httpx.get(first.url, headers={"Accept": "text/html"}).text
        foreign = httpx.get(first.url, headers={"Accept": "text/html", "Host": "rebound.example"})
        assert foreign.status_code == 400
        assert first.key not in foreign.text
        assert (data_dir / "api-key").read_text().strip() == first.key
        assert stat.S_IMODE((data_dir / "api-key").stat().st_mode) == 0o600
        database = postmaster(data_dir)
        assert first.stop(signal.SIGTERM) == 0
    assert gone(database)
    with dev(data_dir) as second:
        assert second.key == first.key
        assert second.batches() == ["kept"]
        assert second.stop(signal.SIGINT) == 0


def test_killed_service_and_killed_database_recover(used: Path, with_files: dict[str, str]) -> None:
    with dev(used, **with_files) as first:
        first.create_batch("kept")
        os.kill(postmaster(used), signal.SIGKILL)
        assert first.post(QUERY).status_code == 503
        wait_for(lambda: first.post(QUERY).status_code == 200)
        assert first.batches() == ["kept"]
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    with dev(used, **with_files) as second:
        assert second.batches() == ["kept"]


def test_killed_connection_of_the_database_recovers_without_a_restart(used: Path, with_files: dict[str, str]) -> None:
    with dev(used, **with_files) as service:
        service.create_batch("kept")
        server = postmaster(used)
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        backend = next(int(pid) for pid in children if b" idle" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(backend, signal.SIGKILL)  # upon which PostgreSQL ends all of them, for shared memory may be damaged
        wait_for(lambda: "all server processes terminated" in (used / "postgres.log").read_text())
        wait_for(lambda: service.post(QUERY).status_code == 200)
        assert service.batches() == ["kept"]
        assert postmaster(used) == server


async def ask_for_a_copy(data_dir: Path, storage: seaweedfs.Server) -> None:
    """Of the file "a", by a source of the first tenant."""
    with chosen_database(data_dir) as url:
        async with database.connected(database.config(url)):
            user = await User.get(name=embedded.USER).prefetch_related("tenant")
            place = Location(storage.buckets[0], endpoint=storage.url, profile=seaweedfs.PROFILE)
            new = NewSource("photos", stored(place), stored(Directory("photos")), 1, b"sealed")
            source = await sources.create(user.tenant.id, user.id, new)
            await notices.request(user.tenant.id, source["id"], [Notice("b", "r", "a", "text/plain")])
            await jobs.add(jobs.SYNC)


def test_files_survive_the_kill_of_everything_and_can_be_copied(used: Path) -> None:
    with dev(used) as first:
        ready = first.url.replace("/graphql", "/readyz")
        with seaweedfs.Server(used) as storage:
            put(storage, "a", b"kept")
            page = {"Origin": first.url.removesuffix("/graphql"), "Access-Control-Request-Method": "PUT"}
            assert httpx.options(f"{storage.url}/waybill/a", headers=page).status_code == 200
            os.kill(storage.pid, signal.SIGKILL)
            wait_for(lambda: not storage.alive())
            wait_for(lambda: httpx.get(ready).status_code == 200)
            assert body_of(storage, "a") == b"kept"
            orphan = storage.pid
        first.stop(signal.SIGKILL)
        os.kill(orphan, signal.SIGKILL)
    with dev(used), seaweedfs.Server(used) as storage:
        assert body_of(storage, "a") == b"kept"
        asyncio.run(ask_for_a_copy(used, storage))
        copy = used / "copies" / "main" / "photos" / "b" / "r" / "a"
        wait_for(copy.exists)
        assert copy.read_bytes() == b"kept"
        last = storage.pid
    wait_for(lambda: gone(last))


def test_impatient_ctrl_c_stops_everything_all_the_same(used: Path) -> None:
    with dev(used) as service:
        servers = [postmaster(used), int((used / "seaweedfs" / "pid").read_text())]
        while service.process.exitcode is None:
            processes.send(service.process, signal.SIGINT)
            time.sleep(0.05)
        complaints = service.error.read_text()
        assert service.process.exitcode in (0, 130, -signal.SIGINT), complaints
        assert "Traceback" not in complaints
        assert all(map(gone, servers))


def test_ctrl_c_before_a_command_has_begun_is_told_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(COMMANDS, "dev", "interrupted")
    handler = signal.getsignal(signal.SIGINT)
    try:
        assert CliRunner().invoke(main, ["dev"]).exit_code == 130
    finally:
        signal.signal(signal.SIGINT, handler)


def test_settings_of_aws_and_proxies_are_not_for_what_runs_here(used: Path) -> None:
    proxies = {"http_proxy": "http://127.0.0.1:9", "no_proxy": "", "AWS_PROFILE": "nobody"}
    with dev(used, **proxies) as service:
        assert httpx.get(service.url.replace("/graphql", "/readyz")).json() == {"status": "ok"}


def test_worker_on_a_new_directory_has_nothing_to_do(directory: Path) -> None:
    done = processes.finished("worker", "--drain", "--data-dir", str(directory))
    assert (done.exit_code, done.stdout) == (0, "")


def test_other_s3_is_used_where_its_buckets_are_named(used: Path, with_files: dict[str, str]) -> None:
    shutil.rmtree(used / "seaweedfs")
    with dev(used, **with_files) as service:
        assert httpx.get(service.url.replace("/graphql", "/readyz")).json() == {"status": "ok"}
        assert not (used / "seaweedfs").exists()


def test_closed_terminal_stops_everything_unless_told_otherwise(used: Path, with_files: dict[str, str]) -> None:
    with dev(used, **with_files) as service:
        server = postmaster(used)
        assert service.stop(signal.SIGHUP) == 0
        assert gone(server)
    with dev(used, prepare=f"{__name__}:ignore_hangups", **with_files) as service:
        processes.send(service.process, signal.SIGHUP)
        time.sleep(0.5)
        assert service.batches() == []


def ignore_hangups() -> None:
    """As nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the test is about


@pytest.mark.parametrize(("options", "environ"), [(["--host", EVERYWHERE], {}), ([], {"WAYBILL_HOST": EVERYWHERE})])
def test_page_that_others_can_open_has_no_key(
    used: Path, with_files: dict[str, str], options: list[str], environ: dict[str, str]
) -> None:
    with dev(used, *options, **environ, **with_files) as service:
        for host in ("127.0.0.1", "localhost", "evil.example"):
            page = httpx.get(service.url, headers={"Accept": "text/html", "Host": host})
            assert page.status_code == 200
            assert service.key not in page.text
        assert service.batches() == []


def test_home_directory_is_meant_by_a_tilde(used: Path, with_files: dict[str, str]) -> None:
    home, data_dir = {"HOME": str(used.parent)}, f"~/{used.name}"
    with dev(Path(data_dir), **home, **with_files) as service:
        assert (used / "api-key").read_text().strip() == service.key
        assert postmaster(used)
        assert command("batches", "--count", "--url", service.url, **home, WAYBILL_DATA_DIR=data_dir) == "0"


def test_commands_use_the_running_database_and_leave_it_running(used: Path, with_files: dict[str, str]) -> None:
    with dev(used, **with_files) as service:
        assert service.key.split("_")[1] in command("key", "list", "main", "--data-dir", str(used))
        assert service.batches() == []
        again = refused("--data-dir", used, "--port", "0")
        assert f"waybill dev already runs on {used}, as process {service.process.pid}" in again
        assert service.batches() == []


def test_token_of_the_command_opens_the_door(used: Path, with_files: dict[str, str]) -> None:
    with dev(used, **with_files) as service:
        token = command("token", "admin", "--data-dir", str(used))
        answer = service.post("{ viewer { user { name } } }", key=token)
        assert answer.json()["data"] == {"viewer": {"user": {"name": "admin"}}}
    assert stat.S_IMODE((used / "token-secret").stat().st_mode) == 0o600


def test_lost_or_revoked_key_is_replaced(used: Path, with_files: dict[str, str]) -> None:
    with dev(used, **with_files) as first:
        command("key", "revoke", first.key, "--data-dir", str(used))
        assert first.post("{ __typename }").status_code == 401
    with dev(used, **with_files) as second:
        assert second.key != first.key
        assert second.batches() == []
    (used / "api-key").unlink()
    with dev(used, **with_files) as third:
        assert third.key not in {first.key, second.key}
        assert third.batches() == []


@pytest.mark.parametrize(
    ("revoke", "said"),
    [(("tenant", "revoke", "main"), 'tenant "main" is'), (("user", "revoke", "main", "admin"), 'user "admin" of')],
)
def test_what_was_revoked_stays_so(tmp_path: Path, revoke: tuple[str, ...], said: str) -> None:
    url, key_file = asyncio.run(new_database()), tmp_path / "api-key"

    def prepare() -> str:
        return asyncio.run(embedded.prepare(url, key_file, {"quota_bytes": 7, "quota_objects": 8}))

    def there(*arguments: str) -> str:
        return command(*arguments, WAYBILL_DATABASE_URL=url)

    assert prepare() == prepare()
    assert there("tenant", "quota", "main") == "bytes: 0 used, 0 reserved, of 7\nobjects: 0 used, of 8"
    there("user", "create", "main", "other", "--role", "ADMIN")  # a tenant keeps an admin
    there(*revoke)
    for _ in range(2):
        with pytest.raises(embedded.DevError, match=f"{said}.* revoked"):
            prepare()
    there("tenant", "create", "other")
    there("user", "create", "other", "ada")
    key_file.write_text(there("key", "create", "other", "ada"))  # as the message says
    assert prepare() == key_file.read_text()
