"""The first bucket of an embedded SeaweedFS, by presigned URLs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import httpx

from storage.signing import Endpoint, presign
from waybill import seaweedfs
from waybill.seaweedfs import Server


def ask(server: Server, method: str, key: str, body: bytes | None = None) -> httpx.Response:
    endpoint = Endpoint.of(server.url, server.buckets[0], region=seaweedfs.REGION, path_style=True)
    url = presign(server.credentials, method, endpoint, key, now=datetime.now(UTC), expires_in=60)
    return httpx.request(method, url, content=body, timeout=20, trust_env=False)


def put(server: Server, key: str, body: bytes) -> None:
    assert ask(server, "PUT", key, body).status_code == 200


def body_of(server: Server, key: str) -> bytes:
    answer = ask(server, "GET", key)
    assert answer.status_code == 200
    return answer.content


def ports(data_dir: Path) -> list[int]:
    read: list[int] = json.loads((data_dir / "seaweedfs.json").read_bytes())["ports"]
    return read
