"""Commands that run the service or work on its database's schema.

The service is imported by those that need it: it takes a second and more, which help and `waybill migrate` do without.
"""

import asyncio
import dataclasses
import gc
from pathlib import Path

import click

from models import database
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import chosen_database, read_settings
from waybill.settings import Settings
from waybill.shared_server import ServerError

PORT = click.IntRange(0, 65_535)


@click.command()
@data_dir_option
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=PORT, help="Port to listen on.  [default: 8000]")
def dev(data_dir: Path, host: str | None, port: int | None) -> None:
    """Run everything on this machine: PostgreSQL, SeaweedFS, a first key, and the service with GraphiQL."""
    from waybill import dev as embedded  # noqa: PLC0415
    from waybill import logs, metrics  # noqa: PLC0415

    settings = read_settings()
    logs.configure(settings.log_level)
    try:
        with metrics.served(settings):
            embedded.run(data_dir, _listening_on(settings, host, port))
    except (embedded.DevError, ServerError, metrics.MetricsError) as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--host", help="Address to listen on.  [default: WAYBILL_HOST or 127.0.0.1]")
@click.option("--port", type=PORT, help="Port to listen on.  [default: WAYBILL_PORT or 8000]")
def serve(host: str | None, port: int | None) -> None:
    """Run one process of the service against WAYBILL_DATABASE_URL."""
    settings = _listening_on(read_settings(), host, port)
    if not str(settings.database_url):
        raise click.ClickException("WAYBILL_DATABASE_URL is not set; `waybill dev` brings its own database")
    gc.disable()  # until it has settled: looking for what imports leave behind, which is nothing, takes a tenth of them
    import uvicorn  # noqa: PLC0415

    from waybill import logs, metrics  # noqa: PLC0415
    from waybill.app import create_app  # noqa: PLC0415
    from waybill.server import settle, uvicorn_options  # noqa: PLC0415

    logs.configure(settings.log_level)
    options = uvicorn_options(settings)
    try:
        with metrics.served(settings):
            app = create_app(settings)
            settle()
            uvicorn.run(app, host=settings.host, port=settings.port, loop="uvloop", **options)
    except metrics.MetricsError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@data_dir_option
def migrate(data_dir: Path) -> None:
    """Bring the database to the newest schema. Safe to run twice and from several processes at once."""
    with chosen_database(data_dir) as url:
        applied = asyncio.run(database.migrate(url))
    click.echo("\n".join(f"applied {name}" for name in applied) or "nothing to apply")


@click.command()
def schema() -> None:
    """Print the GraphQL schema."""
    from graph.schema import schema as graphql_schema  # noqa: PLC0415

    click.echo(graphql_schema.as_str())


def _listening_on(settings: Settings, host: str | None, port: int | None) -> Settings:
    return dataclasses.replace(settings, host=host or settings.host, port=settings.port if port is None else port)
