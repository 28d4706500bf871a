"""Files below the root of local copies, opened so that no link leads out of it."""

import asyncio
import errno
import os
import resource
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, TypeVar, TypeVarTuple

from models.errors import CopyChanged, CopyMissing, StorageUnavailable

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

# Each takes a descriptor beside that of its connection.
_MOST_OPEN = max(8, min(500, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 20))
_MOST_OF_ONE = _MOST_OPEN // 2  # tenant, whose clients may be as slow as they like
_open: dict[BinaryIO, str] = {}  # whose, by the first part of its path
_threads = ThreadPoolExecutor(8, "copies")  # of their own: a disk that hangs holds up nothing else
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would not let go


def opened(root: Path, path: str, size: int) -> BinaryIO:
    """The file at ``path`` below the root, of so many bytes; it blocks.

    Raises CopyMissing, CopyChanged, and StorageUnavailable where the disk does not let it be read.
    """
    try:
        descriptor = _descriptor(root, path.split("/"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CopyMissing from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CopyMissing from error
        raise unreadable() from error
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_size == size:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise CopyChanged if stat.S_ISREG(found.st_mode) else CopyMissing


def unreadable() -> StorageUnavailable:
    return StorageUnavailable("The disk with the local copies cannot be read: try again in a moment.")


def _descriptor(root: Path, names: Sequence[str]) -> int:
    *directories, name = names
    place = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for directory in directories:
            below = os.open(_checked(directory), _DIRECTORY, dir_fd=place)
            os.close(place)
            place = below
        return os.open(_checked(name), _FILE, dir_fd=place)
    finally:
        os.close(place)


def _checked(name: str) -> str:
    if name in ("", ".", "..") or "\0" in name:
        raise FileNotFoundError(name)
    return name


async def open_below(root: Path, path: str, size: int) -> BinaryIO:
    """``opened``, without holding up the event loop, and to be closed by ``close``.

    Raises StorageUnavailable, too, where too many are open.
    """
    whose = path.partition("/")[0]
    if len(_open) >= _MOST_OPEN or sum(one == whose for one in _open.values()) >= _MOST_OF_ONE:
        raise StorageUnavailable("Too many files are being read already: try again in a moment.")
    opening = asyncio.get_running_loop().run_in_executor(_threads, opened, root, path, size)
    try:
        file = await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_forget)
        raise
    _open[file] = whose
    return file


async def in_thread(function: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)


def close(file: BinaryIO) -> None:
    """After whatever is still being read of it; nobody waits for it."""
    _open.pop(file, None)
    _threads.submit(file.close)


def _forget(opening: asyncio.Future[BinaryIO]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        close(opening.result())
