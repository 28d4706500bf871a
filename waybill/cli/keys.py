"""Keys and tokens. These commands work on the database itself, an empty one too."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from access import keys, tokens
from access.credentials import create_key, new_secret
from models import ApiKey, CanaryKey, KeyScope, User, canaries
from models.errors import BadInput, NotFound
from models.keys import Whose
from models.people import STAND_IN
from waybill.cli.admin import run, show, tenant_named
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import read_settings
from waybill.kept_secrets import token_secret

_MOST_SHOWN = 1_000
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST_NOTE = 500


class Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        if (match := re.fullmatch(r"(\d{1,9})([smhd])", value)) is None:
            self.fail(f"{value!r} is no duration: write a number with s, m, h or d, such as 90m", param, ctx)
        try:
            return timedelta(**{_UNITS[match[2]]: int(match[1])})
        except OverflowError:
            self.fail(f"{value!r} is too long", param, ctx)


@click.group()
def key() -> None:
    """API keys are what users authenticate with."""


@key.command("create")
@data_dir_option
@click.argument("tenant")
@click.argument("user")
@click.option("--name", default="key", show_default=True, help="What it is for.")
@click.option(
    "--scope",
    type=click.Choice(list(KeyScope)),
    default=KeyScope.ADMIN,
    show_default=True,
    help="How far it lets its user go.",
)
@click.option("--expires-in", type=Duration(), help="How long it works, such as 90d.  [default: always]")
def create_api_key(
    data_dir: Path, tenant: str, user: str, name: str, scope: KeyScope, expires_in: timedelta | None
) -> None:
    """Make a key of a user and print it. It cannot be shown again."""

    async def work() -> str:
        keys.check(name, expires_in)
        found = await User.get_or_none(tenant__slug=tenant, name=user)
        if found is None or user.startswith(STAND_IN):
            raise NotFound(f'there is no user "{user}" in "{tenant}"')
        return await create_key(found, name, scope, expires_in)

    click.echo(run(data_dir, work))


@key.command("list")
@data_dir_option
@click.argument("tenant")
def list_keys(data_dir: Path, tenant: str) -> None:
    """List the keys of a tenant, by their public parts."""

    async def work() -> Sequence[tuple[Any, ...]]:
        found = ApiKey.filter(tenant=await tenant_named(tenant)).order_by("id")
        return await found.values_list(
            "public_id", "user__name", "name", "scope", "created_at", "expires_at", "used_at", "revoked_at"
        )

    show(("key", "user", "name", "scope", "made", "expires", "last used", "revoked"), run(data_dir, work))


@key.command("rotate")
@data_dir_option
@click.argument("public_id")
@click.option(
    "--overlap", type=Duration(), default="1d", show_default=True, help="How long the old key goes on working."
)
def rotate_key(data_dir: Path, public_id: str, overlap: timedelta) -> None:
    """Make a key in the place of another, which goes on working for a while, and print it.

    PUBLIC_ID is the middle part of the old key, or the whole key.
    """
    wanted = _public_id(public_id)

    async def work() -> str:
        _, _, whole = await keys.rotate(Whose(await _tenant_of(wanted)), wanted, overlap)
        return whole

    click.echo(run(data_dir, work))


@key.command("revoke")
@data_dir_option
@click.argument("public_id")
def revoke_key(data_dir: Path, public_id: str) -> None:
    """Refuse a key from now on. PUBLIC_ID is its middle part, or the whole key. A canary is forgotten."""
    wanted = _public_id(public_id)

    async def work() -> None:
        if await CanaryKey.filter(public_id=wanted, revoked_at=None).update(revoked_at=datetime.now(UTC)):
            return
        await keys.revoke(Whose(await _tenant_of(wanted)), wanted)

    run(data_dir, work)
    click.echo(f"key {wanted} revoked")


@key.command("canary")
@data_dir_option
@click.option("--note", default="", help="Where you leave it, to be told when somebody has found it.")
def make_canary(data_dir: Path, note: str) -> None:
    """Make a key that opens nothing, and print it. Whoever uses it raises an alarm.

    It looks like any key and is refused like a wrong one.
    """

    async def work() -> str:
        if len(note) > _LONGEST_NOTE:
            raise BadInput(f"a note has at most {_LONGEST_NOTE} characters")
        whole, secret = new_secret()
        await CanaryKey.create(public_id=secret.public_id, note=note)
        return whole

    click.echo(run(data_dir, work))


@key.command("canary-alerts")
@data_dir_option
def list_canary_alerts(data_dir: Path) -> None:
    """List who used a canary key, newest first."""
    rows = run(data_dir, lambda: canaries.alerts(_MOST_SHOWN))
    show(("seen", "key", "note", "address", "agent", "path"), [tuple(row) for row in rows])


@click.command()
@data_dir_option
@click.argument("user")
@click.option("--tenant", help="The user's tenant, where several have a user of this name.")
@click.option("--expires-in", type=Duration(), default="15m", show_default=True, help="How long it works, up to 1d.")
def token(data_dir: Path, user: str, tenant: str | None, expires_in: timedelta) -> None:
    """Sign a token for a user and print it. It is sent as a key is, and lets its user do all that he may."""

    async def work() -> str:
        settings = read_settings()
        if str(settings.database_url) and not str(settings.token_secret):
            raise BadInput("WAYBILL_TOKEN_SECRET is not set: it signs tokens, and the service verifies them with it")
        secret = str(token_secret(settings, data_dir))
        where = {"tenant__slug": tenant} if tenant is not None else {}
        found = await User.filter(name=user, revoked_at=None, tenant__revoked_at=None, **where).prefetch_related(
            "tenant"
        )
        if not found:
            raise NotFound(f'there is no user "{user}"' + (f' in "{tenant}"' if tenant is not None else ""))
        if len(found) > 1:
            raise BadInput(f'several tenants have a user "{user}": say which by --tenant')
        return tokens.sign(secret, found[0].tenant_id, found[0].id, expires_in)

    click.echo(run(data_dir, work))


async def _tenant_of(public_id: str) -> int:
    found = await ApiKey.get_or_none(public_id=public_id)
    if found is None:
        raise NotFound(f'there is no key "{public_id}"')
    return found.tenant_id


def _public_id(given: str) -> str:
    return given.split("_")[1] if given.count("_") == 2 else given
