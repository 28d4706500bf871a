"""Files of this machine that are to be sent, and which of them can be."""

import mimetypes
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_BYTES = 5 * 1024**4  # that S3 takes, and so any service

# A call announces them, and they are sent again when it is broken off before they are complete.
_PORTION_FILES = 200
_PORTION_BYTES = 16 * 1024 * 1024

_USUAL_ID_CHARACTERS = 256  # a service may allow more

# In paths the one that Windows would take for a separator, and what no download would write; of names a service refuses
# line separators and marks that reverse what is shown as well.
_UNFIT_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\]")
_UNFIT_IN_NAME = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\\\\]")


@dataclass(eq=False, slots=True)
class Local:
    """A file here, and the object it is there."""

    path: Path
    name: str
    object_id: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, object_id: str, found: os.stat_result) -> "Local":
        """Raises UnicodeDecodeError for a name that is not UTF-8."""
        return cls(path, in_utf8(path.name), object_id, found.st_size, found.st_mtime_ns)

    @property
    def type(self) -> str:
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"

    def data(self) -> list[dict[str, str]]:
        """``mtime`` is in seconds, exact to the nanosecond."""
        mtime = f"{self.mtime_ns // 10**9}.{self.mtime_ns % 10**9:09}"
        values = {"path": self.object_id, "size": str(self.size), "type": self.type, "mtime": mtime}
        return [{"key": key, "value": value} for key, value in values.items()]

    def unfit(self, *, by_path: bool) -> str:
        """Why it cannot be sent, or to its path come back, whatever the service; or nothing."""
        if self.size > MOST_BYTES:
            return f"it has {self.size:,} bytes, and S3 takes at most {MOST_BYTES:,}"
        found = _UNFIT_IN_NAME.search(self.name) or (_UNFIT_IN_PATH.search(self.object_id) if by_path else None)
        if found:
            character = f'"{found[0]}"' if found[0].isprintable() else f"U+{ord(found[0]):04X}"
            return f"its name has {character}, which no name may have there"
        return ""

    def has_changed(self) -> bool:
        try:
            found = self.path.stat()
        except OSError:
            return True
        return (found.st_size, found.st_mtime_ns) != (self.size, self.mtime_ns)


def in_utf8(name: str) -> str:
    """A name of the file system, which Python has read by the locale. Raises UnicodeDecodeError."""
    return os.fsencode(name).decode()


def in_directory(root: Path, complaints: list[str]) -> Iterator[Local]:
    """Regular files, in the order of their paths; nothing is followed out of the directory."""

    def complain(error: OSError) -> None:
        complaints.append(failed(error.filename, f"cannot be read: {error.strerror}"))

    for directory, below, names in os.walk(root, onerror=complain):
        below.sort()
        for name in sorted(names):
            path = Path(directory, name)
            try:
                found = path.lstat()
                if not stat.S_ISREG(found.st_mode):
                    continue
                file = Local.of(path, in_utf8(path.relative_to(root).as_posix()), found)
            except OSError as error:
                complain(error)
            except UnicodeDecodeError:
                complaints.append(failed(path, "its name is not UTF-8"))
            else:
                if reason := file.unfit(by_path=True):
                    complaints.append(failed(path, reason))
                else:
                    yield file


def in_portions(files: Iterator[Local]) -> Iterator[Sequence[Local]]:
    """Bounded in number and, but for a larger file alone, in bytes."""
    portion: list[Local] = []
    size_bytes = 0
    for file in files:
        if len(file.object_id) > _USUAL_ID_CHARACTERS:
            yield [file]  # if the service refuses it, then not with the others, among which it would be looked for
            continue
        if portion and (len(portion) == _PORTION_FILES or size_bytes + file.size > _PORTION_BYTES):
            yield portion
            portion, size_bytes = [], 0
        portion.append(file)
        size_bytes += file.size
    if portion:
        yield portion


def failed(path: Path | str, how: str) -> str:
    """A complaint; names may hold anything, control sequences for the terminal included."""
    return f"failed: {os.fsencode(path).decode(errors='backslashreplace')!r}: {how}"
