"""Who reaches a SeaweedFS of ours that runs, and what it takes. What it enforces is in tests/storage."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.waybill.buckets import ask, body_of, ports, put
from waybill import seaweedfs, shared_server
from waybill.seaweedfs import Server


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """For the tests that leave it as it is."""
    with tempfile.TemporaryDirectory() as data_dir:
        Path(data_dir).chmod(0o755)
        with Server(Path(data_dir)) as server:
            yield server


def test_nothing_listens_beyond_loopback(running: Server) -> None:
    ours = {port + offset for port in ports(running.data_dir) for offset in (0, seaweedfs.GRPC)}
    opened = [str(file.readlink()) for file in Path(f"/proc/{running.pid}/fd").iterdir()]
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, state, inode = (line.split()[column] for column in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in opened:
                address, _, port = local.partition(":")
                assert address == "0100007F"
                listening.add(int(port, 16))
    assert listening == ours


def test_no_part_but_s3_can_be_used_by_http(running: Server) -> None:
    """Any web page can have a browser send a GET: the master, left open, deletes a bucket for one."""
    put(running, "a", b"kept")
    for part, port in zip(seaweedfs.PARTS, ports(running.data_dir), strict=True):
        for path in ("/col/delete?collection=waybill", "/vol/vacuum", "/dir/assign", "/buckets/waybill/a", "/1,01"):
            answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
            assert answer.status_code in (401, 403, 404), (part, path)
        for method in ("PUT", "POST", "DELETE"):
            url = f"http://127.0.0.1:{port}/buckets/waybill/a"
            answer = httpx.request(method, url, content=b"other", trust_env=False)
            assert answer.status_code in (400, 401, 403, 404, 405), (part, method)
    assert body_of(running, "a") == b"kept"


def test_missing_bucket_is_not_made_by_a_put(running: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "buckets", ["other"])
    answer = ask(running, "PUT", "a", b"a")
    assert (answer.status_code, "NoSuchBucket" in answer.text) == (404, True)


def test_interrupt_from_the_terminal_does_not_reach_the_server(running: Server) -> None:
    assert os.getsid(running.pid) != os.getsid(0)


def test_memory_is_bounded_and_so_is_the_log(running: Server) -> None:
    for number in range(8):
        put(running, str(number), bytes(9_000_000))
    status = Path(f"/proc/{running.pid}/status").read_text()
    assert int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) < 400 * 1024
    with running.log.open("ab") as log:
        log.truncate(shared_server.LOG_BYTES + 1)
    running.trim_log()
    assert running.log.stat().st_size < shared_server.LOG_BYTES


def preflight(server: Server, origin: str) -> int:
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    return httpx.options(f"{server.url}/{server.buckets[0]}/a", headers=asked, trust_env=False).status_code


def test_one_who_joins_brings_origins(directory: Path) -> None:
    one, other = "http://127.0.0.1:8000", "https://app.example"
    with Server(directory) as server:
        assert preflight(server, one) == 403
        with Server(directory, origins=[one]):
            assert (preflight(server, one), preflight(server, other)) == (200, 403)
        with Server(directory, origins=[other]):
            assert (preflight(server, one), preflight(server, other)) == (403, 200)
        with Server(directory):
            assert preflight(server, other) == 200
