"""Sync sources, made, changed and given new secrets by the tenant's admins."""

from datetime import timedelta

import strawberry

from access.locations import directory_of
from access.policy import require
from access.sources import DEFAULT_CONCURRENCY, FORMER_FOR
from graph.context import Info
from graph.types.sync_sources import SyncSource
from models import AccessLevel, drifting, sources
from models.errors import BadInput, NotFound, short
from models.locations import Destination, Directory, Location


@strawberry.input(description="A part of a bucket. Without a profile and a role it is read unsigned.")
class SyncLocationInput:
    bucket: str = strawberry.field(description="The bucket.")
    prefix: str = strawberry.field(
        description="What the keys of all files begin with; `{oeid}` and `{ref_id}` in it stand for the batch's and the"
        " object's id. With a file's name after it, it is the file's key.",
        default="",
    )
    endpoint: str | None = strawberry.field(
        description="URL of S3, one that the operator allows; AWS when absent.", default=None
    )
    region: str | None = strawberry.field(description="Its region.", default=None)
    profile: str | None = strawberry.field(
        description="Name of a profile of the service that the operator allows the tenant.", default=None
    )
    role: str | None = strawberry.field(
        description="ARN of a role that trusts the service, which assumes it with the tenant's slug as external id.",
        default=None,
    )

    def place(self) -> Location:
        return Location(
            bucket=self.bucket,
            prefix=self.prefix,
            endpoint=self.endpoint or "",
            region=self.region or "",
            profile=self.profile or "",
            role=self.role or "",
        )


@strawberry.input(one_of=True, description="Where copies go.")
class SyncDestinationInput:
    directory: strawberry.Maybe[str] = strawberry.field(
        description="A directory of this name, below the tenant's own.", default=None
    )
    bucket: strawberry.Maybe[SyncLocationInput] = strawberry.field(description="Another bucket.", default=None)

    def place(self) -> Destination:
        if self.bucket is not None:
            return self.bucket.value.place()
        assert self.directory is not None  # noqa: S101 - for the type checker: it is one of the two
        return Directory(self.directory.value)


@strawberry.input(description="A sync source to make.")
class CreateSyncSourceInput:
    name: str = strawberry.field(description="Unique in the tenant: 1 to 63 of a-z, 0-9 and -.")
    origin: SyncLocationInput = strawberry.field(description="Where its files come from.")
    destination: SyncDestinationInput | None = strawberry.field(
        description="Where the copies go; a directory of the source's name when absent.", default=None
    )
    concurrency: int = strawberry.field(
        description="Most files that are copied at once, up to 64.", default=DEFAULT_CONCURRENCY
    )


@strawberry.input(description="A sync source whose secret is to be replaced.")
class RotateSyncSourceInput:
    name: str = strawberry.field(description="Which one.")
    former_valid_for: int = strawberry.field(
        description="Seconds that the former secret is good for, too, up to 30 days; the one before it never is.",
        default=int(FORMER_FOR.total_seconds()),
    )


@strawberry.input(description="A sync source to change. What is absent stays.")
class UpdateSyncSourceInput:
    name: str = strawberry.field(description="Which one.")
    paused: bool | None = strawberry.field(
        description="Whether it takes no notices, and nothing is copied.", default=None
    )
    concurrency: int | None = strawberry.field(
        description="Most files that are copied at once, up to 64.", default=None
    )


@strawberry.input(description="A sync source whose copies are to be compared with S3.")
class CheckSyncSourceInput:
    name: str = strawberry.field(description="Which one.")
    repair: bool = strawberry.field(
        description="Queue what is missing, damaged, changed or unknown. Nothing is deleted.", default=False
    )
    verify: bool = strawberry.field(description="Read all copies, too.", default=False)


@strawberry.type(description="The source and its secret.")
class SyncSourceSecretPayload:
    source: SyncSource = strawberry.field(description="The source.")
    secret: str = strawberry.field(description="What its notices are signed with from now on. It is shown only now.")


@strawberry.type(description="The source as it is now.")
class SyncSourcePayload:
    source: SyncSource = strawberry.field(description="The source.")


@strawberry.type
class SyncSources:
    @strawberry.mutation(description="Make a sync source. This needs ADMIN access.")
    async def create_sync_source(self, info: Info, input: CreateSyncSourceInput) -> SyncSourceSecretPayload:  # noqa: A002
        viewer = info.context.viewer
        require(viewer, AccessLevel.ADMIN)
        destination = directory_of(input.name) if input.destination is None else input.destination.place()
        row, secret = await info.context.sync_sources.create(
            viewer.actor,
            viewer.tenant_slug,
            viewer.user_id,
            input.name,
            input.origin.place(),
            destination,
            input.concurrency,
        )
        return SyncSourceSecretPayload(source=SyncSource.of(row), secret=secret)

    @strawberry.mutation(description="Replace a sync source's secret. This needs ADMIN access.")
    async def rotate_sync_source(self, info: Info, input: RotateSyncSourceInput) -> SyncSourceSecretPayload:  # noqa: A002
        viewer, former_for = info.context.viewer, timedelta(seconds=input.former_valid_for)
        require(viewer, AccessLevel.ADMIN)
        row, secret = await info.context.sync_sources.rotate(viewer.actor, input.name, former_for)
        return SyncSourceSecretPayload(source=SyncSource.of(row), secret=secret)

    @strawberry.mutation(description="Pause a sync source, let it go on, or change how much is copied at once.")
    async def update_sync_source(self, info: Info, input: UpdateSyncSourceInput) -> SyncSourcePayload:  # noqa: A002
        viewer = info.context.viewer
        require(viewer, AccessLevel.ADMIN)
        if input.paused is None and input.concurrency is None:
            raise BadInput('Pass "paused", "concurrency" or both: there is nothing to change.')
        row = await info.context.sync_sources.change(
            viewer.actor, input.name, paused=input.paused, concurrency=input.concurrency
        )
        return SyncSourcePayload(source=SyncSource.of(row))

    @strawberry.mutation(
        description="Have a worker compare the copies of a sync source with S3; `drift` of the source says then what it"
        " found. This needs ADMIN access."
    )
    async def check_sync_source(self, info: Info, input: CheckSyncSourceInput) -> SyncSourcePayload:  # noqa: A002
        viewer = info.context.viewer
        require(viewer, AccessLevel.ADMIN)
        found = await sources.named(viewer.tenant_id, input.name)
        if found is None:
            raise NotFound(f'There is no source "{short(input.name)}".')
        await drifting.ask(viewer.tenant_id, found["id"], repair=input.repair, verify=input.verify)
        return SyncSourcePayload(source=SyncSource.of(found))
