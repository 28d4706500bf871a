"""A tenant's source of files in a bucket, the notices of them, and what has become of those."""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from access.locations import Allowed
from models import Role, SyncSource, Tenant, User, database, notices, sources
from models.locations import Destination, Directory, Location, stored
from models.notices import Notice, Outcome
from models.pages import Row
from models.sources import NewSource
from storage.client import Storage
from storage.locations import Locations
from tests.conftest import BUCKETS
from tests.models.conftest import until
from waybill import seaweedfs
from waybill.copies import _THREADS
from worker.copier import Copier
from worker.copies import Copies
from worker.drift import Checker
from worker.root import Root
from worker.threads import Threads
from worker.transfers import Transfers

BUCKET = BUCKETS[0]


@dataclass
class Mirror:
    """One source, and the root of its copies."""

    storage: Storage
    source: Row
    root: Path
    endpoint: str
    prefix: str = field(default_factory=lambda: f"mirror/{secrets.token_hex(6)}/")

    @property
    def tenant_slug(self) -> str:
        return str(self.source["tenant_slug"])

    def key(self, ref_id: str = "r", oeid: str = "b", name: str = "a.bin") -> str:
        origin = Location(BUCKET, self.source["origin_prefix"])
        return origin.key(oeid, ref_id, name)

    async def put(self, body: bytes, ref_id: str = "r", oeid: str = "b", name: str = "a.bin") -> None:
        await self.storage.client.put_object(Bucket=BUCKET, Key=self.key(ref_id, oeid, name), Body=body)

    async def ask(self, *ref_ids: str, oeid: str = "b", name: str = "a.bin") -> None:
        wanted = [Notice(oeid, ref_id, name, "image/png") for ref_id in ref_ids or ("r",)]
        answers = await notices.request(self.source["tenant_id"], self.source["id"], wanted)
        assert {answer.outcome for answer in answers} == {Outcome.QUEUED}

    async def rows(self) -> dict[str, Row]:
        """By their ref_ids."""
        found = await database.fetch(
            "SELECT s.*, o.object_id, o.data, s.due_at - now() AS due_in FROM syncs s JOIN objects o"
            " ON o.tenant_id = s.tenant_id AND o.id = s.object_pk WHERE s.tenant_id = $1 AND s.source_id = $2",
            *(self.source["tenant_id"], self.source["id"]),
        )
        return {row["object_id"]: row for row in found}

    async def states(self) -> dict[str, str]:
        return {ref_id: row["state"] for ref_id, row in (await self.rows()).items()}

    async def problem(self, ref_id: str = "r") -> tuple[str, str | None, int]:
        row = (await self.rows())[ref_id]
        return row["state"], row["problem"], row["attempts"]

    async def due_now(self, age: str = "0") -> None:
        """As if the notices had come so long ago."""
        await database.execute(
            "UPDATE syncs SET due_at = now(), queued_at = queued_at - $3::text::interval"
            " WHERE tenant_id = $1 AND source_id = $2",
            *(self.source["tenant_id"], self.source["id"], age),
        )

    def file(self, ref_id: str = "r", oeid: str = "b", name: str = "a.bin") -> Path:
        return self.root / self.tenant_slug / "copies" / oeid / ref_id / name

    def partials(self) -> list[Path]:
        directory = self.root / ".partial"
        return sorted(path for path in directory.iterdir() if path.suffix != ".kept") if directory.exists() else []

    async def pause(self) -> None:
        await SyncSource.filter(id=self.source["id"]).update(paused_at=self.source["created_at"])


async def new_mirror(
    storage: Storage,
    seaweed: seaweedfs.Server,
    root: Path,
    *,
    destination: Destination | None = None,
    concurrency: int = 4,
    **origin: Any,
) -> Mirror:
    """``origin`` is what differs from a location in the embedded server."""
    tenant = await Tenant.create(slug=f"t{secrets.token_hex(8)}")
    user = await User.create(tenant=tenant, name="ada", role=Role.ADMIN)
    prefix = f"mirror/{secrets.token_hex(6)}/{{oeid}}/{{ref_id}}-"
    place = Location(
        **{"bucket": BUCKET, "prefix": prefix, "endpoint": seaweed.url, "profile": seaweedfs.PROFILE} | origin
    )
    new = NewSource("photos", stored(place), stored(destination or Directory("copies")), concurrency, b"sealed")
    source = dict(await sources.create(tenant.id, user.id, new))
    return Mirror(storage, {**source, "origin_prefix": place.prefix}, root, place.endpoint)


class Everything:
    """All that a tenant may name, for what is not about what it may: a Collection that is only asked what is in it."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Any:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


@asynccontextmanager
async def new_copies(
    seaweed: seaweedfs.Server, root: Path | None, *, reserve_bytes: int = 1, allowed: Allowed | None = None
) -> AsyncIterator[Copies]:
    """A worker's, in this process."""
    everything = Everything()
    allowed = allowed or Allowed(everything, everything, directories=root is not None)
    async with AsyncExitStack() as stack:
        places = Locations("us-east-1", {seaweedfs.PROFILE: seaweed.credentials})
        stack.push_async_callback(places.close)
        threads = Threads(_THREADS)
        stack.callback(threads.close)
        files = Root(str(root), reserve_bytes) if root else None
        copier = Copier(places, allowed, files, Transfers(threads))
        yield Copies(copier, Checker(copier, 256))


async def all_end(mirror: Mirror, seconds: float = 30) -> dict[str, str]:
    """The states, when nothing is queued or running any more."""

    async def ended() -> bool:
        return not {"QUEUED", "RUNNING"} & set((await mirror.states()).values())

    await until(ended, seconds)
    return await mirror.states()
