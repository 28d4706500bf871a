"""Background work as it comes up: by jobs that say so, and by sweeps that find what no job has told of."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import asyncpg
from pgqueuer import AsyncpgDriver, PgQueuer, Queries
from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder, QuerySchedulerBuilder
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel
from pgqueuer.errors import FailingListenerError
from pgqueuer.models import Job, Schedule

from storage.client import Storage
from worker.work import KINDS, Kind, Work

_SWEEP = "* * * * *"  # every minute, by one of the workers
_PAUSE_SECONDS = 5.0  # when the queue cannot be reached
_STOP_SECONDS = 10.0
_CONNECT_SECONDS = 5.0

# All names, so that none is taken from the environment, where pgqueuer looks even for CHANNEL and TRIGGER.
NAMES = DBSettings(
    prefix="",
    db_schema=None,
    channel=Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.volatile,
)

_log = logging.getLogger(__name__)


@asynccontextmanager
async def working(storage: Storage, database_url: str, more: Sequence[Kind] = ()) -> AsyncIterator[None]:
    """Does the background work meanwhile, whatever fails. What is begun at the end is finished, or left to others.

    ``more`` are kinds beside those that need nothing but the storage.

    Takes one connection to PostgreSQL that is not the pool's: it listens.
    """
    stopping = asyncio.Event()
    works = [Work(kind, storage, stopping) for kind in (*KINDS, *more)]
    task = asyncio.create_task(_run(works, database_url, stopping))
    try:
        yield
    finally:
        stopping.set()
        tasks = {task, *(work.task for work in works if work.task)}
        _, late = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        if late:
            _log.warning("background work is broken off: it took more than %d seconds", _STOP_SECONDS)
            for one in late:
                one.cancel()
            await asyncio.wait(late, timeout=_STOP_SECONDS)


async def _run(works: Sequence[Work], database_url: str, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        try:
            # All that is due first, for which no queue is needed.
            await asyncio.gather(*(work.do() for work in works), _listen(works, database_url, stopping))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, FailingListenerError) as error:
            _log.warning("the queue of background work cannot be reached: %s", error or type(error).__name__)
        except Exception:  # noqa: BLE001 - nothing may end the work
            _log.exception("the queue of background work failed")
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _PAUSE_SECONDS)


async def _listen(works: Sequence[Work], database_url: str, stopping: asyncio.Event) -> None:
    """Until it is to stop, or the connection is lost."""
    connection = await asyncpg.connect(
        database_url, timeout=_CONNECT_SECONDS, server_settings={"application_name": "waybill jobs"}
    )
    try:
        queue = _queue(connection, works)
        # Otherwise it would be noticed when no job has come for half a minute.
        connection.add_termination_listener(lambda _: queue.shutdown.set())
        stopper = asyncio.create_task(_stop(queue, stopping))
        try:
            await queue.run(shutdown_on_listener_failure=True, log_aggregation_interval=timedelta(0))
        finally:
            stopper.cancel()
        if not stopping.is_set():
            raise ConnectionError("its connection was lost")
    finally:
        connection.terminate()


async def _stop(queue: PgQueuer, stopping: asyncio.Event) -> None:
    await stopping.wait()
    queue.shutdown.set()


def _queue(connection: asyncpg.Connection, works: Sequence[Work]) -> PgQueuer:
    queries = queries_on(connection)
    queue = PgQueuer(queries.driver, channel=NAMES.channel, queries=queries)
    for work in works:
        _register(queue, work)
    return queue


def _register(queue: PgQueuer, work: Work) -> None:
    @queue.entrypoint(work.kind.name, accepts_context=False)
    async def job(_: Job) -> None:
        await work.do()

    @queue.schedule(work.kind.name, _SWEEP, accepts_context=False)
    async def sweep(_: Schedule) -> None:
        await work.do()


def queries_on(connection: asyncpg.Connection) -> Queries:
    return Queries(
        AsyncpgDriver(connection),
        qbe=QueryBuilderEnvironment(NAMES),
        qbq=QueryQueueBuilder(NAMES),
        qbs=QuerySchedulerBuilder(NAMES),
    )
