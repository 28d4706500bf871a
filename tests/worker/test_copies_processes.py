"""Copies by real worker processes: one is killed, one has no room."""

import asyncio
import os
import re
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
import orjson
import pytest

from models import database
from storage.client import Storage
from tests import processes
from tests.conftest import free_port
from tests.models.conftest import until
from tests.worker.mirror import Mirror, all_end, new_mirror
from tests.worker.proxy import proxied
from waybill import seaweedfs

MIB = 1024**2
PREPARE = "tests.worker.short_leases:shorten"

Start = Callable[..., AbstractContextManager[BaseProcess]]


@pytest.fixture
def environment(
    copies_url: str, with_files: dict[str, str], seaweed: seaweedfs.Server, tmp_path: Path
) -> Callable[[Mirror], dict[str, str]]:
    """Of a worker for what the mirror is given."""
    config, keys = tmp_path / "aws", seaweed.credentials
    config.write_text(f"[profile p]\naws_access_key_id={keys.access_key}\naws_secret_access_key={keys.secret_key}\n")

    def variables(mirror: Mirror) -> dict[str, str]:
        return with_files | {
            "WAYBILL_DATABASE_URL": copies_url,
            "WAYBILL_SYNC_ROOT": str(mirror.root),
            "WAYBILL_SYNC_PROFILES": f"{mirror.tenant_slug}:p",
            "WAYBILL_SYNC_ENDPOINTS": mirror.endpoint,
            "AWS_CONFIG_FILE": str(config),
        }

    return variables


@pytest.fixture
def start(environment: Callable[[Mirror], dict[str, str]]) -> Start:
    def begin(mirror: Mirror, **more: str) -> AbstractContextManager[BaseProcess]:
        return processes.running("worker", prepare=PREPARE, **(environment(mirror) | more))

    return begin


async def test_what_a_killed_worker_had_is_taken_up_by_another_where_it_was(
    alone: None,  # noqa: ARG001
    storage: Storage,
    seaweed: seaweedfs.Server,
    start: Start,
    tmp_path: Path,
) -> None:
    body, port = os.urandom(8 * MIB), free_port()
    async with proxied(seaweed.url, holds_after=6 * MIB) as proxy:
        mirror = await new_mirror(storage, seaweed, tmp_path / "root", endpoint=proxy.url, profile="p")
        await mirror.put(body)
        await mirror.ask()

        async def has_half() -> bool:
            return sum(path.stat().st_size for path in mirror.partials()) > 3 * MIB

        with start(mirror) as first:
            await until(has_half)
            processes.send(first, signal.SIGKILL)
            first.join()
            [partial] = mirror.partials()
            assert await mirror.problem() == ("RUNNING", None, 1)
            assert not mirror.file().exists()
        proxy.go.set()
        with start(mirror, WAYBILL_METRICS_PORT=str(port)):
            assert await all_end(mirror) == {"r": "SYNCED"}
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as shown:
                assert (await shown.get("/readyz")).json() == {"status": "ok"}

                async def is_counted() -> bool:
                    return 'waybill_copies_total{outcome="synced"} 1.0' in (await shown.get("/metrics")).text

                await until(is_counted)
    assert mirror.file().read_bytes() == body
    assert (mirror.partials(), partial.exists()) == ([], False)
    begin = int(re.findall(rb"range: bytes=(\d+)-", b"".join(proxy.asked), re.IGNORECASE)[-1])
    assert begin >= 2 * MIB
    row = (await mirror.rows())["r"]
    assert row["attempts"] == 2
    keys = [pair["key"] for pair in orjson.loads(row["data"])]
    assert sorted(keys) == ["file_name", "file_type", "sha256", "size"]
    assert len(await database.fetch("SELECT FROM objects WHERE tenant_id = $1", mirror.source["tenant_id"])) == 1


async def test_drain_copies_what_is_due(
    alone: None,  # noqa: ARG001
    storage: Storage,
    seaweed: seaweedfs.Server,
    environment: Callable[[Mirror], dict[str, str]],
    tmp_path: Path,
) -> None:
    mirror = await new_mirror(storage, seaweed, tmp_path / "root", profile="p")
    for ref_id in ("r", "s"):
        await mirror.put(b"hello", ref_id)
    await mirror.ask("r", "s", "missing")
    ended = await asyncio.to_thread(processes.finished, "worker", "--drain", **environment(mirror))
    assert ended.exit_code == 0, ended.stderr
    assert await mirror.states() == {"r": "SYNCED", "s": "SYNCED", "missing": "QUEUED"}


async def test_worker_without_room_says_so(mirror: Mirror, start: Start) -> None:
    port = free_port()
    await mirror.put(b"hello")
    await mirror.ask()
    with start(mirror, WAYBILL_METRICS_PORT=str(port), WAYBILL_SYNC_RESERVE_BYTES=str(2**60)):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as shown:

            async def lacks_room() -> bool:
                try:
                    answer = await shown.get("/readyz")
                except httpx.TransportError:  # it does not listen yet
                    return False
                return (answer.status_code, answer.json()["status"]) == (503, "room for copies unavailable")

            await until(lacks_room)
            assert "waybill_copies_stopped 1.0" in (await shown.get("/metrics")).text
    assert await mirror.problem() == ("QUEUED", None, 0)
