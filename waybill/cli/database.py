"""Which database a command works on: WAYBILL_DATABASE_URL, or else the embedded one of a data directory."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import click
from starlette.datastructures import Secret

from models.errors import WaybillError
from waybill import postgres
from waybill.settings import Settings

if TYPE_CHECKING:
    from storage.signing import Credentials


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


@contextmanager
def chosen_service(data_dir: Path) -> Iterator[tuple[Settings, "Credentials | None"]]:
    """The settings of a running database and of S3, and its credentials where they are not the SDK's to find."""
    settings, credentials = read_settings(), None
    with chosen_database(data_dir) as url, ExitStack() as stack:
        if not settings.s3_buckets:
            if str(settings.database_url):
                raise click.ClickException("WAYBILL_S3_BUCKETS is not set: there is nothing to work on")
            from waybill import seaweedfs  # noqa: PLC0415 - as in waybill/cli/service.py
            from waybill.dev import with_files  # noqa: PLC0415

            server = stack.enter_context(seaweedfs.Server(data_dir))
            settings, credentials = with_files(settings, server), server.credentials
        yield dataclasses.replace(settings, database_url=Secret(url)), credentials
