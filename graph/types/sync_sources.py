"""SyncSource, and the places that files come from and go to."""

from datetime import datetime

import orjson
import strawberry

from access.policy import manages_sources, sees_everything
from graph.context import Info
from graph.types.drift import DriftReport
from graph.types.node import Node, global_id
from graph.types.people import User
from graph.types.syncs import SyncStats
from models import locations
from models.locations import Location
from models.pages import Row


@strawberry.type(description="A part of a bucket, and in whose name the service reads or writes there.")
class SyncLocation:
    bucket: str = strawberry.field(description="The bucket.")
    prefix: str = strawberry.field(
        description="What keys begin with; `{oeid}` and `{ref_id}` in it stand for the batch's and the object's id."
    )
    endpoint: str | None = strawberry.field(description="URL of S3; null: AWS.")
    region: str | None = strawberry.field(description="Its region; null: that of the profile, or of the service.")
    profile: str | None = strawberry.field(description="Name of a profile of the service's AWS configuration.")
    role: str | None = strawberry.field(description="ARN of a role, which the service assumes.")

    @classmethod
    def of(cls, place: Location) -> "SyncLocation":
        return cls(
            bucket=place.bucket,
            prefix=place.prefix,
            endpoint=place.endpoint or None,
            region=place.region or None,
            profile=place.profile or None,
            role=place.role or None,
        )


@strawberry.type(description="Where copies go: one of the two.")
class SyncDestination:
    directory: str | None = strawberry.field(description="Below the tenant's own directory of the service.")
    bucket: SyncLocation | None = strawberry.field(description="Another bucket.")


@strawberry.type(description="Where files are copied from, at the notice of another application or of a user.")
class SyncSource(Node):
    row: strawberry.Private[Row]
    name: str = strawberry.field(description="Unique in the tenant.")
    full_name: str = strawberry.field(description="With the tenant's, as addresses and commands say it: acme.photos.")
    path: str = strawberry.field(description="Of the URL that takes its notices.")
    concurrency: int = strawberry.field(description="Most files that are copied at once.")
    paused_at: datetime | None = strawberry.field(
        description="Since when it takes no notices and nothing is copied; null while it is not paused."
    )
    created_at: datetime = strawberry.field(description="When it was made.")

    @classmethod
    def of(cls, row: Row) -> "SyncSource":
        full_name = f"{row['tenant_slug']}.{row['name']}"
        return cls(
            id=global_id("SyncSource", row["id"]),
            row=row,
            name=row["name"],
            full_name=full_name,
            path=f"/sync/{full_name}/",
            concurrency=row["concurrency"],
            paused_at=row["paused_at"],
            created_at=row["created_at"],
        )

    @strawberry.field(description="Who made it, and so made the batches that its notices make.")
    async def created_by(self, info: Info) -> User | None:
        row = await info.context.users.load(self.row["created_by_id"])
        return row and User.of(row)

    @strawberry.field(description="Where its files come from; for those with ADMIN access, null for all others.")
    def origin(self, info: Info) -> SyncLocation | None:
        if not manages_sources(info.context.viewer):
            return None
        return SyncLocation.of(locations.location(orjson.loads(self.row["origin"])))

    @strawberry.field(description="Where the copies go; for those with ADMIN access, null for all others.")
    def destination(self, info: Info) -> SyncDestination | None:
        if not manages_sources(info.context.viewer):
            return None
        place = locations.destination(orjson.loads(self.row["destination"]))
        if isinstance(place, Location):
            return SyncDestination(directory=None, bucket=SyncLocation.of(place))
        return SyncDestination(directory=place.directory, bucket=None)

    @strawberry.field(
        description="When its secret was last replaced; for those with ADMIN access, null for all others."
    )
    def rotated_at(self, info: Info) -> datetime | None:
        moment: datetime | None = self.row["rotated_at"]
        return moment if manages_sources(info.context.viewer) else None

    @strawberry.field(
        description="Until when the secret before is good, too; for those with ADMIN access, null for all others."
    )
    def former_secret_until(self, info: Info) -> datetime | None:
        moment: datetime | None = self.row["former_until"]
        return moment if manages_sources(info.context.viewer) else None

    @strawberry.field(
        description="How many copies of its files there are; null for those who do not see everything in the tenant."
    )
    async def stats(self, info: Info) -> SyncStats | None:
        if not sees_everything(info.context.viewer):
            return None
        return SyncStats.of([await info.context.sync_standings.load(self.row["id"])])

    @strawberry.field(
        description="The latest comparison of its copies with S3; for those with ADMIN access, null for all others, and"
        " before the first."
    )
    async def drift(self, info: Info) -> DriftReport | None:
        row = await self._drift(info)
        return DriftReport.of(row) if row and row["checked_at"] else None

    @strawberry.field(
        description="Since when a comparison is wanted that is not made yet; null for all but those with ADMIN access."
    )
    async def drift_asked_at(self, info: Info) -> datetime | None:
        row = await self._drift(info)
        moment: datetime | None = row and row["asked_at"]
        return moment

    async def _drift(self, info: Info) -> Row | None:
        return await info.context.drifts.load(self.row["id"]) if manages_sources(info.context.viewer) else None
