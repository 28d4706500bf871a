"""Debian's redis-server, for what several processes count together."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.conftest import wait_for


@dataclass
class RedisServer:
    directory: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"unix://{self.directory}/redis.sock"

    def start(self) -> None:
        command = ["redis-server", "--port", "0", "--unixsocket", f"{self.directory}/redis.sock", "--save", ""]
        self.process = subprocess.Popen([*command, "--dir", str(self.directory)], stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:

            def answers() -> bool:
                with contextlib.suppress(redis.ConnectionError):
                    return bool(client.ping())
                return False

            wait_for(answers)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def keys(self) -> int:
        with redis.Redis.from_url(self.url) as client:
            return int(client.dbsize())


@contextlib.contextmanager
def redis_running() -> Iterator[RedisServer]:
    """Where it is missing the test is skipped, but CI has to have it."""
    if shutil.which("redis-server") is None:
        reason = "needs redis-server (apt-get install redis-server)"
        pytest.fail(reason) if "CI" in os.environ else pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="waybill-redis-") as directory:
        server = RedisServer(Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with redis_running() as server:
        yield server
