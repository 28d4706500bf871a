"""The files of `waybill sync-demo`: which they are, how they get into a bucket, and whether their copies are equal."""

import asyncio
import contextlib
import hashlib
import mimetypes
import os
import shutil
import stat
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import click
import httpx

from storage.signing import Endpoint, presign
from waybill import seaweedfs

BUCKET = "sync-demo"
_AT_ONCE = 8
_IMAGES = ("image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp")  # of which there are thumbnails
_FEWEST_OTHERS = 2  # for each image
_MOST_BYTES = 1024**2
_LONGEST_NAME = 200
_SECONDS = 30
_LEFT_OUT = {"__pycache__", "site-packages", "dist-packages", "node_modules"}
_KEYS = (".key", ".pem")  # those of the library's tests are in every book, but look like secrets
_SYSTEM_IMAGES = Path("/usr/share/pixmaps")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DemoFile:
    """``name`` is its key in the bucket: its path, in one part."""

    path: Path
    name: str
    size: int

    @property
    def type(self) -> str:
        return mimetypes.guess_type(self.name)[0] or "application/octet-stream"


def chosen(most: int) -> list[DemoFile]:
    """Python's own standard library, images in it and those of the system's programs first, the largest of them.

    Nothing in there is anybody's secret: it came with the programs, and all users of the machine may read it.
    """
    library = Path(sysconfig.get_path("stdlib"))
    found = list(_public(library))
    images = [one for one in [*found, *_public(_SYSTEM_IMAGES)] if one.type in _IMAGES]
    others = [one for one in found if one.type not in _IMAGES]
    images = sorted(images, key=lambda one: -one.size)[: max(1, most // (1 + _FEWEST_OTHERS))]
    left = most - len(images)
    step = max(1, len(others) // max(1, left))  # from all parts of the library
    return [*images, *others[::step][:left]]


def _public(root: Path) -> Iterator[DemoFile]:
    """Regular files that all may read, in the order of their paths."""
    for directory, below, names in os.walk(root):
        below[:] = sorted(set(below) - _LEFT_OUT)
        for file_name in sorted(names):
            path = Path(directory, file_name)
            name = path.relative_to(root).as_posix().replace("/", "--")
            if len(os.fsencode(name)) > _LONGEST_NAME or not name.isprintable() or name.endswith(_KEYS):
                continue
            with contextlib.suppress(OSError):
                found = path.lstat()
                if stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IROTH and 0 < found.st_size <= _MOST_BYTES:
                    yield DemoFile(path, name, found.st_size)


class Bucket:
    """That of the demonstration, in the embedded server, which runs."""

    def __init__(self, server: seaweedfs.Server, http: httpx.AsyncClient) -> None:
        self._credentials = server.credentials
        self._endpoint = Endpoint.of(server.url, BUCKET, region=seaweedfs.REGION, path_style=True)
        self._http = http

    async def fill(self, files: Sequence[DemoFile]) -> None:
        """It is made if it is not there."""
        made = await self._ask("PUT", "")
        if not made.is_success and made.status_code != httpx.codes.CONFLICT:
            raise _refused(made)
        await each(files, self._put)

    async def digest(self, file: DemoFile) -> str:
        """The SHA-256 of what is in the bucket, in hexadecimal."""
        return hashlib.sha256((await self._ask("GET", file.name)).raise_for_status().content).hexdigest()

    async def _put(self, file: DemoFile) -> None:
        answer = await self._ask("PUT", file.name, await asyncio.to_thread(file.path.read_bytes))
        if not answer.is_success:
            raise _refused(answer)

    async def _ask(self, method: str, key: str, body: bytes | None = None) -> httpx.Response:
        now = datetime.now(UTC)
        url = presign(self._credentials, method, self._endpoint, key, now=now, expires_in=60)
        return await self._http.request(method, url, content=body)


@asynccontextmanager
async def bucket(server: seaweedfs.Server) -> AsyncIterator[Bucket]:
    async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as http:
        yield Bucket(server, http)


async def each(items: Iterable[_T], act: Callable[[_T], Awaitable[None]]) -> None:
    """Some at once."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(item: _T) -> None:
        async with turns:
            await act(item)

    await asyncio.gather(*map(one, items))


def program() -> str | None:
    """That computes digests and is not ours."""
    return shutil.which("sha256sum")


def unequal(root: Path, expected: Mapping[str, str]) -> list[str]:
    """The paths below the root whose files have not the SHA-256 that is expected of them, or are not there.

    By `sha256sum`, where there is one: it is not ours, and so makes none of our mistakes.
    """
    if (sha256sum := program()) is None:
        return [path for path, digest in expected.items() if _digest(root / path) != digest]
    lines = "".join(f"{digest}  {path}\n" for path, digest in expected.items())
    command = [sha256sum, "--check", "--strict", "-"]
    done = subprocess.run(command, cwd=root, input=lines, capture_output=True, text=True, check=False)
    equal = {line.removesuffix(": OK") for line in done.stdout.splitlines() if line.endswith(": OK")}
    return [path for path in expected if path not in equal]


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _refused(answer: httpx.Response) -> click.ClickException:
    return click.ClickException(f"the embedded S3 server answered {answer.status_code}: {answer.text[:200]}")
