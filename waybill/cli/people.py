"""Tenants and users. These commands work on the database itself, an empty one too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from tortoise.exceptions import IntegrityError, ValidationError

from models import AccessLevel, Action, Role, Tenant, User, audit, database, people
from models.audit import Actor, Entry
from models.errors import AlreadyExists, BadInput, NotFound
from waybill.cli.admin import revoke, run, show, tenant_named
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import read_settings
from waybill.cli.quotas import BYTES, COUNT, Quota, in_words, of_bytes


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
            async with database.transaction():
                made = await Tenant.create(slug=slug, member_access=member_access, **most)
                await _record(made.id, Action.TENANT_CREATED, memberAccess=member_access, **_quotas(most))
        except (IntegrityError, ValidationError) as error:
            if _violated(error) != "tenants_slug_unique":
                raise BadInput("a slug is 1 to 63 of a-z, 0-9 and -, and does not begin with -") from None
            raise AlreadyExists(f'there is a tenant "{slug}" already') from None

    run(data_dir, work)
    click.echo(f"tenant {slug} made; next: waybill user create {slug} NAME --role ADMIN")


@tenant.command("list")
@data_dir_option
def list_tenants(data_dir: Path) -> None:
    """List tenants with what they use of their quotas; bytes reserved are those of uploads under way or deleted."""
    rows = [
        (
            *(row["slug"], row["member_access"]),
            *(of_bytes(row["used_bytes"]), of_bytes(row["reserved_bytes"]), of_bytes(row["quota_bytes"])),
            *(f"{row['used_objects']:,}", in_words(row["quota_objects"])),
            *(row["created_at"], row["revoked_at"]),
        )
        for row in run(data_dir, people.usage_of_all)
    ]
    show(("tenant", "members may", "bytes", "reserved", "of", "objects", "of", "made", "revoked"), rows)


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
        found = await tenant_named(slug)
        if most := _given(quotas):
            async with database.transaction():
                await Tenant.filter(id=found.id).update(**most)
                await _record(found.id, Action.QUOTAS_SET, **_quotas(most))
        return await people.usage(found.id)

    row = run(data_dir, work)
    click.echo(
        f"bytes: {row['used_bytes']:,} used, {row['reserved_bytes']:,} reserved, of {in_words(row['quota_bytes'])}"
    )
    click.echo(f"objects: {row['used_objects']:,} used, of {in_words(row['quota_objects'])}")


@tenant.command("revoke")
@data_dir_option
@click.argument("slug")
def revoke_tenant(data_dir: Path, slug: str) -> None:
    """Refuse all keys of a tenant from now on. Nothing is deleted."""

    async def work() -> None:
        async with database.transaction():
            await revoke(Tenant.filter(slug=slug), f'tenant "{slug}"')
            await _record((await tenant_named(slug)).id, Action.TENANT_SUSPENDED)

    run(data_dir, work)
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
@click.option("--oidc-subject", help="What the OIDC issuer calls the user, by the claim WAYBILL_OIDC_CLAIM.")
def create_user(data_dir: Path, tenant: str, name: str, role: Role, oidc_subject: str | None) -> None:
    """Make a user in a tenant."""

    async def work() -> None:
        people.check_name(name)
        subject = _subject(oidc_subject)
        try:
            async with database.transaction():
                made = await User.create(tenant=await tenant_named(tenant), name=name, role=role, oidc_subject=subject)
                await _record(made.tenant_id, Action.USER_CREATED, userName=name, role=role, **_subject_of(subject))
        except IntegrityError as error:
            raise _taken(error, f'there is a user "{name}" in "{tenant}" already') from None

    run(data_dir, work)
    click.echo(f"user {name} made; next: waybill key create {tenant} {name}")


@user.command("list")
@data_dir_option
@click.argument("tenant")
def list_users(data_dir: Path, tenant: str) -> None:
    """List the users of a tenant."""

    async def work() -> Sequence[tuple[Any, ...]]:
        found = User.filter(tenant=await tenant_named(tenant)).order_by("name")
        return await found.values_list("name", "role", "oidc_subject", "created_at", "revoked_at")

    show(("user", "role", "OIDC subject", "made", "revoked"), run(data_dir, work))


@user.command("set")
@data_dir_option
@click.argument("tenant")
@click.argument("name")
@click.option("--oidc-subject", required=True, help="What the OIDC issuer calls the user; empty: nothing any more.")
def set_user(data_dir: Path, tenant: str, name: str, oidc_subject: str) -> None:
    """Change a user. A subject belongs to one user of one tenant."""

    async def work() -> None:
        subject = _subject(oidc_subject)
        try:
            async with database.transaction():
                of = await tenant_named(tenant)
                if not await User.filter(tenant=of, name=name).update(oidc_subject=subject):
                    raise NotFound(f'there is no user "{name}" in "{tenant}"')
                await _record(of.id, Action.USER_CHANGED, userName=name, oidcSubject=subject or "")
        except IntegrityError as error:
            raise _taken(error, f'there is a user "{name}" in "{tenant}" already') from None

    run(data_dir, work)
    click.echo(f"user {name} changed")


@user.command("revoke")
@data_dir_option
@click.argument("tenant")
@click.argument("name")
def revoke_user(data_dir: Path, tenant: str, name: str) -> None:
    """Refuse all keys of a user from now on. What the user made stays; a tenant's last admin stays, too."""

    async def work() -> None:
        found = await User.get_or_none(tenant__slug=tenant, name=name)
        if found is None:
            raise NotFound(f'there is no user "{name}" in "{tenant}"')
        async with database.transaction():
            await people.revoke_user(found.tenant_id, found.id)
            await _record(found.tenant_id, Action.USER_REVOKED, userName=name)

    run(data_dir, work)
    click.echo(f"user {name} revoked")


def _given(quotas: Mapping[str, Quota | None]) -> dict[str, int | None]:
    return {name: quota.most for name, quota in quotas.items() if quota is not None}


def _quotas(most: Mapping[str, int | None]) -> dict[str, str]:
    names = {"quota_bytes": "quotaBytes", "quota_objects": "quotaObjects"}
    return {names[name]: "none" if value is None else str(value) for name, value in most.items()}


def _subject_of(subject: str | None) -> dict[str, str]:
    return {} if subject is None else {"oidcSubject": subject}


async def _record(tenant_id: int, action: Action, **details: str) -> None:
    """By nobody in particular: whoever has the command line."""
    await audit.record(Actor(tenant_id), Entry(action, details=details or None))


def _subject(given: str | None) -> str | None:
    if given is not None and (len(given) > 255 or not given.isprintable()):
        raise BadInput("an OIDC subject has at most 255 characters, all of which can be seen")
    return given or None


def _taken(error: Exception, otherwise: str) -> AlreadyExists:
    subject = _violated(error) == "users_oidc_subject_unique"
    return AlreadyExists("there is a user with this OIDC subject already" if subject else otherwise)


def _violated(error: Exception) -> str | None:
    return getattr(error.__cause__, "constraint_name", None)
