import contextlib
import multiprocessing
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Caller
from tests.waybill.commands import Cli
from waybill.cli import wire
from waybill.dev import DevError
from waybill.shared_server import ServerError

NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root only")


@contextlib.contextmanager
def new_directory() -> Iterator[Path]:
    """Not tmp_path: no other user can enter that, and root's PostgreSQL runs as another user."""
    path = Path(tempfile.mkdtemp(prefix="waybill test ü "))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@pytest.fixture
def directory() -> Iterator[Path]:
    with new_directory() as path:
        yield path


@pytest.fixture
def cli(service_url: str, admin: Caller) -> Cli:
    return Cli(service_url, admin.key)


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before S3 is tried again, in this process."""
    monkeypatch.setattr(wire, "_PAUSES_SECONDS", (0.01, 0.01))


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def gone(pid: int) -> bool:
    """A zombie, which only its parent can remove, is gone too."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    return True


def as_nobody(function: Callable[[], str]) -> str:
    """What ``function`` gives in a process of an ordinary user; forked, as python itself may be out of its reach."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def run() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        try:
            theirs.send(function())
        except (ServerError, DevError) as error:
            theirs.send(f"refused: {error}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads: the child only runs the above
        process = context.Process(target=run)
        process.start()
    theirs.close()
    answer: str = ours.recv()
    process.join()
    return answer
