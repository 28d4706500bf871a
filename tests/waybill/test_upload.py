"""`waybill upload` where the files, the service or S3 are not as they should be."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import orjson
import pytest

from tests.conftest import free_port, wait_for
from tests.waybill.commands import WAYBILL, Answer, Ask, Cli, between
from waybill.cli import local_files
from waybill.cli.hashing import sha256_of
from waybill.cli.local_files import Local, in_portions


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    for number in range(5):
        (root / f"f{number}").write_bytes(b"x" * number)
    return root


def refused(code: str) -> Answer:
    return 200, orjson.dumps({"data": None, "errors": [{"message": "Refused.", "extensions": {"code": code}}]})


def test_s3_that_is_away_when_uploads_are_completed_is_waited_for(cli: Cli, source: Path) -> None:
    calls = []

    def answer(body: bytes, ask: Ask) -> Answer:
        calls.append(b"mutation Complete" in body)
        return refused("STORAGE_UNAVAILABLE") if calls.count(True) == 1 and calls[-1] else ask(cli.url)

    with between(answer) as url:
        assert Cli(url, cli.key).output("upload", str(source), "--batch", "b") == "files: 5 sent, 0 there before\n"
    assert calls.count(True) == 2


def sized(*sizes: int) -> Iterator[Local]:
    return (Local(Path(f"f{number}"), "", "", size, 0) for number, size in enumerate(sizes))


def test_little_is_sent_again_after_a_break() -> None:
    most = local_files._PORTION_BYTES
    portions = list(in_portions(sized(*[most // 3] * 7, 10 * most, 1, *[0] * 500)))
    assert [len(portion) for portion in portions] == [3, 3, 1, 1, 200, 200, 101]
    assert sum(len(portion) for portion in in_portions(sized())) == 0


def test_url_that_has_expired_is_renewed(cli: Cli, source: Path) -> None:
    def answer(body: bytes, ask: Ask) -> Answer:
        status, given = ask(cli.url)
        return status, given.replace(b"X-Amz-Signature=", b"X-Amz-Signature=0") if b"CreateObjects" in body else given

    with between(answer) as url:
        sent = Cli(url, cli.key).json("upload", str(source), "--batch", "b")
    assert (sent["files_sent"], sent["files_failed"], sent["bytes_sent"]) == (5, 0, 10)


def test_what_is_there_is_counted_once_though_the_call_is_refused(cli: Cli, source: Path) -> None:
    cli.output("upload", str(source), "--batch", "b")
    (source / "f3").write_bytes(b"changed")
    with between(lambda body, ask: refused("BAD_INPUT") if b"CreateUploads" in body else ask(cli.url)) as url:
        result = Cli(url, cli.key).run("upload", str(source), "--batch", "b")
    assert result.stdout == "files: 0 sent, 4 there before, 1 failed\n"


@pytest.mark.usefixtures("short_pauses")
def test_s3_that_stays_away_ends_it(cli: Cli, source: Path) -> None:
    def answer(_: bytes, ask: Ask) -> Answer:
        status, given = ask(cli.url)
        parsed = orjson.loads(given)
        for upload in (parsed.get("data") or {}).get("createObjects", {}).get("uploads", []):
            upload["url"] = f"http://127.0.0.1:{free_port()}/"
        return status, orjson.dumps(parsed)

    with between(answer) as url:
        result = Cli(url, cli.key).run("upload", str(source), "--batch", "b")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "S3 does not answer" in result.stderr


def test_data_that_others_added_stay_and_are_no_change(cli: Cli, source: Path) -> None:
    cli.output("upload", str(source), "--batch", "b")
    add = 'mutation { updateObjectData(input: {objectId: "f1", set: [{key: "tag", value: "mine"}]}) { object { id } } }'
    asked = '{ object(objectId: "f1") { updatedAt data { key value } } }'
    cli.post(add)
    before = cli.post(asked)
    assert cli.json("upload", str(source), "--batch", "b")["files_there"] == 5
    assert cli.post(asked) == before
    os.utime(source / "f1", ns=(0, 1_000_000_001))
    cli.output("upload", str(source), "--batch", "b")
    data = {pair["key"]: pair["value"] for pair in cli.post(asked)["object"]["data"]}
    assert (data["tag"], data["mtime"]) == ("mine", "1.000000001")


def test_proxy_of_the_environment_does_not_lead_to_this_machine(cli: Cli, source: Path, tmp_path: Path) -> None:
    proxy = "http://127.0.0.1:9"
    for command in (["upload", str(source)], ["download", str(tmp_path / "back")]):
        assert cli.run(*command, "--batch", "b", http_proxy=proxy, all_proxy=proxy, no_proxy="").exit_code == 0


def test_what_is_no_regular_file_is_refused(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        result = cli.run("upload", str(path), "--batch", "b", "--object", "o")
        assert (result.exit_code, "is no regular file" in result.stderr) == (2, True)


def test_file_larger_than_s3_takes_is_not_even_read(cli: Cli, source: Path) -> None:
    os.truncate(source / "f0", local_files.MOST_BYTES + 1)
    result = cli.run("upload", str(source), "--batch", "b")
    assert result.stdout == "files: 4 sent, 0 there before, 1 failed\n"
    assert "5,497,558,138,881 bytes" in result.stderr
    assert cli.run("upload", str(source / "f0"), "--object", "o").exit_code == 1


def test_names_are_utf8_in_any_locale(cli: Cli, source: Path, tmp_path: Path) -> None:
    (source / "é💡").write_bytes(b"unicode")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for command in (["upload", str(source)], ["download", str(tmp_path / "back")]):
        ran = subprocess.run(
            [*WAYBILL, *command, "--batch", "b"],
            env=os.environ | cli.variables | ascii_only,
            capture_output=True,
            check=True,
        )
        assert ran.stdout.startswith(b"files: 6 ")
    assert (tmp_path / "back" / "é💡").read_bytes() == b"unicode"


def test_interrupt_ends_the_reading_of_a_large_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.touch()
    os.truncate(file, local_files.MOST_BYTES)
    stop, pieces = Event(), []

    def advance(count_bytes: int) -> None:
        pieces.append(count_bytes)
        stop.set()

    with pytest.raises(InterruptedError):
        sha256_of(file, stop, advance)
    assert len(pieces) == 1
    process = cli.start("upload", str(file), "--batch", "b", "--object", "o")
    try:
        wait_for(lambda: cli.output("batches", "--count") == "1\n")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()  # if it has not ended, it reads for hours
