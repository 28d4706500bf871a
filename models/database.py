"""The connection to PostgreSQL: set-up, migrations, and the few verbs the SQL of this package is run with."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import asyncpg
from tortoise import Tortoise
from tortoise.backends.base.client import BaseDBAsyncClient, TransactionalDBClient
from tortoise.context import TortoiseContext, require_context
from tortoise.migrations.executor import MigrationExecutor
from tortoise.migrations.schema_editor.asyncpg import AsyncpgSchemaEditor
from tortoise.transactions import in_transaction

from models.errors import QuotaExceeded
from models.quotas import refusing

if TYPE_CHECKING:
    from models.asyncpg_client import Client, TransactionClient
    from models.depths import Depth

CONNECTION = "default"
_APPS = {"models": {"models": ["models"], "migrations": "models.migrations", "default_connection": CONNECTION}}
# Without a connection Tortoise does not prepare, after each operation, the queries of all models, which nobody makes.
_APPS_OF_MIGRATIONS = {"models": _APPS["models"] | {"default_connection": None}}
_MIGRATION_LOCK = 0x5761_7962_696C_6C01  # "Waybill", any number that no other program locks


def config(
    url: str,
    *,
    max_connections: int = 10,
    connect_timeout_seconds: float = 5.0,
    statement_timeout_seconds: float = 30.0,
) -> dict[str, Any]:
    """What Tortoise is initialised with. Nothing connects before the first statement."""
    credentials = {
        "dsn": url,
        "minsize": 1,
        "maxsize": max_connections,
        "timeout": connect_timeout_seconds,
        # The server stops a statement by itself; the client's limit is for a server that went silent.
        "command_timeout": statement_timeout_seconds + 5,
        "server_settings": {
            "application_name": "waybill",
            "statement_timeout": str(round(statement_timeout_seconds * 1000)),
            "idle_in_transaction_session_timeout": str(round(statement_timeout_seconds * 2000)),
            "timezone": "UTC",
            "jit": "off",  # compiling takes longer than any page does
            # Plans are kept where they are as good for all values, which sql.py sees to.
            "plan_cache_mode": "auto",
            # Everything that is read has an index. Where the planner expects to find one of many at once, it would
            # rather begin to read the table, and reads all of it where there is none.
            "enable_seqscan": "off",
        },
    }
    return {"connections": {CONNECTION: {"engine": "models.asyncpg_client", "credentials": credentials}}, "apps": _APPS}


TORTOISE = config("postgresql://")  # for Tortoise's own commands, such as makemigrations


@asynccontextmanager
async def connected(settings: dict[str, Any], *, everywhere: bool = False) -> AsyncIterator[None]:
    """Make the models usable inside; ``everywhere`` lets tasks that others started (requests) use them too."""
    with TortoiseContext():
        await Tortoise.init(config=settings, _enable_global_fallback=everywhere)
        try:
            yield
        finally:
            await Tortoise.close_connections()


async def is_empty(url: str) -> bool:
    """Whether no migration was ever applied."""
    async with connected(config(url, max_connections=1)):
        [row] = await fetch("SELECT to_regclass('tortoise_migrations') IS NULL AS empty")
    return bool(row["empty"])


async def migrate(url: str) -> list[str]:
    """Bring the database to the newest schema and return the names of the migrations that were applied.

    One transaction under one lock: it is safe to run twice, from several processes at once, and to kill.
    """
    applied: list[str] = []
    async with connected(config(url, max_connections=1, statement_timeout_seconds=3600)), transaction() as client:
        await client.execute_query("SELECT pg_advisory_xact_lock($1)", [_MIGRATION_LOCK])
        executor = MigrationExecutor(client, _APPS_OF_MIGRATIONS)
        # The executor asks for the applied ones before it makes their table; inside a transaction that would be fatal.
        await executor.recorder.ensure_schema(AsyncpgSchemaEditor(client, atomic=False))
        await executor.migrate(progress=lambda event, _, name: applied.append(name) if event == "apply_done" else None)
    return applied


@asynccontextmanager
async def transaction() -> AsyncIterator[BaseDBAsyncClient]:
    """Committed at the end, rolled back by any exception or cancellation.

    Inside another it is a savepoint, and inside ``one_transaction`` committed at the end of that. Where it is
    committed, quotas are kept: raises QuotaExceeded.
    """
    whole = _whole.get()
    is_outermost = not is_in_transaction()
    async with AsyncExitStack() as stack:
        stack.enter_context(refusing())
        if whole is not None:  # savepoints do not wait for the connection by themselves
            async with _ended(whole.work):
                pass
        begun = await stack.enter_async_context(in_transaction(CONNECTION))
        if whole is not None:
            await stack.enter_async_context(_ended(whole.work))
            if is_outermost:
                await whole.begun()
        yield begun
        if whole is not None and is_outermost:
            whole.stack.push_async_exit(stack.pop_all())


@asynccontextmanager
async def one_transaction(begun: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Makes one transaction of those begun inside and of what is read after them; undone by any exception.

    It begins with the first of them, and ``begun`` is the first thing in it: what is done before holds no connection.
    They must be begun in the same task.
    """
    undo: list[Callable[[], Awaitable[None]]] = []
    work: list[asyncio.Future[object]] = []
    is_undone = True
    try:
        async with AsyncExitStack() as stack:
            whole = _Whole(stack, begun, undo, work)
            token = _whole.set(whole)
            try:
                async with _ended(work):
                    yield
                is_undone = False  # nobody knows, until it is committed
            finally:
                _whole.reset(token)
                # asyncpg's timers know the context of who was the first to send a statement, and tasks know theirs.
                whole.begun = _nothing
                work.clear()
    except Exception as error:
        if is_undone or isinstance(error, QuotaExceeded):
            for one in undo:
                await one()
        raise


def when_undone(undo: Callable[[], Awaitable[None]]) -> None:
    """Have it called if what ``one_transaction`` makes one is undone: not where it is broken off, or may be kept."""
    if (whole := _whole.get()) is not None:
        whole.undo.append(undo)


async def meanwhile(work: Awaitable[object]) -> None:
    """Have it done in the present transaction while its caller goes on, who sees nothing of it but a later error.

    That is for ``one_transaction``, which is committed when it is done; elsewhere it is done at once. Whatever is asked
    of the database from now on in the transaction is asked after its first statement. It begins no transaction itself.
    """
    if (whole := _whole.get()) is None:
        await work
        return
    whole.work.append(asyncio.ensure_future(work))
    await asyncio.sleep(0)  # it has begun, so that the connection is its own, or it is in line for it


@asynccontextmanager
async def _ended(work: Sequence[asyncio.Future[object]]) -> AsyncIterator[None]:
    """With what is done meanwhile, and its error where that is why others fail: a transaction ends with the first."""
    try:
        yield
        for task in work:
            await task
    except BaseException as error:
        if not isinstance(error, Exception):
            for task in work:
                task.cancel()
        if work:
            await asyncio.wait(work)
        errors = [task.exception() for task in work if not task.cancelled()]
        if isinstance(error, Exception) and (first := next(filter(None, errors), None)) is not None:
            raise first from None
        raise


async def _nothing() -> None:
    pass


@dataclass(slots=True)
class _Whole:
    stack: AsyncExitStack
    begun: Callable[[], Awaitable[object]]
    undo: list[Callable[[], Awaitable[None]]]
    work: list[asyncio.Future[object]]


_whole: ContextVar[_Whole | None] = ContextVar("one_transaction", default=None)


def depths() -> "dict[bytes, Depth]":
    """What this process remembers of the lists in the database."""
    return cast("Client | TransactionClient", client()).depths


def may_be_undone() -> bool:
    """Whether what was written just now may still be, with a transaction around it."""
    return _whole.get() is not None or is_in_transaction()


def is_in_transaction() -> bool:
    """Whether one has begun: ``one_transaction`` begins none by itself."""
    return isinstance(client(), TransactionalDBClient)


def client() -> BaseDBAsyncClient:
    """The current transaction's, if there is one."""
    known = require_context().connections
    return known._get_storage().get(CONNECTION) or known.get(CONNECTION)  # noqa: SLF001 - half of the steps


async def fetch(sql: str, *arguments: object) -> list[asyncpg.Record]:
    """Run one statement in the current transaction, if there is one, and return its rows."""
    async with client().acquire_connection() as connection:
        rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
        return rows


async def execute(sql: str, *arguments: object) -> int:
    """Run one statement in the current transaction, if there is one, and return how many rows it touched."""
    async with client().acquire_connection() as connection:
        status = cast("str", await connection.execute(sql, *arguments))
    return int(status.rsplit(" ", 1)[-1])


async def portions(sql: str, *arguments: object, most: int) -> AsyncIterator[list[asyncpg.Record]]:
    """The rows of a query, at most so many at a time; in the current transaction, which holds nothing else of them."""
    await fetch(f"DECLARE portions NO SCROLL CURSOR FOR {sql}", *arguments)
    while rows := await fetch(f"FETCH {most} FROM portions"):
        yield rows
    await fetch("CLOSE portions")


async def copy(table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> None:
    """COPY records into a table in the current transaction."""
    async with client().acquire_connection() as connection:
        await connection.copy_records_to_table(table, records=records, columns=columns)
