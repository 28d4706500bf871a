"""Which database a command works on: WAYBILL_DATABASE_URL, or else the embedded one of a data directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import click

from models.errors import WaybillError
from waybill import postgres
from waybill.settings import Settings


def read_settings() -> Settings:
    try:
        return Settings.read()
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def chosen_database(data_dir: Path) -> Iterator[str]:
    """The URL of a running database. What goes wrong with it inside is said in one line, without a trace."""
    try:
        if url := str(read_settings().database_url):
            yield url
        else:
            with postgres.running(data_dir) as url:
                yield url
    except (postgres.PostgresError, WaybillError) as error:
        raise click.ClickException(str(error)) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        where = "WAYBILL_DATABASE_URL" if os.environ.get("WAYBILL_DATABASE_URL") else str(data_dir)
        raise click.ClickException(f"the database of {where} cannot be used: {error}") from error
