"""Tenants, users and keys. These commands work on the database itself, an empty one too."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from tortoise.exceptions import IntegrityError, ValidationError

from access.credentials import create_key
from models import AccessLevel, ApiKey, Role, Tenant, User, database, people
from models.errors import AlreadyExists, BadInput, NotFound
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import chosen_database, read_settings
from waybill.cli.quotas import BYTES, COUNT, Quota, in_words, of_bytes


def _run(data_dir: Path, work: Callable[[], Awaitable[Any]]) -> Any:
    async def inside(url: str) -> Any:
        if await database.is_empty(url):
            await database.migrate(url)
        async with database.connected(database.config(url, max_connections=1)):
            return await work()

    with chosen_database(data_dir) as url:
        return asyncio.run(inside(url))


@click.group()
def tenant() -> None:
    """Tenants isolate users, batches, objects and keys."""


@tenant.command("create")
@data_dir_option
@click.argument("slug")
@click.option(
    "--member-access",
    type=click.Choice([AccessLevel.NONE, AccessLevel.VIEW, AccessLevel.EDIT]),
    default=AccessLevel.NONE,
    show_default=True,
    help="What members may do with everything in the tenant.",
)
@click.option("--quota-bytes", type=BYTES, help="Most bytes of files.  [default: WAYBILL_DEFAULT_QUOTA_BYTES]")
@click.option("--quota-objects", type=COUNT, help="Most objects.  [default: WAYBILL_DEFAULT_QUOTA_OBJECTS]")
def create_tenant(data_dir: Path, slug: str, member_access: AccessLevel, **quotas: Quota | None) -> None:
    """Make a tenant. Quotas are numbers, of bytes with a unit if you like (10GB, 1TiB), or "none"."""
    most: dict[str, Any] = read_settings().default_quotas | _given(quotas)

    async def work() -> None:
        try:
            await Tenant.create(slug=slug, member_access=member_access, **most)
        except (IntegrityError, ValidationError) as error:
            if _violated(error) != "tenants_slug_unique":
                raise BadInput("a slug is 1 to 63 of a-z, 0-9 and -, and does not begin with -") from None
            raise AlreadyExists(f'there is a tenant "{slug}" already') from None

    _run(data_dir, work)
    click.echo(f"tenant {slug} made; next: waybill user create {slug} NAME --role ADMIN")


@tenant.command("list")
@data_dir_option
def list_tenants(data_dir: Path) -> None:
    """List tenants with what they use of their quotas; bytes reserved are those of uploads under way."""
    rows = [
        (
            *(row["slug"], row["member_access"]),
            *(of_bytes(row["used_bytes"]), of_bytes(row["reserved_bytes"]), of_bytes(row["quota_bytes"])),
            *(f"{row['used_objects']:,}", in_words(row["quota_objects"])),
            *(row["created_at"], row["revoked_at"]),
        )
        for row in _run(data_dir, people.usage)
    ]
    _print(("tenant", "members may", "bytes", "reserved", "of", "objects", "of", "made", "revoked"), rows)


@tenant.command("quota")
@data_dir_option
@click.argument("slug")
@click.option("--bytes", "quota_bytes", type=BYTES, help="Most bytes of files, those under way included.")
@click.option("--objects", "quota_objects", type=COUNT, help="Most objects.")
def set_quota(data_dir: Path, slug: str, **quotas: Quota | None) -> None:
    """Set quotas of a tenant, from now on, and show what it uses of them.

    Quotas are numbers, of bytes with a unit if you like (10GB, 1TiB), or "none". Below what is used already, nothing
    new is taken; everything can be read and deleted.
    """

    async def work() -> Any:
        found = await _tenant(slug)
        if most := _given(quotas):
            await Tenant.filter(id=found.id).update(**most)
        [row] = await people.usage(found.id)
        return row

    row = _run(data_dir, work)
    click.echo(
        f"bytes: {row['used_bytes']:,} used, {row['reserved_bytes']:,} reserved, of {in_words(row['quota_bytes'])}"
    )
    click.echo(f"objects: {row['used_objects']:,} used, of {in_words(row['quota_objects'])}")


@tenant.command("revoke")
@data_dir_option
@click.argument("slug")
def revoke_tenant(data_dir: Path, slug: str) -> None:
    """Refuse all keys of a tenant from now on. Nothing is deleted."""
    _run(data_dir, lambda: _revoke(Tenant.filter(slug=slug), f'tenant "{slug}"'))
    click.echo(f"tenant {slug} revoked")


@click.group()
def user() -> None:
    """Users are the people and programs of a tenant."""


@user.command("create")
@data_dir_option
@click.argument("tenant")
@click.argument("name")
@click.option(
    "--role", type=click.Choice(list(Role)), default=Role.MEMBER, show_default=True, help="ADMIN may do everything."
)
def create_user(data_dir: Path, tenant: str, name: str, role: Role) -> None:
    """Make a user in a tenant."""

    async def work() -> None:
        if not name or len(name) > 128:
            raise BadInput("a user's name has 1 to 128 characters")
        try:
            await User.create(tenant=await _tenant(tenant), name=name, role=role)
        except IntegrityError:
            raise AlreadyExists(f'there is a user "{name}" in "{tenant}" already') from None

    _run(data_dir, work)
    click.echo(f"user {name} made; next: waybill key create {tenant} {name}")


@user.command("list")
@data_dir_option
@click.argument("tenant")
def list_users(data_dir: Path, tenant: str) -> None:
    """List the users of a tenant."""

    async def work() -> Sequence[tuple[Any, ...]]:
        found = User.filter(tenant=await _tenant(tenant)).order_by("name")
        return await found.values_list("name", "role", "created_at", "revoked_at")

    _print(("user", "role", "made", "revoked"), _run(data_dir, work))


@user.command("revoke")
@data_dir_option
@click.argument("tenant")
@click.argument("name")
def revoke_user(data_dir: Path, tenant: str, name: str) -> None:
    """Refuse all keys of a user from now on. What the user made stays."""
    _run(data_dir, lambda: _revoke(User.filter(tenant__slug=tenant, name=name), f'user "{name}" in "{tenant}"'))
    click.echo(f"user {name} revoked")


@click.group()
def key() -> None:
    """API keys are what users authenticate with."""


@key.command("create")
@data_dir_option
@click.argument("tenant")
@click.argument("user")
@click.option("--name", default="key", show_default=True, help="What it is for.")
def create_api_key(data_dir: Path, tenant: str, user: str, name: str) -> None:
    """Make a key of a user and print it. It cannot be shown again."""

    async def work() -> str:
        if not name or len(name) > 128:
            raise BadInput("a key's name has 1 to 128 characters")
        found = await User.get_or_none(tenant__slug=tenant, name=user)
        if found is None:
            raise NotFound(f'there is no user "{user}" in "{tenant}"')
        return await create_key(found, name)

    click.echo(_run(data_dir, work))


@key.command("list")
@data_dir_option
@click.argument("tenant")
def list_keys(data_dir: Path, tenant: str) -> None:
    """List the keys of a tenant, by their public parts."""

    async def work() -> Sequence[tuple[Any, ...]]:
        found = ApiKey.filter(tenant=await _tenant(tenant)).order_by("id")
        return await found.values_list("public_id", "user__name", "name", "created_at", "revoked_at")

    _print(("key", "user", "name", "made", "revoked"), _run(data_dir, work))


@key.command("revoke")
@data_dir_option
@click.argument("public_id")
def revoke_key(data_dir: Path, public_id: str) -> None:
    """Refuse a key from now on. PUBLIC_ID is its middle part, or the whole key."""
    wanted = public_id.split("_")[1] if public_id.count("_") == 2 else public_id
    _run(data_dir, lambda: _revoke(ApiKey.filter(public_id=wanted), f'key "{wanted}"'))
    click.echo(f"key {wanted} revoked")


def _given(quotas: Mapping[str, Quota | None]) -> dict[str, int | None]:
    return {name: quota.most for name, quota in quotas.items() if quota is not None}


async def _tenant(slug: str) -> Tenant:
    found = await Tenant.get_or_none(slug=slug)
    if found is None:
        raise NotFound(f'there is no tenant "{slug}"')
    return found


async def _revoke(rows: Any, what: str) -> None:
    """Revoking twice keeps the first time."""
    if not await rows.exists():
        raise NotFound(f"there is no {what}")
    await rows.filter(revoked_at=None).update(revoked_at=datetime.now(UTC))


def _violated(error: Exception) -> str | None:
    return getattr(error.__cause__, "constraint_name", None)


def _print(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console().print(table)


def _cell(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    return "" if value is None else str(value)
