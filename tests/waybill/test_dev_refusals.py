"""What `waybill dev` says where it cannot start."""

import socket
from pathlib import Path

import pytest

from tests import processes
from tests.waybill.conftest import as_nobody, needs_root
from tests.waybill.test_dev import refused
from waybill import dev as embedded
from waybill.settings import Settings


def test_taken_port_is_said_before_anything_is_made(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused("--data-dir", directory / "data", "--port", str(port))
    assert f"port {port} on 127.0.0.1 is taken" in message
    assert f"--port {port + 1}" in message
    assert not (directory / "data").exists()


@pytest.mark.parametrize("command", ["dev", "serve"])
def test_port_that_cannot_be_is_said(command: str) -> None:
    ended = processes.finished(command, "--port", "65536")
    assert (ended.exit_code, "Traceback" in ended.stderr) == (2, False)
    assert "65536 is not in the range" in ended.stderr


@pytest.mark.parametrize("text", ["no-such-host.invalid", "192.0.2.1"])
def test_address_that_is_not_here_is_said(directory: Path, text: str) -> None:
    assert f"cannot listen on {text}, port 8000" in refused("--data-dir", directory / "data", "--host", text)


@pytest.mark.parametrize(
    ("made", "said"),
    [("thesis.txt", "holds other files (thesis.txt)"), ("lock", "cannot run in"), ("api-key", "cannot run in")],
)
def test_unusable_directory_is_said_without_a_trace(directory: Path, made: str, said: str) -> None:
    (directory / made).mkdir()
    assert said in refused("--data-dir", directory, "--port", "0")


@needs_root
def test_directory_of_another_user_is_said(directory: Path) -> None:
    (directory / "lock").touch(mode=0o600)

    def start() -> str:
        embedded.run(directory, Settings(port=0))
        return "ran"

    assert f"refused: {directory / 'lock'} belongs to another user" in as_nobody(start)
