"""Local copies for tests: real files below a root, and their rows as the worker makes them."""

import dataclasses
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.datastructures import Secret

from models import copying, notices, sources
from models.copying import Copied
from models.notices import Notice
from models.pages import Row
from models.sources import NewSource
from tests.access.conftest import beside
from tests.conftest import Caller, NewCaller
from waybill import seaweedfs
from waybill.settings import Settings

KEYS = "0b" * 32
READ = """query($o: String!, $in: Int, $d: Disposition, $w: Int) { object(objectId: $o) { localCopy {
  access(expiresIn: $in, disposition: $d) { url expiresAt } thumbnail(width: $w) { url } } } }"""


@dataclasses.dataclass
class Copies:
    """Of one tenant, whose admin is ``caller``, in one source."""

    caller: Caller
    root: Path
    source: Row

    @property
    def http(self) -> httpx.AsyncClient:
        return self.caller.http

    async def ask(self, object_id: str, name: str = "a.bin", file_type: str = "application/x-some") -> int:
        """For a copy that nobody makes; its primary key."""
        wanted = [Notice("b", object_id, name, file_type)]
        [answer] = await notices.request(self.caller.tenant.id, self.source["id"], wanted)
        assert answer.sync_id is not None
        return answer.sync_id

    async def add(
        self, object_id: str, content: bytes, name: str = "a.bin", file_type: str = "application/x-some"
    ) -> int:
        """A copy that is there; its primary key."""
        key, token = await self.ask(object_id, name, file_type), uuid4()
        [row] = [row for row in await copying.take(token, 1_000) if row["id"] == key]
        path = f"{self.caller.tenant.slug}/photos/b/{object_id}/{name}"
        async with copying.finishing(token, row, Copied(path, len(content), hashlib.sha256(content).digest(), "e")):
            self.path(object_id, name).parent.mkdir(parents=True, exist_ok=True)
            self.path(object_id, name).write_bytes(content)
        return key

    def path(self, object_id: str, name: str = "a.bin") -> Path:
        return self.root / self.caller.tenant.slug / "photos" / "b" / object_id / name

    async def get(self, key: object, caller: Caller | None = None, **headers: str) -> httpx.Response:
        return await self.http.get(f"/copies/{key}", headers=(caller or self.caller).headers | named(headers))

    async def urls(self, object_id: str, **variables: object) -> Any:
        found = await self.caller.execute(READ, o=object_id, **variables)
        return found["object"]["localCopy"]

    async def url(self, object_id: str, **variables: object) -> str:
        return str((await self.urls(object_id, **variables))["access"]["url"])


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def code(answer: httpx.Response) -> tuple[int, str]:
    [error] = answer.json()["errors"]
    return answer.status_code, error["extensions"]["code"]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("copies")


@pytest.fixture(scope="session")
async def with_root(
    http: httpx.AsyncClient, settings: Settings, seaweed: seaweedfs.Server, root: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """An application that has a root of local copies."""
    assert http
    changed = dataclasses.replace(settings, sync_root=str(root), encryption_keys=Secret(KEYS))
    async with beside(changed, seaweed) as with_root:
        yield with_root


@pytest.fixture
async def copies(new_caller: NewCaller, with_root: httpx.AsyncClient, root: Path) -> Copies:
    """Of a new tenant, without any."""
    caller = dataclasses.replace(await new_caller(), http=with_root)
    new = NewSource("photos", {"bucket": "bucket"}, {"directory": "photos"}, 64, b"sealed")
    return Copies(caller, root, await sources.create(caller.tenant.id, caller.user.id, new))
