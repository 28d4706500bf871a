"""Digests of files, of which each may be large: to be called in threads.

They end in vain, by an OSError, soon after ``stop`` is set: a program would otherwise not end before they are done.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import BinaryIO

_PIECE_BYTES = 1024 * 1024

Advance = Callable[[int], None]  # called with how many more bytes went through; negative when they go again


def sha256_of(path: Path, stop: Event, advance: Advance) -> str:
    """In hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        take_in(file, digest, stop, advance)
    return digest.hexdigest()


def all_sha256_of(paths: Sequence[Path], stop: Event, advance: Advance) -> list[str | OSError]:
    """In hexadecimal, or why a file cannot be read."""
    found: list[str | OSError] = []
    for path in paths:
        try:
            found.append(sha256_of(path, stop, advance))
        except OSError as error:
            found.append(error)
    return found


def md5_of(path: Path, part: range, stop: Event) -> str:
    """Of some of its bytes, as an ETag says it."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        file.seek(part.start)
        take_in(file, digest, stop, lambda _: None, len(part))
    return digest.hexdigest()


def take_in(file: BinaryIO, digest: "hashlib._Hash", stop: Event, advance: Advance, most: int | None = None) -> None:
    """What is left of the file, or so much of it."""
    while piece := file.read(_PIECE_BYTES if most is None else min(_PIECE_BYTES, most)):
        if stop.is_set():
            raise InterruptedError
        digest.update(piece)
        advance(len(piece))
        if most is not None:
            most -= len(piece)
