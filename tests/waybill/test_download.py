"""`waybill download` where the files, the directory or S3 are not as they should be."""

import errno
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

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
            assert process.communicate(timeout=20)[1] == b""
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
