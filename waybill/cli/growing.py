"""A file on its way down: what is here of it stays when that breaks off, and the next run goes on with it."""

import hashlib
import os
import secrets
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import BinaryIO

from waybill import locks
from waybill.cli.hashing import Advance, take_in

_NAME = ".waybill-{}.part"  # short, as a longer name than the file's might be too long


@dataclass(eq=False, slots=True)
class Growing:
    """The first ``size`` bytes of a file, and their SHA-256; ``etag`` is S3's, of the file that they are of."""

    path: Path
    file: BinaryIO
    advance: Advance
    keeps: bool
    found_bytes: int  # of an earlier run, in the file from the beginning; to be read before anything is taken
    size: int = 0
    etag: str = ""
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def read(self, most: int, stop: Event) -> None:
        """Know what an earlier run has left; to be called in a thread. More than the file has is nothing of it."""
        if self.found_bytes > most:
            self.begin_again()
            return
        take_in(self.file, self.digest, stop, self.advance)
        self.size = self.found_bytes

    def take(self, piece: bytes) -> None:
        self.file.write(piece)
        self.digest.update(piece)
        self.size += len(piece)

    def begin_again(self) -> None:
        self.advance(-self.size)
        self.file.seek(0)
        self.file.truncate()
        self.size, self.etag, self.digest = 0, "", hashlib.sha256()

    def is_whole(self, size: int, sha256: str | None) -> bool:
        return self.size == size and sha256 in (None, self.digest.hexdigest())

    def become(self, path: Path) -> None:
        self.file.flush()
        self.path.replace(path)
        self.path = path


@contextmanager
def growing(directory: Path, object_id: str, sha256: str | None, advance: Advance) -> Iterator[Growing]:
    """For this run alone. It goes on with what is here where a SHA-256 will prove all of it, and leaves it then."""
    name = _NAME.format(hashlib.sha256(f"{object_id}\0{sha256}".encode()).hexdigest()[:24])
    found = _locked(directory / name) if sha256 is not None else None
    keeps = found is not None
    if found is None:
        name = _NAME.format(secrets.token_hex(8))
        found = (directory / name).open("x+b")
        locks.lock(found)
    with found:
        one = Growing(directory / name, found, advance, keeps, os.fstat(found.fileno()).st_size)
        try:
            yield one
        finally:
            if one.path.name == name and not (keeps and one.size):
                one.path.unlink(missing_ok=True)


def _locked(path: Path) -> BinaryIO | None:
    """None where another run has it, or is about to rename or remove it, or it is somebody's file by another name."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags, 0o666), "r+b")
    with suppress(FileNotFoundError):
        found = os.fstat(file.fileno())
        if locks.lock(file) and os.path.samestat(found, path.lstat()) and found.st_nlink == 1:
            return file
    file.close()
    return None


def sweep(directory: Path, wanted: Set[Path]) -> None:
    """Removes what killed runs have left and nobody goes on with; what a run is writing now is locked."""
    for path in directory.glob(_NAME.format("*")):
        if path not in wanted:
            with suppress(OSError), locks.opened(path) as file:
                if locks.lock(file):
                    path.unlink(missing_ok=True)
