"""Locks between processes that the kernel takes back when their holder dies."""

import fcntl
import os
from pathlib import Path
from typing import IO


def opened(path: Path) -> IO[bytes]:
    """To read and append. Never through a symbolic link: root may be writing into another user's directory."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "r+b")


def lock(file: IO[bytes]) -> bool:
    """Whether the file is now locked for this one alone, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def held(path: Path) -> bool:
    """Whether somebody has locked the file for themselves alone; those who ask do not get in each other's way."""
    try:
        with opened(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def share(file: IO[bytes]) -> None:
    """Lock the file together with others who do the same; waits for one who locked it alone."""
    fcntl.flock(file, fcntl.LOCK_SH)
