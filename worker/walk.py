"""What is in a directory and below it, one by one, however much there is. Symbolic links are seen and not followed."""

import os
import stat
from collections.abc import Generator

from models.drifting import Entry

_DEEPEST = 32  # directories below the first one: each is a descriptor that is open
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def below(directory: int, path: str, depth: int = 0) -> Generator[Entry, None, None]:
    """Anything but directories, by paths that begin with ``path``, the directory's. One that is not UTF-8 has half
    characters. A directory that is too deep to be looked into is an entry, too.
    """
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    yield Entry(f"{path}/{entry.name}", size_of(entry.stat(follow_symlinks=False)))
                    continue
                if depth == _DEEPEST:
                    yield Entry(f"{path}/{entry.name}", -1)
                    continue
                inner = os.open(entry.name, _DIRECTORY, dir_fd=directory)
            except FileNotFoundError:  # gone since
                continue
            try:
                yield from below(inner, f"{path}/{entry.name}", depth + 1)
            finally:
                os.close(inner)


def size_of(found: os.stat_result) -> int:
    return found.st_size if stat.S_ISREG(found.st_mode) else -1
