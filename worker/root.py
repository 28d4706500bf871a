"""The directory of local copies: ``<tenant>/<directory>/<oeid>/<ref_id>/<file_name>``, and ``.partial`` beside them.

Everything here waits for the file system, so it is called in threads. Components are opened one by one and never
through a symbolic link: whoever can write below the root leads nobody out of it. Several machines may share the root.
"""

import contextlib
import errno
import os
import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

from models.drifting import Entry
from worker.partial import Partial
from worker.walk import below, size_of

_PARTIAL = ".partial"  # no tenant's: slugs have no dots
_OF_A_SOURCE = 2  # components that stay when they are empty
_KEPT_SECONDS = 24 * 3600.0
_TRIES = 5
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PAIRS = (("a", "A"), ("\u00e9", "e\u0301"))  # which are one file where case, or the way of writing, does not count


class Unusable(Exception):
    """Nothing can be copied below the root; the message says why."""


class Root:
    """``reserve_bytes`` of its file system are left free.

    It is made when it is first looked at, and then no more: what is there in its place when it is gone, such as the
    directory at which it was mounted, is another one.
    """

    def __init__(self, path: str, reserve_bytes: int) -> None:
        self.path = Path(path)
        self._reserve_bytes = reserve_bytes
        self._is_known = False
        self._tells_names_apart = False

    def check(self) -> None:
        """Raises Unusable."""
        try:
            if not self._is_known:
                self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
                with self._opened([_PARTIAL], make=True):
                    self._is_known = True
            with self._opened([_PARTIAL]) as partial:
                self._check_names(partial)
            room = self.room()
        except FileNotFoundError as error:
            raise Unusable(f"{self.path} is not there any more, or is another one: it has no {_PARTIAL}") from error
        except OSError as error:
            raise Unusable(f"{self.path} cannot be used: {error.strerror}") from error
        if room <= 0:
            raise Unusable(f"the disk of {self.path} is full: less than {self._reserve_bytes:,} bytes are free")

    def room(self) -> int:
        """Bytes that may still be written."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize - self._reserve_bytes

    def has_begun(self, sync_id: int) -> bool:
        """Whether somebody has left some of the file, or of what it was then."""
        with self._opened([_PARTIAL]) as directory, os.scandir(directory) as entries:
            return any(entry.name.startswith(f"{sync_id}.") for entry in entries)

    def partial(self, sync_id: int, etag: str) -> Partial:
        """What is there already of a file, or an empty one; nobody else writes to it."""
        with self._opened([_PARTIAL]) as directory:
            return Partial.open(os.dup(directory), sync_id, etag)

    def place(self, partial: Partial, components: Sequence[str]) -> None:
        """The whole file gets its name, at once and for good, whatever had it."""
        for tries_left in reversed(range(_TRIES)):
            with contextlib.suppress(FileNotFoundError) if tries_left else contextlib.nullcontext():
                # A directory that is empty is removed at any time, even between the next two lines.
                with self._opened(components[:-1], make=True) as directory:
                    partial.rename(directory, components[-1])
                return

    def remove(self, path: str) -> None:
        """A copy and the directories that it leaves empty, up to that of its source. It need not be there."""
        components = path.split("/")
        if not all(components) or {".", ".."} & set(components) or len(components) <= _OF_A_SOURCE:
            raise ValueError(f"{path!r} is not the path of a copy")
        with self._opened([_PARTIAL]):
            pass  # or else it is another root, in which what is not there may be in ours
        with contextlib.suppress(FileNotFoundError), self._opened(components[:-1]) as directory:
            os.unlink(components[-1], dir_fd=directory)
            os.fsync(directory)
        for depth in range(len(components) - 2, _OF_A_SOURCE - 1, -1):
            with contextlib.suppress(FileNotFoundError), self._opened(components[:depth]) as directory:
                try:
                    os.rmdir(components[depth], dir_fd=directory)
                except OSError as error:
                    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                        return
                    raise

    def walk(self, path: str) -> Generator[Entry, None, None]:
        """What is below a directory, in any order and however deep; nothing where it is not there."""
        with contextlib.ExitStack() as stack:
            try:
                directory = stack.enter_context(self._opened(path.split("/")))
            except FileNotFoundError:
                return
            yield from below(directory, path)

    def size(self, path: str) -> int | None:
        """-1 of what is no file; None where nothing is there, or only behind a link."""
        *components, name = path.split("/")
        try:
            with self._opened(components) as directory:
                return size_of(os.stat(name, dir_fd=directory, follow_symlinks=False))
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def open(self, path: str) -> int | None:
        """A descriptor to read with, which is closed by whoever called; None where nothing is there."""
        *components, name = path.split("/")
        try:
            with self._opened(components) as directory:
                return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return None
            raise

    def sweep(self) -> int:
        """Remove what nobody has written to for a day: its row is gone, or done, or begins anew. How much there was."""
        removed = 0
        with self._opened([_PARTIAL]) as directory, os.scandir(directory) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _KEPT_SECONDS:
                        os.unlink(entry.name, dir_fd=directory)
                        removed += 1
        return removed

    @contextlib.contextmanager
    def _opened(self, components: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """A descriptor of the directory. What is made outlives a power failure."""
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for one in components:
                try:
                    inner = os.open(one, _DIRECTORY, dir_fd=directory)
                except FileNotFoundError:
                    if not make:
                        raise
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(one, 0o700, dir_fd=directory)
                    os.fsync(directory)
                    inner = os.open(one, _DIRECTORY, dir_fd=directory)
                os.close(directory)
                directory = inner
            yield directory
        finally:
            os.close(directory)

    def _check_names(self, partial: int) -> None:
        if self._tells_names_apart:
            return
        for one, other in _PAIRS:
            name = f"names-{secrets.token_hex(8)}-"
            os.close(os.open(name + one, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=partial))
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.stat(name + other, dir_fd=partial)
                    raise Unusable(
                        f"the file system of {self.path} does not tell names apart that differ in case or in the way"
                        " their characters are written: copies would replace one another"
                    )
            finally:
                os.unlink(name + one, dir_fd=partial)
        self._tells_names_apart = True


def is_full(error: OSError) -> bool:
    return error.errno in _FULL
