"""`waybill worker`: the background work, on its own or until nothing is left.

What it works with is imported when it starts, as in waybill/cli/service.py.
"""

import asyncio
import concurrent.futures
import contextlib
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models import database
from models.errors import WaybillError
from storage.signing import Credentials
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import chosen_service
from waybill.settings import Settings

if TYPE_CHECKING:
    from storage.client import Storage

_READY_SECONDS = 2.0


@click.command()
@data_dir_option
@click.option("--drain", is_flag=True, help="End when nothing is left that is due now.")
def worker(data_dir: Path, *, drain: bool) -> None:
    """Finish uploads that nobody completed, prove large ones, delete the bytes of what is gone, and copy files.

    As many of it as you like share the work. `waybill dev` does it by itself.
    """
    import uvloop  # noqa: PLC0415

    from waybill import logs, metrics  # noqa: PLC0415

    with chosen_service(data_dir) as (settings, credentials), contextlib.ExitStack() as stack:
        logs.configure(settings.log_level)
        readiness = Readiness()
        try:
            stack.enter_context(metrics.served(settings, readiness.lacks))
        except metrics.MetricsError as error:
            raise click.ClickException(str(error)) from error
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(settings, credentials, readiness, drain=drain))


class Readiness:
    """Of a worker that has begun, asked by the thread that shows its metrics."""

    def __init__(self) -> None:
        self._ask: Callable[[], Coroutine[Any, Any, list[str]]] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self, ask: Callable[[], Coroutine[Any, Any, list[str]]]) -> None:
        self._ask, self._loop = ask, asyncio.get_running_loop()

    def lacks(self) -> list[str]:
        if self._ask is None or self._loop is None or self._loop.is_closed():
            return ["worker"]
        asked = asyncio.run_coroutine_threadsafe(self._ask(), self._loop)
        try:
            return asked.result(_READY_SECONDS)
        except (TimeoutError, concurrent.futures.CancelledError):
            return ["worker"]


async def _work(settings: Settings, credentials: Credentials | None, readiness: Readiness, *, drain: bool) -> None:
    from storage.client import connected  # noqa: PLC0415
    from waybill.app import database_config, storage_config  # noqa: PLC0415

    if await database.is_empty(
        str(settings.database_url)
    ):  # then there is nothing to do, which it need not complain of
        await database.migrate(str(settings.database_url))
    async with (
        database.connected(database_config(settings), everywhere=True),  # for what another thread asks
        connected(storage_config(settings, credentials)) as storage,
    ):
        if drain:
            await _drain(settings, storage, credentials)
        else:
            await _until_told(settings, storage, credentials, readiness)


async def _drain(settings: Settings, storage: "Storage", credentials: Credentials | None) -> None:
    from waybill.copies import copies  # noqa: PLC0415
    from worker import work  # noqa: PLC0415

    async with copies(settings, credentials) as copying:
        task = asyncio.ensure_future(work.drain(storage, copying.kinds(drained=True)))
        _on_signals(task.cancel)
        try:
            await task
        except asyncio.CancelledError:
            pass
        except WaybillError as error:
            raise click.ClickException(str(error)) from error


async def _until_told(
    settings: Settings, storage: "Storage", credentials: Credentials | None, readiness: Readiness
) -> None:
    from waybill.background import background  # noqa: PLC0415 - takes 0.5 s, which other commands do without
    from waybill.health import missing  # noqa: PLC0415

    told = asyncio.Event()
    _on_signals(told.set)
    async with background(settings, storage, credentials) as copying:
        readiness.begin(lambda: missing(storage, copying))
        await told.wait()


def _on_signals(act: Callable[[], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, act)
