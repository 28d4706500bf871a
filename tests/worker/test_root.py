"""What is below the root of local copies, and what is not reached from there."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import database
from tests.worker.mirror import Mirror
from worker.copies import Copies
from worker.partial import Partial
from worker.root import Root, Unusable

CONTENT = b"hello"
NOT_FOLLOWED = r"Not a directory|Too many levels"


@pytest.fixture
def root(tmp_path: Path) -> Root:
    root = Root(str(tmp_path / "deep" / "root"), 1)
    root.check()
    return root


@pytest.fixture
def partial(root: Root) -> Iterator[Partial]:
    partial = root.partial(7, "etag")
    partial.write(CONTENT)
    yield partial
    partial.close()


PATH = ["acme", "photos", "b", "r", "a.jpg"]


def test_root_is_made_for_its_owner_alone(root: Root) -> None:
    assert root.path.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in root.path.iterdir()] == [".partial"]


def test_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match="cannot be used"):
        Root(str(tmp_path / "file"), 1).check()


def test_directory_that_is_a_symbolic_link_is_not_followed(root: Root, partial: Partial, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root.path / "acme" / "photos").mkdir(parents=True)
    (root.path / "acme" / "photos" / "b").symlink_to(outside)
    with pytest.raises(OSError, match=NOT_FOLLOWED):
        root.place(partial, PATH)
    (outside / "r").mkdir()
    (outside / "r" / "a.jpg").touch()
    with pytest.raises(OSError, match=NOT_FOLLOWED):
        root.remove("/".join(PATH))
    assert (outside / "r" / "a.jpg").exists()


def test_file_that_is_a_symbolic_link_is_replaced(root: Root, partial: Partial, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    place = root.path.joinpath(*PATH)
    place.parent.mkdir(parents=True)
    place.symlink_to(victim)
    root.place(partial, PATH)
    assert (place.is_symlink(), place.read_bytes(), victim.read_text()) == (False, CONTENT, "as it was")


def test_temporary_file_that_is_a_symbolic_link_is_not_written_to(root: Root, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (root.path / ".partial" / "7.etag").symlink_to(victim)
    with pytest.raises(OSError, match="Too many levels"):
        root.partial(7, "etag")
    assert victim.read_text() == "as it was"


def test_second_writer_of_a_file_begins_one_of_its_own(root: Root, partial: Partial) -> None:
    partial.keep()
    other = root.partial(7, "etag")
    assert other.kept == 0
    other.write(b"other")
    root.place(partial, PATH)
    other.close()
    assert root.path.joinpath(*PATH).read_bytes() == CONTENT
    assert not root.has_begun(7)


def test_one_who_comes_after_goes_on_with_what_is_kept(root: Root, partial: Partial) -> None:
    partial.keep()
    partial.write(b" world")
    partial.close()
    other = root.partial(7, "etag")
    assert other.read(0, 100) == CONTENT
    assert root.has_begun(7)
    assert not root.has_begun(70)
    other.remove()
    other.close()
    partial._file = os.open(os.devnull, os.O_RDONLY)  # which the fixture closes
    partial._directory = os.open("/", os.O_RDONLY)


def test_root_that_goes_away_is_not_made_anew(root: Root, partial: Partial) -> None:
    """As one that was mounted, whose place is an empty directory then."""
    elsewhere = root.path.rename(root.path.with_name("elsewhere"))
    for is_there in (False, True):
        if is_there:
            root.path.mkdir()
        with pytest.raises(Unusable, match="not there any more"):
            root.check()
        with pytest.raises(FileNotFoundError):
            root.partial(8, "etag")
        with pytest.raises(FileNotFoundError):  # so that the deletion is tried again
            root.remove("/".join(PATH))
    assert list(root.path.iterdir()) == []
    root.path.rmdir()
    elsewhere.rename(root.path)
    root.check()
    root.place(partial, PATH)


@pytest.mark.parametrize("path", ["", "a", "a/b", "../../x/y", "a/b/../c", "/etc/passwd/x", "a/b//c"])
def test_path_that_is_no_copys_is_not_removed(root: Root, path: str) -> None:
    with pytest.raises(ValueError, match="not the path of a copy"):
        root.remove(path)


def test_sweep_removes_what_nobody_has_written_to_for_a_day(root: Root, partial: Partial) -> None:
    old = root.path / ".partial" / "8.old"
    old.touch()
    os.utime(old, (0, time.time() - 25 * 3600))
    assert root.sweep() == 1
    assert [path.name for path in (root.path / ".partial").iterdir()] == [partial.name]


async def test_copy_of_a_deleted_object_goes_with_the_directories_it_leaves_empty(
    mirror: Mirror, copies: Copies
) -> None:
    for ref_id in ("r", "s"):
        await mirror.put(CONTENT, ref_id)
    await mirror.ask("r", "s")
    await copies.drain()
    one, other = mirror.file("r"), mirror.file("s")
    delete = "DELETE FROM objects WHERE tenant_id = $1 AND object_id = $2"
    await database.execute(delete, mirror.source["tenant_id"], "r")
    await copies._copier.delete_due()
    assert (one.parent.exists(), other.exists()) == (False, True)
    other.unlink()  # by somebody else: then there is nothing to do
    await database.execute(delete, mirror.source["tenant_id"], "s")
    await copies._copier.delete_due()
    assert [path.name for path in (mirror.root / mirror.tenant_slug).rglob("*")] == ["copies"]
    assert not await database.fetch("SELECT FROM copy_deletions WHERE source_id = $1", mirror.source["id"])


async def test_deletion_that_fails_is_due_again(mirror: Mirror, copies: Copies) -> None:
    await mirror.put(CONTENT)
    await mirror.ask()
    await copies.drain()
    mirror.file().unlink()
    mirror.file().mkdir()
    await database.execute("DELETE FROM objects WHERE tenant_id = $1", mirror.source["tenant_id"])
    await copies._copier.delete_due()
    [row] = await database.fetch(
        "SELECT last_error, due_at > now() AS later FROM copy_deletions WHERE source_id = $1", mirror.source["id"]
    )
    assert (row["last_error"] is not None, row["later"]) == (True, True)
