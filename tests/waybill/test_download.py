"""`waybill download` where the files, the directory or S3 are not as they should be."""

import contextlib
import errno
import hashlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests import processes
from tests.conftest import wait_for
from tests.waybill.commands import WAYBILL, Answer, Ask, Cli, between
from waybill import locks
from waybill.cli.client import Service
from waybill.cli.download import Work
from waybill.cli.report import bars
from waybill.cli.wire import Wire


def upload(cli: Cli, root: Path, *names: str) -> None:
    """Files whose content is their name."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    cli.output("upload", str(root), "--batch", "b")


def with_urls(old: bytes, new: bytes, cli: Cli) -> Any:
    """A service whose list has other URLs."""

    def answer(body: bytes, ask: Ask) -> Answer:
        status, given = ask(cli.url)
        return status, given.replace(old, new) if b"query List" in body else given

    return between(answer)


def set_data(cli: Cli, object_id: str, key: str, value: str) -> None:
    change = "mutation($i: UpdateObjectDataInput!) { updateObjectData(input: $i) { object { id } } }"
    cli.post(change, i={"objectId": object_id, "set": [{"key": key, "value": value}]})


def test_no_batch_and_no_place_are_said(cli: Cli, tmp_path: Path) -> None:
    upload(cli, tmp_path / "source", "one")
    for batch, place, says in (
        ("none", "back", 'There is no batch "none": `waybill batches` lists'),
        ("b", "source/one/back", "source/one/back cannot be made: Not a directory. Choose another place."),
    ):
        result = cli.run("download", "--batch", batch, str(tmp_path / place))
        assert (result.exit_code, result.stdout, says in result.stderr) == (1, "", True)
    assert not (tmp_path / "back").exists()


def test_two_objects_of_one_path_are_a_failure(cli: Cli, tmp_path: Path) -> None:
    upload(cli, tmp_path / "source", "one", "two", "three")
    set_data(cli, "two", "path", "one")
    result = cli.run("download", "--batch", "b", str(tmp_path / "back"))
    assert (result.exit_code, result.stdout) == (1, "files: 2 fetched, 0 there before, 1 failed\n")
    assert '" has the same path' in result.stderr


def test_names_that_differ_in_case_are_different(cli: Cli, tmp_path: Path) -> None:
    names = ["README", "Readme", "strasse", "straße", "A/x", "a/x"]
    upload(cli, tmp_path / "source", *names)
    for said in ("6 fetched, 0 there", "0 fetched, 6 there"):
        assert said in cli.output("download", "--batch", "b", str(tmp_path / "back"))
    assert {name: (tmp_path / "back" / name).read_text() for name in names} == {name: name for name in names}


def test_name_that_is_the_same_to_the_system_is_refused(tmp_path: Path) -> None:
    """As where names know no case; here the names are no more alike than that."""
    with bars("fetching") as [bar]:
        sut = Work(Service("http://127.0.0.1", "key"), Wire(), tmp_path, bar)
    (tmp_path / "readme").touch()
    found = (tmp_path / "readme").stat()
    sut._here[found.st_dev, found.st_ino] = tmp_path / "README"
    with pytest.raises(ValueError, match="the same file as README here"):
        sut._check_alias(tmp_path / "readme")


def test_hard_links_come_apart(cli: Cli, tmp_path: Path) -> None:
    upload(cli, tmp_path / "source", "one", "two")
    back = tmp_path / "back"
    back.mkdir()
    (back / "one").write_text("one")
    (back / "two").hardlink_to(back / "one")
    cli.output("download", "--batch", "b", str(back))
    assert ((back / "one").read_text(), (back / "two").read_text()) == ("one", "two")


def test_url_of_a_file_that_was_replaced_meanwhile_is_asked_for_anew(cli: Cli, tmp_path: Path) -> None:
    upload(cli, tmp_path / "source", "one", "two")
    for number, (old, new) in enumerate(
        [(b"X-Amz-Signature=", b"X-Amz-Signature=0"), (b"/waybill-", b"/waybill-not-")]
    ):
        with with_urls(old, new, cli) as url:
            there = Cli(url, cli.key).json("download", "--batch", "b", str(tmp_path / f"back{number}"))
        assert (there["files_fetched"], there["files_failed"]) == (2, 0)


def test_file_that_is_gone_meanwhile_is_said(cli: Cli, tmp_path: Path) -> None:
    upload(cli, tmp_path / "source", "one")

    def answer(body: bytes, ask: Ask) -> Answer:
        if b"query One" in body:
            return 200, orjson.dumps({"data": {"object": {"file": None}}})
        status, given = ask(cli.url)
        return status, given.replace(b"X-Amz-Signature=", b"X-Amz-Signature=0")

    with between(answer) as url:
        result = Cli(url, cli.key).run("download", "--batch", "b", str(tmp_path / "back"))
    assert (result.exit_code, "has no file any more" in result.stderr) == (1, True)


def test_file_whose_time_cannot_be_set_is_counted_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(cli, tmp_path / "source", "one", "two")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "no such time here")

    monkeypatch.setattr("os.utime", refuse)
    for counts in ("0 fetched, 0 there before, 2 failed", "0 fetched, 0 there before, 2 failed"):
        assert counts in cli.run("download", "--batch", "b", str(tmp_path / "back")).stdout
    for name in ("one", "two"):
        set_data(cli, name, "mtime", repr_of((tmp_path / "back" / name).stat().st_mtime_ns))
    assert "0 fetched, 2 there" in cli.output("download", "--batch", "b", str(tmp_path / "back"))


def repr_of(mtime_ns: int) -> str:
    return f"{mtime_ns // 10**9}.{mtime_ns % 10**9:09}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signal_leaves_nothing_half_fetched(cli: Cli, tmp_path: Path, number: signal.Signals) -> None:
    upload(cli, tmp_path / "source", "one", "two")
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def answer(_: bytes, ask: Ask) -> Answer:
            status, given = ask(cli.url)
            parsed = orjson.loads(given)
            for node in parsed["data"]["batch"]["objects"]["nodes"]:
                node["file"]["access"]["url"] = f"http://127.0.0.1:{silent.getsockname()[1]}/"
            return status, orjson.dumps(parsed)

        back = tmp_path / "back"
        with between(answer) as url:
            process = Cli(url, cli.key).start("download", "--batch", "b", str(back), stderr=subprocess.PIPE)
            wait_for(lambda: back.exists() and len(list(back.iterdir())) == 2)
            process.send_signal(number)
            assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 130
    assert list(back.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_what_another_writes_is_not(cli: Cli, tmp_path: Path) -> None:
    upload(cli, tmp_path / "source", "below/one")
    below = tmp_path / "back" / "below"
    below.mkdir(parents=True)
    for name in (".waybill-left.part", ".waybill-growing.part", ".part", "mine.part"):
        (below / name).touch()
    with locks.opened(below / ".waybill-growing.part") as growing:
        assert locks.lock(growing)
        cli.output("download", "--batch", "b", str(tmp_path / "back"))
    assert {path.name for path in below.iterdir()} == {".waybill-growing.part", ".part", "mine.part", "one"}


FILM = bytes(range(256)) * 4_096


def part_of(object_id: str, sha256: str | None) -> str:
    """What is here of it."""
    name = hashlib.sha256(f"{object_id}\0{sha256}".encode()).hexdigest()[:24]
    return f".waybill-{name}.part"


PART = part_of("film", hashlib.sha256(FILM).hexdigest())


@pytest.fixture
def film(cli: Cli, tmp_path: Path) -> Path:
    """Where it goes to; it is in S3 as the object "film"."""
    (tmp_path / "film").write_bytes(FILM)
    cli.output("upload", str(tmp_path / "film"), "--batch", "b", "--object", "film")
    back = tmp_path / "back"
    back.mkdir()
    return back / "film"


def test_killed_download_goes_on_where_it_was(cli: Cli, film: Path) -> None:
    half = FILM[: len(FILM) // 2]
    with half_a_file(half) as url_of_half:

        def answer(_: bytes, ask: Ask) -> Answer:
            status, given = ask(cli.url)
            parsed = orjson.loads(given)
            for node in parsed["data"]["batch"]["objects"]["nodes"]:
                node["file"]["access"]["url"] = url_of_half
            return status, orjson.dumps(parsed)

        with between(answer) as url:
            command = ["download", "--batch", "b", str(film.parent)]
            with processes.running(*command, **Cli(url, cli.key).variables) as first:
                # What is not a whole buffer yet is lost.
                wait_for(lambda: [part.stat().st_size for part in film.parent.iterdir()] > [len(half) - 2**18])
                first.kill()
                first.join()
    [part] = film.parent.iterdir()
    assert (part.name, FILM.startswith(part.read_bytes())) == (PART, True)
    left_bytes = len(FILM) - part.stat().st_size
    fetched = cli.json("download", "--batch", "b", str(film.parent))
    assert (fetched["files_fetched"], fetched["bytes_fetched"]) == (1, left_bytes)
    assert film.read_bytes() == FILM
    assert list(film.parent.iterdir()) == [film]


@contextlib.contextmanager
def half_a_file(half: bytes) -> Iterator[str]:
    """Where to get it from; the rest never comes."""
    with socket.create_server(("127.0.0.1", 0)) as server, contextlib.ExitStack() as connections:

        def serve() -> None:
            connection = connections.enter_context(server.accept()[0])
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(FILM) + half)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        thread.join()


@pytest.mark.parametrize(
    ("left", "bytes_fetched"),
    [
        (FILM[:1000], len(FILM) - 1000),
        (FILM, 0),
        (FILM[:-1] + b"!", len(FILM)),
        (b"!" + FILM[1:1000], 2 * len(FILM) - 1000),
        (FILM + b"!", len(FILM)),
    ],
    ids=["some", "whole", "wrong", "wrong from the beginning", "longer"],
)
def test_what_is_here_of_a_file_is_proved_or_thrown_away(cli: Cli, film: Path, left: bytes, bytes_fetched: int) -> None:
    (film.parent / PART).write_bytes(left)
    fetched = cli.json("download", "--batch", "b", str(film.parent))
    assert (fetched["files_fetched"], fetched["bytes_fetched"]) == (1, bytes_fetched)
    assert film.read_bytes() == FILM
    assert list(film.parent.iterdir()) == [film]


def test_what_another_run_is_fetching_is_left_to_it(cli: Cli, film: Path) -> None:
    with locks.opened(film.parent / PART) as growing:
        assert locks.lock(growing)
        growing.write(FILM[:1000])
        growing.flush()
        assert cli.json("download", "--batch", "b", str(film.parent))["bytes_fetched"] == len(FILM)
        assert (film.parent / PART).read_bytes() == FILM[:1000]
    assert film.read_bytes() == FILM


def test_what_is_here_by_another_name_too_stays_as_it_is(cli: Cli, film: Path, tmp_path: Path) -> None:
    (tmp_path / "backup").write_bytes(FILM[:1000])
    (film.parent / PART).hardlink_to(tmp_path / "backup")
    cli.output("download", "--batch", "b", str(film.parent))
    assert (tmp_path / "backup").read_bytes() == FILM[:1000]
    assert (film.read_bytes(), list(film.parent.iterdir())) == (FILM, [film])


def test_file_without_a_digest_is_fetched_as_a_whole(cli: Cli, tmp_path: Path) -> None:
    """Nothing would prove what is here of it."""
    (tmp_path / part_of("o", None)).write_bytes(b"bo")
    announced = {"objectId": "o", "file": {"name": "a", "contentType": "a/b", "size": 4}}
    [sent] = cli.post(CREATE_BATCH, objects=[announced])["createBatch"]["uploads"]
    headers = {header["name"]: header["value"] for header in sent["headers"]}
    assert httpx.put(sent["url"], content=b"body", headers=headers, trust_env=False).status_code == 200
    cli.post(COMPLETE, ids=[sent["id"]])
    assert cli.json("download", "--batch", "b", str(tmp_path))["bytes_fetched"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


CREATE_BATCH = """mutation($objects: [ObjectInput!]) { createBatch(input: {batchId: "b", objects: $objects}) {
  uploads { id url headers { name value } } } }"""
COMPLETE = "mutation($ids: [ID!]!) { completeUploads(input: {uploadIds: $ids}) { results { state } } }"


def test_what_is_here_of_a_file_that_fails_stays_and_other_leavings_do_not(cli: Cli, film: Path) -> None:
    (film.parent / PART).write_bytes(FILM[:1000])
    (film.parent / ".waybill-left.part").touch()

    def answer(body: bytes, ask: Ask) -> Answer:
        if b"query One" in body:
            return 200, orjson.dumps({"data": {"object": {"file": None}}})
        status, given = ask(cli.url)
        return status, given.replace(b"X-Amz-Signature=", b"X-Amz-Signature=0")

    with between(answer) as url:
        assert Cli(url, cli.key).run("download", "--batch", "b", str(film.parent)).exit_code == 1
    [left] = film.parent.iterdir()
    assert (left.name, left.read_bytes()) == (PART, FILM[:1000])


def test_what_cannot_be_written_is_said_without_a_trace(cli: Cli, tmp_path: Path) -> None:
    upload(cli, tmp_path / "source", "one")
    for place in (tmp_path / "source" / "one" / "below", tmp_path / ("x" * 300), Path("/proc/nothing")):
        result = cli.run("download", "--batch", "b", str(place))
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert place.name in result.stderr
    command = [*WAYBILL, "upload", str(tmp_path / "source"), "--batch", "b"]
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            command, env=os.environ | cli.variables, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60
        )
    assert ran.returncode != 0
    assert b"No space left" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_batch_that_is_not_there_makes_no_directory(cli: Cli, tmp_path: Path) -> None:
    assert cli.run("download", "--batch", "nothing", str(tmp_path / "back")).exit_code == 1
    assert not (tmp_path / "back").exists()
