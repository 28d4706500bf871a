"""The command line's way to S3, against connections that break."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from waybill.cli import wire
from waybill.cli.client import Unreachable
from waybill.cli.wire import Broken, Refused, Wire

pytestmark = pytest.mark.usefixtures("short_pauses")

BODY = bytes(range(256)) * 4_096
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
NOTHING = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n"


class Peer:
    """Answers one request per connection, with the next of ``answers``, and then closes it."""

    answers: list[bytes]
    url: str
    received: list[bytes]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    peer.received = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"PUT"):
            length = int(head.lower().split(b"content-length: ")[1].split()[0])
            try:
                peer.received.append(await reader.readexactly(length))
            except asyncio.IncompleteReadError:
                return writer.close()
        if peer.answers:
            writer.write(peer.answers.pop(0))
        return writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=2 * len(BODY)) as server:
        peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/key?X-Amz-Signature=%2F%20+~"
        yield peer


@pytest.mark.parametrize("broken", [WHOLE[:500_000], b"", NOTHING % b"503 Slow Down"])
async def test_broken_download_begins_again_and_its_progress_too(peer: Peer, broken: bytes, tmp_path: Path) -> None:
    peer.answers = [broken, WHOLE]
    moved: list[int] = []
    async with Wire() as sut:
        with (tmp_path / "file").open("xb") as file:
            assert await sut.get(peer.url, file, moved.append) == hashlib.sha256(BODY).hexdigest()
    assert (tmp_path / "file").read_bytes() == BODY
    assert sum(moved) == len(BODY)


@pytest.mark.parametrize("broken", [b"", NOTHING % b"500 Oops"])
async def test_broken_upload_begins_again_and_a_refusal_as_already_there_is_success(
    peer: Peer, broken: bytes, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(BODY)
    peer.answers = [broken, NOTHING % b"412 There"]
    moved: list[int] = []
    async with Wire() as sut:
        await sut.put(tmp_path / "file", len(BODY), peer.url, {}, moved.append)
    assert peer.received == [BODY, BODY]
    assert sum(moved) == len(BODY)


async def test_what_stays_away_is_unreachable(peer: Peer, tmp_path: Path) -> None:
    peer.answers = []
    async with Wire() as sut:
        with (tmp_path / "file").open("xb") as file, pytest.raises(Unreachable, match="does not answer"):
            await sut.get(peer.url, file, print)


async def test_file_that_breaks_while_others_get_through_is_broken_alone(peer: Peer, tmp_path: Path) -> None:
    peer.answers = [WHOLE] * 3
    async with Wire() as sut:

        async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with (tmp_path / f"other{len(peer.answers)}").open("xb") as file:
                await sut.get(peer.url, file, print)
            writer.close()

        async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/key"
            with (tmp_path / "file").open("xb") as file, pytest.raises(Broken, match="does not answer"):
                await sut.get(url, file, print)


async def test_refusal_is_not_repeated(peer: Peer, tmp_path: Path) -> None:
    peer.answers = [NOTHING % b"403 No", WHOLE]
    async with Wire() as sut:
        with (tmp_path / "file").open("xb") as file, pytest.raises(Refused, match="403"):
            await sut.get(peer.url, file, print)


@pytest.mark.parametrize("change", [lambda size: size - 1, lambda size: size + 1, lambda size: 2 * size])
async def test_file_that_changes_while_it_is_sent_ends_at_once(
    peer: Peer, change: Callable[[int], int], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(BODY)
    peer.answers = [NOTHING % b"200 OK"]
    async with Wire() as sut, asyncio.timeout(10):
        with pytest.raises(OSError, match="changed meanwhile"):
            await sut.put(tmp_path / "file", change(len(BODY)), peer.url, {}, print)


async def test_connection_that_stands_still_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_TIMEOUT_SECONDS", 0.2)
    stuck = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{stuck.sockets[0].getsockname()[1]}/key"
    async with Wire() as sut:
        with (tmp_path / "file").open("xb") as file, pytest.raises(Unreachable):
            await sut.get(url, file, print)
    stuck.close()
