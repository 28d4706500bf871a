"""`waybill sync-demo`: where nothing runs yet, beside a service, and where copies are not what they should be."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import httpx
import pytest

from tests import processes
from tests.waybill.conftest import as_nobody, needs_root, new_directory
from tests.waybill.test_dev import command, dev
from waybill import postgres
from waybill.cli import demo, demo_files
from waybill.cli.demo_files import chosen, unequal

FILES = 6


@pytest.fixture(scope="module")
def fresh() -> Iterator[Path]:
    with new_directory() as path:
        with postgres.Server(path, durable=False):  # does not wait for the disk
            pass
        yield path


def shown(*arguments: str) -> str:
    done = processes.finished("sync-demo", "--files", str(FILES), *arguments)
    assert done.exit_code == 0, done.stdout + done.stderr
    return done.stdout


def test_files_are_copied_and_verified_where_nothing_runs_and_again_beside_a_service(fresh: Path) -> None:
    first = shown("--data-dir", str(fresh))
    for answer in (f"{FILES}        201", "1        400", "1        401", "1        409"):
        assert answer in first
    assert f"{FILES} copies are equal to what is in the bucket" in first
    [path] = re.findall(r"^(?:Thumbnail|Copy) +http://127.0.0.1:8000(\S+)", first, re.MULTILINE)
    with dev(fresh) as service:
        assert httpx.get(service.url.removesuffix("/graphql") + path).status_code == 200
        second = shown("--data-dir", str(fresh), "--url", service.url)
        place = ("--bucket", "sync-demo", "--profile", "embedded", "--data-dir", str(fresh))
        command("source", "create", "main", "mine", *place)
        sources = service.post("{ syncSources { nodes { origin { endpoint bucket } } } }").json()["data"]["syncSources"]
        assert sources["nodes"][0] == sources["nodes"][1]  # the server that is meant, though nobody said where it is
    assert "starting" not in second
    batches = [re.findall(r"^Copies +(.+)", output, re.MULTILINE) for output in (first, second)]
    assert batches[0] != batches[1]
    for [directory] in batches:
        assert len([one for one in Path(directory).rglob("*") if one.is_file()]) == FILES


def test_what_a_service_of_another_kind_brings_is_refused() -> None:
    done = processes.finished("sync-demo", WAYBILL_DATABASE_URL="postgresql://nowhere/waybill")
    assert (done.exit_code, "unset WAYBILL_DATABASE_URL" in done.stderr) == (1, True)


@needs_root
def test_directory_of_another_user_is_said(directory: Path) -> None:
    (directory / "lock").touch(mode=0o600)

    def start() -> str:
        with pytest.raises(click.ClickException) as error:
            demo.run(directory, FILES, "")
        return error.value.message

    assert f"{directory / 'lock'} belongs to another user: run this as that user" in as_nobody(start)


@pytest.mark.parametrize("program", [True, False])
def test_copy_with_another_byte_and_one_that_is_missing_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, program: bool
) -> None:
    if not program:
        monkeypatch.setattr(demo_files, "program", lambda: None)
    elif shutil.which("sha256sum") is None:
        pytest.skip("sha256sum is not here")
    digests = {"a b": "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}  # of "a"
    digests |= dict.fromkeys(("changed", "missing"), digests["a b"])
    (tmp_path / "a b").write_text("a")
    (tmp_path / "changed").write_text("b")
    assert unequal(tmp_path, digests) == ["changed", "missing"]


def test_files_are_ones_that_all_may_read_and_their_names_tell_them_apart() -> None:
    files = chosen(200)
    assert len({file.name for file in files}) == len(files) == 200
    assert all(file.path.lstat().st_mode & 0o004 for file in files)
    assert len({file.type for file in files}) > 1
