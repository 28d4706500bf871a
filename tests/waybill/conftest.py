import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not tmp_path: no other user can enter that, and root's PostgreSQL runs as another user."""
    path = Path(tempfile.mkdtemp(prefix="waybill test ü "))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def gone(pid: int) -> bool:
    """A zombie, which only its parent can remove, is gone too."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    return True
