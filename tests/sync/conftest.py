"""An application that takes notices, and applications that send them."""

import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import orjson
import pytest
from starlette.datastructures import Secret

from access.signatures import sign
from models import Role, Tenant, User, database
from models.audit import Actor
from models.locations import Directory, Location
from models.pages import Row
from tests.access.conftest import beside
from waybill import seaweedfs
from waybill.settings import Settings
from waybill.syncing import sync_sources

KEY = "5ec2" * 16
JSON = {"Content-Type": "application/json"}

Intake = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def notice(**changed: Any) -> dict[str, Any]:
    """A new one."""
    some = secrets.token_hex(8)
    return {"oeid": "batch", "ref_id": some, "file_name": f"{some}.jpg", "file_type": "image/jpeg"} | changed


@dataclasses.dataclass
class Sender:
    """Of notices of one source, with its secret."""

    http: httpx.AsyncClient
    tenant: Tenant
    row: Row
    secret: bytes

    @property
    def name(self) -> str:
        return f"{self.tenant.slug}.{self.row['name']}"

    @property
    def path(self) -> str:
        return f"/sync/{self.name}/"

    def signed(self, body: bytes = b"") -> dict[str, str]:
        return JSON | {"Authorization": sign(self.secret, body)}

    async def send(self, given: object = None, **headers: str) -> httpx.Response:
        """A new notice unless one is given, or any bytes; what headers say is put over the right ones."""
        body = given if isinstance(given, bytes) else orjson.dumps(given or notice())
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.post(body, {**httpx.Headers(self.signed(body)), **named})

    async def post(self, body: bytes, headers: Any) -> httpx.Response:
        return await self.http.post(self.path, content=body, headers=headers)

    async def refused(self, given: object = None, **headers: str) -> tuple[int, str]:
        """The status and why, of what has changed nothing."""
        before = await self.rows()
        answer = await self.send(given, **headers)
        assert await self.rows() == before
        return answer.status_code, answer.json()["detail"]

    async def counts(self) -> dict[str, int]:
        answer = await self.http.get(self.path, headers=self.signed())
        assert answer.status_code == 200
        return dict(answer.json())

    async def rows(self) -> list[Row]:
        return await database.fetch(
            "SELECT s.id, o.object_id, b.batch_id, s.file_name, s.file_type, s.signature, s.state, o.data FROM syncs s"
            " JOIN objects o ON o.id = s.object_pk JOIN batches b ON b.id = s.batch_pk"
            " WHERE s.tenant_id = $1 ORDER BY s.id",
            self.tenant.id,
        )

    async def set_state(self, state: str) -> None:
        await database.execute(
            "UPDATE syncs SET state = $2::text, taken_by = CASE WHEN $2::text = 'RUNNING' THEN gen_random_uuid() END,"
            " problem = 'NETWORK', path = 'p', size_bytes = 1, sha256 = $3, etag = 'e', synced_at = now()"
            " WHERE tenant_id = $1",
            *(self.tenant.id, state, bytes(32)),
        )


@pytest.fixture(scope="session")
def with_keys(settings: Settings) -> Settings:
    return dataclasses.replace(settings, encryption_keys=Secret(KEY), sync_root="/nowhere")


@pytest.fixture
def intake(http: httpx.AsyncClient, with_keys: Settings, seaweed: seaweedfs.Server) -> Intake:
    """An application with these settings besides."""
    assert http
    return lambda **changed: beside(dataclasses.replace(with_keys, **changed), seaweed)


@pytest.fixture(scope="session")
async def taking(
    http: httpx.AsyncClient, with_keys: Settings, seaweed: seaweedfs.Server
) -> AsyncIterator[httpx.AsyncClient]:
    assert http
    async with beside(with_keys, seaweed) as taking:
        yield taking


NewSender = Callable[..., Awaitable[Sender]]


@pytest.fixture
def new_sender(taking: httpx.AsyncClient, with_keys: Settings) -> NewSender:
    """Of a new source: of a new tenant, or of ``tenant``."""

    async def make(tenant: Tenant | None = None) -> Sender:
        if tenant is None:
            tenant = await Tenant.create(slug=f"t-{secrets.token_hex(6)}")
        user = await User.create(tenant=tenant, name=f"user-{secrets.token_hex(4)}", role=Role.ADMIN)
        name = f"photos-{secrets.token_hex(4)}"
        row, secret = await sync_sources(with_keys).create(
            Actor(tenant.id), tenant.slug, user.id, name, Location("bucket"), Directory(name)
        )
        return Sender(taking, tenant, row, secret.encode())

    return make


@pytest.fixture
async def sender(new_sender: NewSender) -> Sender:
    return await new_sender()


@contextlib.asynccontextmanager
async def by(sender: Sender, application: AbstractAsyncContextManager[httpx.AsyncClient]) -> AsyncIterator[Sender]:
    """The same sender before another application."""
    async with application as http:
        yield dataclasses.replace(sender, http=http)
