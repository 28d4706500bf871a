"""Thumbnails of local copies: made by processes of their own (shrinking.py), kept on disk by what they are of."""

import asyncio
import contextlib
import logging
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from prometheus_client import Counter

from models.errors import CopyChanged, NoThumbnail
from sync import disk

MEDIA_TYPE = "image/webp"
# Not imported: Pillow takes 6 MB and a tenth of a second, and is to run in that program alone.
_PROGRAM = Path(__file__).with_name("shrinking.py")
_REFUSED_CODE, _CHANGED_CODE = 65, 66  # its exit codes
DIRECTORY = ".thumbnails"  # of the root, where no tenant's slug begins like that
_MOST_AT_ONCE = 2
_MOST_SECONDS = 30
_MOST_KEPT_BYTES = 1024**3
_KEPT_SECONDS = 7 * 24 * 3600
_PRUNED_EVERY_SECONDS = 3600
_REFUSED = b"!"  # what begins with it is no image but why there is none

_log = logging.getLogger(__name__)
_thumbnails = Counter("waybill_thumbnails_total", "thumbnails that were asked for", ["outcome"])


class Thumbnails:
    """Of the copies below a root. Each is made once, however many ask for it at the same time, and two at once."""

    def __init__(self, root: Path, most_kept_bytes: int = _MOST_KEPT_BYTES) -> None:
        self._directory = root / DIRECTORY
        self._most_kept_bytes = most_kept_bytes
        self._written_bytes = 0  # since the last look at how much there is
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self._making: dict[Path, asyncio.Task[bytes]] = {}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What is too much, or too old, goes meanwhile; nothing is being made after it."""
        pruning = asyncio.create_task(self._pruning())
        try:
            yield
        finally:
            tasks = [pruning, *self._making.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def kept(self, sha256: bytes, width: int) -> bytes | None:
        """Raises NoThumbnail where it is known that there can be none."""
        found = await disk.in_thread(_content, self._place(sha256, width))
        if found is not None:
            _thumbnails.labels("kept").inc()
            return _shown(found)
        return None

    async def made(self, open_file: Callable[[], Awaitable[BinaryIO]], sha256: bytes, width: int) -> bytes:
        """Raises NoThumbnail, CopyChanged, and what ``open_file`` raises."""
        place = self._place(sha256, width)
        if (task := self._making.get(place)) is None:
            self._making[place] = task = asyncio.create_task(self._make(place, open_file, sha256, width))
            task.add_done_callback(lambda done: self._made(place, done))
        # Whoever goes away leaves it to the others, and to the disk.
        return _shown(await asyncio.shield(task))

    def _made(self, place: Path, task: asyncio.Task[bytes]) -> None:
        del self._making[place]
        if not task.cancelled():
            task.exception()  # which somebody else may have seen, or nobody is left to see

    async def _make(
        self, place: Path, open_file: Callable[[], Awaitable[BinaryIO]], sha256: bytes, width: int
    ) -> bytes:
        async with self._turns:
            file = await open_file()
            try:
                content = await _shrunk(file, sha256, width)
            finally:
                disk.close(file)
        if not content.startswith(_REFUSED):
            _thumbnails.labels("made").inc()
        try:
            await disk.in_thread(_keep, place, content)
        except OSError as error:
            _log.warning("thumbnails cannot be kept", extra={"cause": repr(error)})
            return content
        self._written_bytes += len(content)
        if self._written_bytes > self._most_kept_bytes // 16:
            await self._prune()
        return content

    async def _pruning(self) -> None:
        while True:
            await self._prune()
            await asyncio.sleep(_PRUNED_EVERY_SECONDS)

    async def _prune(self) -> None:
        self._written_bytes = 0
        try:
            await disk.in_thread(prune, self._directory, self._most_kept_bytes)
        except OSError as error:
            _log.warning("thumbnails cannot be pruned", extra={"cause": repr(error)})

    def _place(self, sha256: bytes, width: int) -> Path:
        name = sha256.hex()
        return self._directory / name[:2] / f"{name}-{width}"


async def _shrunk(file: BinaryIO, sha256: bytes, width: int) -> bytes:
    """What is to be kept: the image, or why there is none. Raises CopyChanged, and NoThumbnail for what may pass."""
    program = [sys.executable, "-I", str(_PROGRAM), str(width), sha256.hex()]
    process = await asyncio.create_subprocess_exec(
        *program,
        stdin=file,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},  # ours has secrets in it
        start_new_session=True,  # Ctrl-C is ours to pass on
    )
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            image, complaint = await process.communicate()
    except TimeoutError:
        _refuse(sha256, f"it takes more than {_MOST_SECONDS} seconds")
        raise NoThumbnail(_message("it takes too long")) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return image
    if process.returncode == _CHANGED_CODE:
        raise CopyChanged
    reason = complaint.decode(errors="replace")[-200:] if process.returncode == _REFUSED_CODE else "it is broken"
    _refuse(sha256, reason, exit_code=process.returncode)
    return _REFUSED + reason.encode()


def _refuse(sha256: bytes, reason: str, **more: object) -> None:
    _thumbnails.labels("refused").inc()
    _log.warning("no thumbnail could be made", extra={"sha256": sha256.hex(), "reason": reason, **more})


def _shown(content: bytes) -> bytes:
    if content.startswith(_REFUSED):
        raise NoThumbnail(_message(content.removeprefix(_REFUSED).decode(errors="replace")))
    return content


def _message(reason: str) -> str:
    return f"There can be no thumbnail of this file: {reason}."


def _content(place: Path) -> bytes | None:
    """None where there is none, or only what a crash has left of it."""
    try:
        content = place.read_bytes()
    except OSError:
        return None
    is_whole = content.startswith(_REFUSED) or int.from_bytes(content[4:8], "little") + 8 == len(content)
    return content if is_whole else None


def _keep(place: Path, content: bytes) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = place.with_name(f"{place.name}.{secrets.token_hex(8)}")
    with unfinished.open("xb") as file:
        file.write(content)
    unfinished.replace(place)


def prune(directory: Path, most_bytes: int) -> None:
    """The oldest go until nine tenths of so many bytes are left, and whatever is older than a week."""
    found = sorted(_files(directory))
    surplus = sum(size for _, size, _ in found)
    surplus = surplus - most_bytes * 9 // 10 if surplus > most_bytes else 0
    for modified, size, path in found:
        if surplus <= 0 and modified > time.time() - _KEPT_SECONDS:
            break
        with contextlib.suppress(FileNotFoundError):  # another process prunes, too
            path.unlink()
        surplus -= size


def _files(directory: Path) -> Iterator[tuple[float, int, Path]]:
    if not directory.is_dir():
        return
    for below in os.scandir(directory):
        for entry in os.scandir(below.path):
            with contextlib.suppress(FileNotFoundError):
                found = entry.stat(follow_symlinks=False)
                yield found.st_mtime, found.st_size, Path(entry.path)
