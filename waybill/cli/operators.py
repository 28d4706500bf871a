"""Operators. These commands work on the database itself, an empty one too."""

import re
from pathlib import Path

import click

from access.credentials import new_secret
from models import Action, audit, database, operators
from models.audit import Actor, Entry
from models.errors import BadInput
from waybill.cli.admin import run, show
from waybill.cli.data_dir import data_dir_option

_NAME = re.compile("[a-z0-9][a-z0-9-]{0,63}")


@click.group()
def operator() -> None:
    """Operators stand above tenants: they make, suspend and resume them, and set their quotas."""


@operator.command("create")
@data_dir_option
@click.argument("name")
def create_operator(data_dir: Path, name: str) -> None:
    """Make an operator and print the key. It cannot be shown again."""
    whole, secret = new_secret()

    async def work() -> None:
        if not _NAME.fullmatch(name):
            raise BadInput("an operator's name has 1 to 64 of a-z, 0-9 and -")
        async with database.transaction():
            await operators.create(name, secret)
            await audit.record(Actor(None), Entry(Action.OPERATOR_CREATED, details={"name": name}))

    run(data_dir, work)
    click.echo(whole)


@operator.command("list")
@data_dir_option
def list_operators(data_dir: Path) -> None:
    """List operators, with the public parts of their keys."""
    rows = run(data_dir, operators.everybody)
    columns = ("name", "public_id", "created_at", "revoked_at")
    show(("operator", "key", "made", "revoked"), [[row[column] for column in columns] for row in rows])


@operator.command("key")
@data_dir_option
@click.argument("name")
def replace_key(data_dir: Path, name: str) -> None:
    """Give an operator a new key and print it; the one before works no more."""
    whole, secret = new_secret()
    run(data_dir, lambda: operators.set_key(name, secret))
    click.echo(whole)


@operator.command("revoke")
@data_dir_option
@click.argument("name")
def revoke_operator(data_dir: Path, name: str) -> None:
    """Refuse an operator's key from now on."""

    async def work() -> None:
        async with database.transaction():
            await operators.revoke(name)
            await audit.record(Actor(None), Entry(Action.OPERATOR_REVOKED, details={"name": name}))

    run(data_dir, work)
    click.echo(f"operator {name} revoked")
