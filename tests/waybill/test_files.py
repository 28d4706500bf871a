"""`waybill upload` and `waybill download`, straight to a real S3 server and back."""

import email
import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from models import AccessLevel, Role
from tests import processes
from tests.conftest import Caller, NewCaller, free_port, wait_for
from tests.waybill.commands import Answer, Ask, Cli, between
from waybill.cli import local_files

HARD = {
    "empty": b"",
    "ten megabytes": bytes(range(256)) * 40_960,
    "a b/ü/💡.txt": b"unicode",
    "deep/" * 12 + "file": b"deep",
    "same/name.txt": b"one",
    "other/name.txt": b"two",
    "%_'\"$(x)": b"quotes",
    "-rf": b"dash",
    "type.json": b"{}",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Real files and hard ones, each with a time of its own."""
    root = tmp_path / "source"
    for number, (name, body) in enumerate(HARD.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        os.utime(path, ns=(0, 1_234_567_890_123_456_789 + number))
    for package in (json, email):
        for path in Path(str(package.__file__)).parent.glob("*.py"):
            copied = root / package.__name__ / path.name
            copied.parent.mkdir(exist_ok=True)
            copied.write_bytes(path.read_bytes())
    (root / "link").symlink_to("empty")
    return root


def tree(root: Path) -> dict[str, tuple[bytes, int]]:
    """Of all regular files: their bytes and times."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_directory_goes_up_and_comes_back_identical(cli: Cli, source: Path, tmp_path: Path) -> None:
    there = tree(source)
    sent = cli.json("upload", str(source), "--batch", "files")
    assert sent == {
        "files_sent": len(there),
        "files_there": 0,
        "files_verifying": 0,
        "files_failed": 0,
        "bytes_sent": sum(len(body) for body, _ in there.values()),
    }
    fetched = cli.json("download", "--batch", "files", str(tmp_path / "back"))
    assert (fetched["files_fetched"], fetched["files_failed"]) == (len(there), 0)
    assert tree(tmp_path / "back") == there
    assert cli.json("download", "--batch", "files", str(tmp_path / "back"))["files_there"] == len(there)
    assert cli.output("objects", "--data", "type=application/json", "--count") == "1\n"


def test_run_again_it_sends_what_is_missing_or_has_changed(cli: Cli, source: Path, tmp_path: Path) -> None:
    count = len(tree(source))
    cli.output("upload", str(source), "--batch", "files")
    assert cli.json("upload", str(source), "--batch", "files")["files_there"] == count
    (source / "empty").write_bytes(b"not any more")
    (source / "new").write_bytes(b"new")
    again = cli.json("upload", str(source), "--batch", "files")
    assert (again["files_sent"], again["files_there"]) == (2, count - 1)
    cli.output("download", "--batch", "files", str(tmp_path / "back"))
    assert tree(tmp_path / "back") == tree(source)


def test_one_file_for_an_object(cli: Cli, source: Path, tmp_path: Path) -> None:
    result = cli.run("upload", str(source / "type.json"), "--object", "o")
    assert (result.exit_code, 'There is no object "o"' in result.stderr) == (1, True)
    cli.output("upload", str(source / "type.json"), "--object", "o", "--batch", "b")
    cli.output("upload", str(source / "same/name.txt"), "--object", "o")
    cli.output("download", "--batch", "b", str(tmp_path / "back"))
    assert (tmp_path / "back/o").read_bytes() == b"one"


def test_what_cannot_be_sent_is_named_and_the_rest_goes_on(cli: Cli, source: Path) -> None:
    count = len(tree(source))
    (source / ("x" * 200)).mkdir()
    (source / ("x" * 200) / ("y" * 100)).write_bytes(b"an id of 301 characters")
    (source / "back\\slash").write_bytes(b"")
    (source / "line\nbreak").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(source) + b"/\xff")).write_bytes(b"")
    result = cli.run("upload", str(source), "--batch", "files")
    assert result.exit_code == 1
    assert result.stdout == f"files: {count:,} sent, 0 there before, 4 failed\n"
    for said in ("at most 256", r'its name has "\"', "U+000A", "not UTF-8"):
        assert said in result.stderr
    assert len(result.stderr.splitlines()) == 4


def test_upload_stops_where_the_quota_is_reached_and_goes_on_when_there_is_more(
    cli: Cli, admin: Caller, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_files, "_PORTION_FILES", 20)

    def quota(most: str) -> None:
        assert (
            cli.run("tenant", "quota", admin.tenant.slug, "--bytes", most, WAYBILL_DATABASE_URL=database_url).exit_code
            == 0
        )

    source = tmp_path / "many"
    source.mkdir()
    for number in range(300):
        (source / f"{number:03}").write_bytes(b"ten bytes!")
    quota("250B")
    announcements = []

    def counting(body: bytes, ask: Ask) -> Answer:
        announcements.extend([body] if b"createObjects" in body else [])
        return ask(cli.url)

    with between(counting) as url:
        result = cli.run("upload", str(source), "--batch", "many", WAYBILL_URL=url)
    assert result.exit_code == 1
    assert result.stdout == "files: 20 sent, 0 there before, 280 failed\n"
    assert "failed: 280 files were not sent: The tenant's quota does not allow for 200 bytes more" in result.stderr
    assert result.stderr.count("\n") == 1
    assert len(announcements) <= 9  # of 15: the first were on their way together
    quota("none")
    assert cli.json("upload", str(source), "--batch", "many")["files_sent"] == 280


def test_wrong_usage_is_explained(cli: Cli, source: Path) -> None:
    for arguments in ([str(source)], [str(source), "--batch", "b", "--object", "o"], [str(source / "empty")]):
        assert cli.run("upload", *arguments).exit_code == 2
    assert cli.run("upload", str(source / "nothing"), "--batch", "b").exit_code == 2


@pytest.fixture
async def owner_and_reader(service_url: str, new_caller: NewCaller) -> tuple[Cli, Cli]:
    owner = await new_caller(member_access=AccessLevel.VIEW)
    reader = await new_caller(owner.tenant, role=Role.MEMBER)
    return Cli(service_url, owner.key), Cli(service_url, reader.key)


def test_who_may_only_look_downloads_but_sends_nothing(
    owner_and_reader: tuple[Cli, Cli], source: Path, tmp_path: Path
) -> None:
    owner, reader = owner_and_reader
    owner.output("upload", str(source), "--batch", "files")
    assert reader.run("upload", str(source), "--batch", "mine").exit_code == 4
    reader.output("download", "--batch", "files", str(tmp_path / "back"))
    assert tree(tmp_path / "back") == tree(source)


EVIL = ["../out", "/tmp/out", "a/../../out", "..", ".", "a\\..\\out", "nul\0", "led/out", "same", "same"]  # noqa: S108


def test_nothing_is_written_outside_of_the_directory(cli: Cli, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b"evil")
    names = [name for name in EVIL if "\0" not in name]
    for number, name in enumerate(names):
        cli.output("upload", str(body), "--object", f"o{number}", "--batch", "evil")
        cli.post(SET_PATH, id=f"o{number}", path=name)
    outside, back = tmp_path / "outside", tmp_path / "back"
    outside.mkdir()
    back.mkdir()
    (back / "led").symlink_to(outside)
    before = set(tmp_path.rglob("*"))
    result = cli.run("download", "--batch", "evil", str(back))
    assert result.exit_code == 1
    assert result.stderr.count("failed: ") == len(names) - 1  # one of the same is there
    [made] = set(tmp_path.rglob("*")) - before
    assert made.parent == back
    assert list(outside.iterdir()) == []


SET_PATH = """mutation($id: String!, $path: String!) {
  updateObjectData(input: {objectId: $id, set: [{key: "path", value: $path}]}) { object { id } } }"""


def test_upload_outlives_a_restart_of_the_service(
    database_url: str, with_files: dict[str, str], admin: Caller, tmp_path: Path
) -> None:
    source = tmp_path / "many"
    source.mkdir()
    for number in range(1_500):
        (source / f"{number:03}").write_bytes(str(number).encode() * 100)
    port = free_port()
    service = {"WAYBILL_DATABASE_URL": database_url, "WAYBILL_PORT": str(port), **with_files}
    cli = Cli(f"http://127.0.0.1:{port}", admin.key)
    with processes.running("serve", **service) as first:
        wait_for(lambda: httpx.get(f"{cli.url}/readyz").status_code == 200, 60)
        process = cli.start("upload", str(source), "--batch", "many", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: cli.output("objects", "--count") != "0\n")
        first.kill()
    with processes.running("serve", **service):
        out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, b"")
    assert out == b"files: 1,500 sent, 0 there before\n"
