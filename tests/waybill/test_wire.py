"""The command line's way to S3, against connections that break."""

import asyncio
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from waybill.cli import wire
from waybill.cli.client import Unreachable
from waybill.cli.growing import Growing, growing
from waybill.cli.wire import Broken, Refused, Wire

pytestmark = pytest.mark.usefixtures("short_pauses")

BODY = bytes(range(256)) * 4_096
WHOLE = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nETag: "it"\r\n\r\n' % len(BODY) + BODY
NOTHING = b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n"


def rest(head: str) -> bytes:
    """What S3 answers to a client that has something already."""
    assert 'If-Match: "it"\r\n' in head
    start = int(head.split("Range: bytes=")[1].split("-\r\n", maxsplit=1)[0])
    piece = BODY[start:]
    said = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
    return f"HTTP/1.1 206 OK\r\nContent-Range: {said}\r\nContent-Length: {len(piece)}\r\n\r\n".encode() + piece


class Peer:
    """Answers one request per connection, with the next of ``answers``, and then closes it."""

    answers: list[bytes | Callable[[str], bytes]]
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
            answer = peer.answers.pop(0)
            writer.write(answer(head.decode()) if callable(answer) else answer)
        return writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, limit=2 * len(BODY)) as server:
        peer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/key?X-Amz-Signature=%2F%20+~"
        yield peer


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Growing]:
    with growing(tmp_path, "o", None, print) as new:
        yield new


@pytest.mark.parametrize(
    "answers",
    [
        [WHOLE[:500_000], rest],
        [WHOLE[:500_000], b"", NOTHING % b"503 Slow Down", rest],
        [b"", WHOLE],
        [NOTHING % b"503 Slow Down", WHOLE],
        [WHOLE[:500_000], WHOLE],
        [WHOLE[:500_000], NOTHING % b"412 Another", WHOLE],
        [WHOLE[:500_000], NOTHING % b"416 Shorter", WHOLE],
    ],
)
async def test_broken_download_goes_on_where_it_can_and_its_progress_too(
    peer: Peer, answers: list[bytes | Callable[[str], bytes]], tmp_path: Path
) -> None:
    peer.answers = list(answers)
    moved: list[int] = []
    async with Wire() as sut:
        with growing(tmp_path, "o", None, moved.append) as new:
            came = await sut.get(peer.url, new)
            new.become(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY
    assert new.digest.hexdigest() == hashlib.sha256(BODY).hexdigest()
    assert sum(moved) == len(BODY)
    assert (came == len(BODY)) == (rest in answers or answers[0] != WHOLE[:500_000])
    assert peer.answers == []


async def test_download_that_breaks_often_goes_on_as_long_as_more_comes(peer: Peer, new: Growing) -> None:
    def some(head: str) -> bytes:
        top, _, body = rest(head).partition(b"\r\n\r\n")
        return top + b"\r\n\r\n" + body[:300_000]

    away = NOTHING % b"503 Slow Down"
    peer.answers = [WHOLE[:300_000], away, some, away, some, away, away, rest]
    with pytest.raises(Unreachable):
        async with Wire() as sut:
            await sut.get(peer.url, new)
    assert peer.answers == [rest]
    async with Wire() as sut:
        await sut.get(peer.url, new)
    assert new.is_whole(len(BODY), hashlib.sha256(BODY).hexdigest())


async def test_what_comes_from_another_place_than_was_asked_for_is_refused(peer: Peer, new: Growing) -> None:
    peer.answers = [WHOLE[:500_000], lambda head: rest(head).replace(b"bytes ", b"bytes 1")]
    async with Wire() as sut:
        with pytest.raises(Refused, match="206"):
            await sut.get(peer.url, new)


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


async def test_memory_does_not_grow_with_a_part_of_a_large_file(tmp_path: Path) -> None:
    size, end = 5 * 1024**3, 32 * 1024**2
    with (tmp_path / "sparse").open("xb") as file:
        file.truncate(size)
        file.seek(-end, os.SEEK_END)
        file.write(b"begin")
    received: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(5) == b"begin"
        received.append(5)
        while sum(received) < end:
            received.append(len(await reader.read(65536)))
        writer.write(b'HTTP/1.1 200 OK\r\nETag: "it"\r\nContent-Length: 0\r\n\r\n')
        writer.close()

    async with Wire() as sut, await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/key"
        tracemalloc.start()
        try:
            assert await sut.put(tmp_path / "sparse", size, url, {}, _ignore, range(size - end, size)) == '"it"'
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert sum(received) == end
    assert peak_bytes < end / 8


async def test_part_that_is_refused_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(NOTHING % b"403 Expired")
        received.set_result(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/key"
        async with Wire() as sut:
            with pytest.raises(Refused, match="403"):
                await sut.put(tmp_path / "file", len(BODY), url, {}, _ignore, range(len(BODY)))
        assert await received == b""


def _ignore(_: int) -> None:
    pass


async def test_what_stays_away_is_unreachable(peer: Peer, new: Growing) -> None:
    peer.answers = []
    async with Wire() as sut:
        with pytest.raises(Unreachable, match="does not answer"):
            await sut.get(peer.url, new)


async def test_file_that_breaks_while_others_get_through_is_broken_alone(
    peer: Peer, new: Growing, tmp_path: Path
) -> None:
    peer.answers = [WHOLE] * 3
    async with Wire() as sut:

        async def break_off(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with growing(tmp_path, "other", None, print) as other:
                await sut.get(peer.url, other)
            writer.close()

        async with await asyncio.start_server(break_off, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/key"
            with pytest.raises(Broken, match="does not answer"):
                await sut.get(url, new)


async def test_refusal_is_not_repeated(peer: Peer, new: Growing) -> None:
    peer.answers = [NOTHING % b"403 No", WHOLE]
    async with Wire() as sut:
        with pytest.raises(Refused, match="403"):
            await sut.get(peer.url, new)


@pytest.mark.parametrize("change", [lambda size: size - 1, lambda size: size + 1, lambda size: 2 * size])
async def test_file_that_changes_while_it_is_sent_ends_at_once(
    peer: Peer, change: Callable[[int], int], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(BODY)
    peer.answers = [NOTHING % b"200 OK"]
    async with Wire() as sut, asyncio.timeout(10):
        with pytest.raises(OSError, match="changed meanwhile"):
            await sut.put(tmp_path / "file", change(len(BODY)), peer.url, {}, print)


async def test_connection_that_stands_still_is_given_up(new: Growing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_TIMEOUT_SECONDS", 0.2)
    done = asyncio.Event()

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()
        await writer.wait_closed()

    stuck = await asyncio.start_server(hold, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{stuck.sockets[0].getsockname()[1]}/key"
    async with Wire() as sut:
        with pytest.raises(Unreachable):
            await sut.get(url, new)
    done.set()
    stuck.close()
