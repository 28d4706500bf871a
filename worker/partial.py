"""A file on its way to its name, which whoever goes on with it finds as far as it certainly is on the disk."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Sequence
from urllib.parse import quote

_KEPT_EVERY = 32 * 1024**2
_LONGEST = 200  # bytes of a name
_NEW = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Partial:
    """``kept`` bytes are there. Beside it a file says how many, which is written when they are on the disk.

    Its name says which bytes they are, by the sync and the ETag, and a lock who writes them. Both at once, because a
    process may stand still for longer than the file is its own: it goes on writing the same bytes to the same places,
    and another one begins a file of its own.
    """

    def __init__(self, directory: int, name: str, file: int) -> None:
        self.name = name
        self._directory = directory
        self._file = file
        self._is_there = True
        self.kept = self._marked()
        self.size = self.kept
        os.ftruncate(file, self.kept)
        os.lseek(file, self.kept, os.SEEK_SET)

    @classmethod
    def open(cls, directory: int, sync_id: int, etag: str) -> "Partial":
        """Takes the descriptor of the directory as its own."""
        name = f"{sync_id}.{quote(etag, safe='')}"
        try:
            if etag and len(name) <= _LONGEST:
                file = os.open(name, _NEW, 0o600, dir_fd=directory)
                if _is_ours(file, name, directory):
                    return cls(directory, name, file)
                os.close(file)
            name = f"{sync_id}.{secrets.token_hex(16)}"
            return cls(directory, name, os.open(name, _NEW | os.O_EXCL, 0o600, dir_fd=directory))
        except BaseException:
            os.close(directory)
            raise

    def read(self, begin: int, most: int) -> bytes:
        return os.pread(self._file, min(most, self.kept - begin), begin)

    def write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(self._file, left) :]
        self.size += len(content)
        if self.size - self.kept >= _KEPT_EVERY:
            self.keep()

    def keep(self) -> None:
        """What was written so far need not be read from S3 again."""
        os.fdatasync(self._file)
        self.kept = self.size
        file = os.open(self._mark, _NEW, 0o600, dir_fd=self._directory)
        try:
            os.pwrite(file, f"{self.kept:020}".encode(), 0)
        finally:
            os.close(file)

    def flush(self) -> None:
        os.fsync(self._file)

    def rename(self, directory: int, name: str) -> None:
        os.rename(self.name, name, src_dir_fd=self._directory, dst_dir_fd=directory)
        os.fsync(directory)
        self.remove([self._mark])
        self._is_there = False

    def remove(self, names: Sequence[str] = ()) -> None:
        """All of it, or what has these names."""
        for name in names or (self.name, self._mark):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self._directory)

    def close(self) -> None:
        """One that has nothing that is kept is of no use to anybody."""
        if self._is_there and not self.kept:
            self.remove()
        os.close(self._file)
        os.close(self._directory)

    @property
    def _mark(self) -> str:
        return f"{self.name}.kept"

    def _marked(self) -> int:
        """Nothing is believed of a mark that a power failure has left half written."""
        try:
            file = os.open(self._mark, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)
        except FileNotFoundError:
            return 0
        try:
            text = os.read(file, 64)
        finally:
            os.close(file)
        marked = int(text) if len(text) == 20 and text.isdigit() else 0
        return marked if marked <= os.fstat(self._file).st_size else 0


def _is_ours(file: int, name: str, directory: int) -> bool:
    """Locked by nobody else, which ends with the process; not where the file system has no locks.

    Nor where it has got its name between being opened and locked.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(there, os.fstat(file))
