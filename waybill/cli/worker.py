"""`waybill worker`: the background work, on its own or until nothing is left."""

import asyncio
import signal
from pathlib import Path

import click

from models import database
from models.errors import WaybillError
from storage.client import Storage, connected
from storage.signing import Credentials
from waybill import logs
from waybill.app import database_config, reaping, storage_config
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import chosen_service
from waybill.settings import Settings
from worker import reaper, work


@click.command()
@data_dir_option
@click.option("--drain", is_flag=True, help="End when nothing is left that is due now.")
def worker(data_dir: Path, *, drain: bool) -> None:
    """Prove large uploads, give up those that nobody finished, and delete the bytes of what is gone.

    As many of it as you like share the work. `waybill dev` does it by itself.
    """
    with chosen_service(data_dir) as (settings, credentials):
        logs.configure(settings.log_level)
        asyncio.run(_work(settings, credentials, drain=drain))


async def _work(settings: Settings, credentials: Credentials | None, *, drain: bool) -> None:
    if await database.is_empty(
        str(settings.database_url)
    ):  # then there is nothing to do, which it need not complain of
        await database.migrate(str(settings.database_url))
    async with (
        database.connected(database_config(settings)),
        connected(storage_config(settings, credentials)) as storage,
    ):
        task = asyncio.ensure_future(work.drain(storage) if drain else _both(storage, settings))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            pass
        except WaybillError as error:
            raise click.ClickException(str(error)) from error


async def _both(storage: Storage, settings: Settings) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(work.run(storage))
        if (schedule := reaping(settings)) is not None:
            group.create_task(reaper.run(storage, schedule))
