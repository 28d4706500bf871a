"""The service's own requests, to a real SeaweedFS; faults are those of a small server in its place."""

import asyncio
import datetime as dt
import hashlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from botocore.exceptions import ClientError

from models.errors import StorageUnavailable
from storage import client
from storage.client import KEYS_PER_DELETE, Config, Storage, connected
from storage.keys import new_key
from storage.signing import Credentials, presign
from storage.uploads import upload_headers
from tests.conftest import BUCKETS, free_port

ONE, TWO = BUCKETS
BODY = b"hello" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


async def put(storage: Storage, bucket: str, *, body: bytes = BODY, sha256: bytes | None = None) -> str:
    """A new key, filled through a presigned URL."""
    key, now = new_key("tenant", uuid4()), dt.datetime.now(dt.UTC)
    headers = upload_headers(len(body), "image/png", sha256)
    signer = await storage.credentials()
    url = presign(signer, "PUT", storage.endpoint(bucket), key, now=now, expires_in=60, headers=headers)
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.put(url, content=body, headers=headers)).status_code == 200
    return key


async def test_head_says_what_is_stored(storage: Storage) -> None:
    stored = await storage.head(ONE, await put(storage, ONE, sha256=bytes.fromhex(SHA256)))
    assert stored is not None
    assert (stored.size, stored.content_type, stored.sha256) == (5000, "image/png", SHA256)
    assert stored.etag == hashlib.md5(BODY, usedforsecurity=False).hexdigest()


async def test_head_knows_no_sha256_that_was_not_sent(storage: Storage) -> None:
    stored = await storage.head(ONE, await put(storage, ONE))
    assert stored is not None
    assert stored.sha256 is None


async def test_head_of_what_is_not_there_is_none(storage: Storage) -> None:
    key = await put(storage, ONE)
    assert await storage.head(TWO, key) is None
    assert await storage.head(ONE, f"{key}x") is None


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 9_000_000])
async def test_bytes_are_read_and_hashed_in_pieces(storage: Storage, size: int) -> None:
    body = bytes(range(250)) * (size // 250 + 1)
    key = await put(storage, ONE, body=body[:size])
    pieces = [piece async for piece in storage.read(ONE, key)]
    assert b"".join(pieces) == body[:size]
    assert all(0 < len(piece) <= 256 * 1024 for piece in pieces)
    assert await storage.sha256(ONE, key) == hashlib.sha256(body[:size]).hexdigest()


async def test_loop_turns_while_a_file_is_hashed(storage: Storage) -> None:
    key = await put(storage, ONE, body=bytes(30_000_000))
    hashing = asyncio.create_task(storage.sha256(ONE, key))
    longest = 0.0
    while not hashing.done():
        begin = time.perf_counter()
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - begin)
    assert await hashing == hashlib.sha256(bytes(30_000_000)).hexdigest()
    assert longest < 0.2


async def test_reading_what_is_not_there_is_refused(storage: Storage) -> None:
    with pytest.raises(ClientError, match="NoSuchKey"):
        await storage.sha256(ONE, "nothing")


async def test_reading_can_end_early(storage: Storage) -> None:
    key = await put(storage, ONE, body=bytes(9_000_000))
    for _ in range(100):  # more than there are connections
        async with aclosing(storage.read(ONE, key)) as pieces:
            await anext(pieces)
    assert await storage.head(ONE, key)


async def test_many_are_deleted_at_once_and_again(storage: Storage) -> None:
    keys = [await put(storage, ONE) for _ in range(3)]
    kept = await put(storage, TWO)
    many = [*keys, kept, *(f"never/{number}/ü &<" for number in range(KEYS_PER_DELETE))]
    for _ in range(2):
        assert await storage.delete_many(ONE, many) == {}
    assert [await storage.head(ONE, key) for key in keys] == [None] * 3
    assert await storage.head(TWO, kept)
    assert await storage.delete_many(ONE, []) == {}


async def test_configured_buckets_answer(storage: Storage) -> None:
    assert await storage.answers(5)


async def test_missing_bucket_and_wrong_credentials_are_said(
    storage_config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(replace(storage_config, buckets=[ONE, "missing"])) as storage:
        assert not await storage.answers(5)
        assert "bucket missing: there is no such bucket" in caplog.text
    stranger = Credentials("stranger", "secret-of-nobody")
    async with connected(replace(storage_config, credentials=stranger)) as storage:
        assert not await storage.answers(5)
        assert f"bucket {ONE}: the credentials may not use it" in caplog.text
        with pytest.raises(ClientError, match="403"):
            await storage.head(ONE, "a")
    assert "secret-of-nobody" not in caplog.text


def test_urls_are_for_the_public_endpoint() -> None:
    async def endpoint(**changes: Any) -> tuple[str, str]:
        config = Config(buckets=["files"], region="eu-central-1", credentials=Credentials("a", "b"))
        async with connected(replace(config, **changes)) as storage:
            found = storage.endpoint("files")
            return f"{found.scheme}://{found.host}{found.prefix}", found.region

    inner, outer = "http://seaweed:8333", "https://files.example"
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "https://files.s3.eu-central-1.amazonaws.com/"),
        ({"path_style": True}, "https://s3.eu-central-1.amazonaws.com/files/"),
        ({"endpoint": inner, "path_style": True}, "http://seaweed:8333/files/"),
        ({"endpoint": inner}, "http://files.seaweed:8333/"),
        ({"endpoint": inner, "public_endpoint": outer, "path_style": True}, "https://files.example/files/"),
        ({"endpoint": inner, "public_endpoint": outer}, "https://files.files.example/"),
    ]
    for changes, url in cases:
        assert asyncio.run(endpoint(**changes)) == (url, "eu-central-1")


SCRIPT = """
import datetime, json, pathlib, sys
count = pathlib.Path(sys.argv[1])
number = int(count.read_text()) + 1 if count.exists() else 1
count.write_text(str(number))
ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=int(sys.argv[2]))
print(json.dumps({"Version": 1, "AccessKeyId": f"key{number}", "SecretAccessKey": "secret", "SessionToken": "token",
                  "Expiration": ends.isoformat()}))
"""


@pytest.mark.parametrize(("minutes", "expected"), [(5, ["key2", "key3"]), (60, ["key1", "key1"])])
async def test_credentials_are_renewed_before_they_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: int, expected: list[str]
) -> None:
    """Those of 5 minutes count as about to expire each time."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "script.py").write_text(SCRIPT)
    process = f'{sys.executable} "{tmp_path}/script.py" "{tmp_path}/count" {minutes}'
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {process}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    async with connected(Config(buckets=["files"], region="eu-central-1")) as storage:
        found = [await storage.credentials() for _ in range(2)]
    assert [credentials.access_key for credentials in found] == expected
    assert {credentials.token for credentials in found} == {"token"}


async def test_no_credentials_are_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with connected(Config(buckets=["files"], region="eu-central-1")) as storage:
        with pytest.raises(StorageUnavailable):
            await storage.credentials()
        assert not await storage.answers(1)
    assert "Unable to locate credentials" in caplog.text


Handler = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def in_its_place(config: Config, handler: Handler) -> AsyncIterator[tuple[Storage, list[str]]]:
    """A server that reads a request and then does as told, and the requests that it had."""
    requests: list[str] = []

    async def connected_to(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                requests.append(head.decode().partition("\r\n")[0])
                await handler(writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected_to, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    changed = replace(config, endpoint=f"http://127.0.0.1:{port}", read_timeout_seconds=0.2)
    async with server, connected(changed) as storage:
        yield storage, requests


def answer(status: str, body: bytes = b"") -> Handler:
    async def handler(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

    return handler


async def hang(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


async def cut(writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize(
    "handler",
    [answer("503 Slow Down"), answer("500 Internal Server Error"), hang, cut],
    ids=["503", "500", "hang", "cut"],
)
async def test_server_that_fails_is_asked_three_times_and_then_unavailable(
    storage_config: Config, handler: Handler
) -> None:
    async with in_its_place(storage_config, handler) as (storage, requests):
        with pytest.raises(StorageUnavailable):
            await storage.head(ONE, "a")
        assert len(requests) in (3, 6)  # aiohttp asks again by itself where a connection is cut
        begin = time.perf_counter()
        assert not await storage.answers(0.3)
        assert time.perf_counter() - begin < 0.6


async def test_server_that_is_not_there_is_unavailable(storage_config: Config) -> None:
    async with connected(replace(storage_config, endpoint=f"http://127.0.0.1:{free_port()}")) as storage:
        with pytest.raises(StorageUnavailable):
            await storage.delete_many(ONE, ["a"])
        assert not await storage.answers(0.3)


async def test_body_that_ends_too_soon_is_unavailable(storage_config: Config) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        writer.close()

    async with in_its_place(storage_config, half) as (storage, _):
        with pytest.raises(StorageUnavailable):
            await storage.sha256(ONE, "a")


async def test_body_that_hangs_is_unavailable(storage_config: Config) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        await writer.drain()
        await asyncio.sleep(5)

    async with in_its_place(storage_config, half) as (storage, _):
        with pytest.raises(StorageUnavailable):
            await storage.sha256(ONE, "a")


async def test_keys_that_could_not_be_deleted_are_named(storage_config: Config) -> None:
    body = (
        b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        b"<Error><Key>b</Key><Code>NoSuchKey</Code><Message>no</Message></Error></DeleteResult>"
    )
    async with in_its_place(storage_config, answer("200 OK", body)) as (storage, _):
        assert await storage.delete_many(ONE, ["a", "b", "c"]) == {"a": "AccessDenied"}


def test_checksum_of_parts_is_not_that_of_the_whole() -> None:
    assert client._hex("") is None
    assert client._hex("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=-2") is None
    assert client._hex("LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=") == hashlib.sha256(b"hello").hexdigest()


async def test_who_has_credentials_for_this_machine_needs_no_profile_and_no_proxy(
    storage_config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken").write_text("not a file of settings")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "broken"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "broken"))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with connected(storage_config) as storage:
        assert await storage.head(ONE, "nothing") is None
