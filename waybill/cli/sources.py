"""Sync sources. These commands work on the database itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import orjson

from access.locations import directory_of
from access.sources import DEFAULT_CONCURRENCY, Sources
from models import Role, Tenant, User, locations, sources
from models.audit import Actor
from models.errors import NotFound
from models.locations import Destination, Directory, Location
from models.pages import Bounds, Row
from models.people import STAND_IN
from waybill.cli.admin import run, show, tenant_named
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import read_settings
from waybill.cli.keys import Duration
from waybill.kept_secrets import with_kept_secrets
from waybill.syncing import sync_sources

_MOST_SHOWN = 1_000


def opened(data_dir: Path) -> Sources:
    """As the service has them: with the settings, or else as `waybill dev` has them in the data directory."""
    settings = read_settings()
    if not str(settings.database_url):
        settings = with_kept_secrets(settings, data_dir)
        if not settings.s3_buckets:
            from waybill import seaweedfs  # noqa: PLC0415 - as in waybill/cli/service.py
            from waybill.dev import with_files  # noqa: PLC0415

            settings = with_files(settings, seaweedfs.Server(data_dir))
    return sync_sources(settings)


def _place_options(prefix: str, whose: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """All options of a place in S3 but its bucket."""
    options = {
        "prefix": f"What keys in {whose} begin with; {{oeid}} and {{ref_id}} stand for the ids.",
        "endpoint": f"URL of S3 for {whose}, one of WAYBILL_SYNC_ENDPOINTS.  [default: AWS; of embedded, its own]",
        "region": f"Region of {whose}.",
        "profile": f"Profile for {whose}, one of WAYBILL_SYNC_PROFILES; embedded is the server of `waybill dev`.",
        "role": f"ARN of a role to assume for {whose}.",
    }

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name, text in reversed(options.items()):
            command = click.option(f"--{prefix}{name}", default="", help=text)(command)
        return command

    return add


@click.group()
def source() -> None:
    """Sync sources are where local copies of files come from."""


@source.command("create")
@data_dir_option
@click.argument("tenant")
@click.argument("name")
@click.option("--bucket", required=True, help="Bucket that the files are in.")
@_place_options("", "the bucket")
@click.option("--directory", help="Directory of the copies, in the tenant's own.  [default: NAME]")
@click.option("--to-bucket", help="Another bucket for the copies, instead of a directory.")
@_place_options("to-", "that other bucket")
@click.option("--concurrency", default=DEFAULT_CONCURRENCY, show_default=True, help="Most files copied at once.")
@click.option("--user", help="Whose the batches are that it makes.  [default: the tenant's first admin]")
def create_source(
    data_dir: Path,
    tenant: str,
    name: str,
    *,
    directory: str | None,
    to_bucket: str | None,
    concurrency: int,
    user: str | None,
    **place: str,
) -> None:
    """Make a source and print its secret, which signs its notices. It cannot be shown again."""
    to = {option.removeprefix("to_"): value for option, value in place.items() if option.startswith("to_")}
    if directory is not None and to_bucket is not None:
        raise click.UsageError("--directory and --to-bucket exclude each other")
    if to_bucket is None and any(to.values()):
        raise click.UsageError("--to-prefix and the like need --to-bucket")
    destination: Destination = directory_of(name) if directory is None else Directory(directory)
    if to_bucket is not None:
        destination = _location(data_dir, bucket=to_bucket, **to)
    origin = _location(data_dir, **{option: value for option, value in place.items() if not option.startswith("to_")})

    async def work() -> str:
        found = await tenant_named(tenant)
        whose = await _maker(found, user)
        _, secret = await opened(data_dir).create(
            Actor(found.id), found.slug, whose.id, name, origin, destination, concurrency
        )
        return secret

    click.echo(run(data_dir, work))
    click.echo(f"This secret signs what is sent to POST /sync/{tenant}.{name}/.", err=True)
    click.echo(f"To try it: waybill sign --source {tenant}.{name} NOTICE.json", err=True)


@source.command("list")
@data_dir_option
@click.argument("tenant", required=False)
def list_sources(data_dir: Path, tenant: str | None) -> None:
    """List the sources of a tenant, or of all, with how many copies there are of each."""

    async def work() -> Sequence[tuple[Any, ...]]:
        tenants = await Tenant.all().order_by("id") if tenant is None else [await tenant_named(tenant)]
        return [row for one in tenants for row in await _rows(one)]

    headings = ("source", "from", "to", "at once", "queued", "running", "synced", "failed", "paused")
    show(headings, run(data_dir, work))


@source.command("rotate")
@data_dir_option
@click.argument("tenant")
@click.argument("name")
@click.option(
    "--former-for", type=Duration(), default="1d", show_default=True, help="How long the former secret is good, too."
)
def rotate_source(data_dir: Path, tenant: str, name: str, former_for: timedelta) -> None:
    """Give a source a new secret and print it. The former one is good for a while, the one before it no more."""

    async def work() -> str:
        found = await tenant_named(tenant)
        _, secret = await opened(data_dir).rotate(Actor(found.id), name, former_for)
        return secret

    click.echo(run(data_dir, work))


@source.command("pause")
@data_dir_option
@click.argument("tenant")
@click.argument("name")
def pause_source(data_dir: Path, tenant: str, name: str) -> None:
    """Take no notices of a source and copy nothing, until it is resumed. What is being copied is finished."""
    _change(data_dir, tenant, name, paused=True)
    click.echo(f"source {tenant}.{name} paused")


@source.command("resume")
@data_dir_option
@click.argument("tenant")
@click.argument("name")
def resume_source(data_dir: Path, tenant: str, name: str) -> None:
    """Let a source go on that was paused."""
    _change(data_dir, tenant, name, paused=False)
    click.echo(f"source {tenant}.{name} goes on")


def _change(data_dir: Path, tenant: str, name: str, *, paused: bool) -> None:
    async def work() -> None:
        found = await tenant_named(tenant)
        await opened(data_dir).change(Actor(found.id), name, paused=paused)

    run(data_dir, work)


def _location(data_dir: Path, **given: str) -> Location:
    """Of the embedded server, whose address nobody knows by heart, at that where none is given."""
    place = Location(**given)
    if not place.profile or place.endpoint or str(read_settings().database_url):
        return place
    from waybill import seaweedfs  # noqa: PLC0415 - as in waybill/cli/service.py

    return replace(place, endpoint=seaweedfs.Server(data_dir).url) if place.profile == seaweedfs.PROFILE else place


async def _maker(tenant: Tenant, name: str | None) -> User:
    people = User.filter(tenant=tenant, revoked_at=None).exclude(name__startswith=STAND_IN)
    found = await (people.filter(role=Role.ADMIN).order_by("id") if name is None else people.filter(name=name)).first()
    if found is None:
        what = "admin" if name is None else f'user "{name}"'
        raise NotFound(f'there is no {what} in "{tenant.slug}"')
    return found


async def _rows(tenant: Tenant) -> list[tuple[Any, ...]]:
    found = (await sources.page(tenant.id, Bounds(_MOST_SHOWN))).rows
    counts = await sources.standings(tenant.id)
    return [
        (
            *(f"{tenant.slug}.{row['name']}", *_places(row), row["concurrency"]),
            *(f"{counts[row['id']][state]:,}" for state in ("queued", "running", "synced", "failed")),
            row["paused_at"],
        )
        for row in found
    ]


def _places(row: Row) -> tuple[str, str]:
    origin = locations.location(orjson.loads(row["origin"]))
    destination = locations.destination(orjson.loads(row["destination"]))
    to = _in_s3(destination) if isinstance(destination, Location) else destination.directory
    return _in_s3(origin), to


def _in_s3(place: Location) -> str:
    return f"s3://{place.bucket}/{place.prefix}"
