"""Tortoise's asyncpg backend with what Waybill needs: a DSN as asyncpg reads it, counting, and no lost connection.

Tortoise picks the schema editor by the word "asyncpg" in this module's name.
"""

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import asyncpg
from prometheus_client import Gauge
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import (
    NestedTransactionContext,
    PoolConnectionWrapper,
    TransactionalDBClient,
    TransactionContextPooled,
)
from tortoise.connection import get_connections

from models import trace
from models.turns import Tenants, Turns

if TYPE_CHECKING:
    from models.depths import Depth

_TRANSACTION_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")

_open = Gauge("waybill_database_connections", "connections to PostgreSQL")
_idle = Gauge("waybill_database_connections_idle", "those that nobody uses")
_most = Gauge("waybill_database_connections_max", "as many as there may be")
_clients: WeakSet["Client"] = WeakSet()


def _of_pools(size: Callable[[asyncpg.Pool], int]) -> Callable[[], float]:
    """Asked when somebody looks, so that counting costs statements nothing."""
    return lambda: float(sum(size(client._pool) for client in list(_clients) if client._pool is not None))


_open.set_function(_of_pools(asyncpg.Pool.get_size))
_idle.set_function(_of_pools(asyncpg.Pool.get_idle_size))
_most.set_function(_of_pools(asyncpg.Pool.get_max_size))


class Connection(asyncpg.Connection):
    """Counts the statements of a request, those of the ORM and ours alike; transaction control is not counted."""

    async def execute(self, query: str, *args: Any, **options: Any) -> str:
        if not query.startswith(_TRANSACTION_CONTROL):
            trace.count_statement()
        return await super().execute(query, *args, **options)

    async def executemany(self, command: str, args: Any, **options: Any) -> None:
        trace.count_statement()
        await super().executemany(command, args, **options)

    async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        trace.count_statement()
        return await super().fetch(query, *args, **options)

    async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
        trace.count_statement()
        return await super().fetchrow(query, *args, **options)

    async def copy_records_to_table(self, table_name: str, **options: Any) -> str:
        trace.count_statement()
        return await super().copy_records_to_table(table_name, **options)


class TransactionClient(TransactionWrapper):
    def __init__(self, connection: AsyncpgDBClient) -> None:
        super().__init__(connection)
        self.depths: dict[bytes, Depth] = connection.depths  # type: ignore[attr-defined]  # one of these two classes

    async def rollback(self) -> None:
        # On a connection that is gone it fails, too, which would hide what ended the transaction.
        with contextlib.suppress(asyncpg.InterfaceError, asyncpg.PostgresConnectionError, OSError):
            await super().rollback()

    def _in_transaction(self) -> NestedTransactionContext:
        return NestedTransactionContext(TransactionClient(self))


class PooledConnection(PoolConnectionWrapper[Any]):
    """Waits for the request's turn first."""

    __slots__ = ("_turns",)

    async def __aenter__(self) -> Any:
        self._turns = await trace.take_turn(cast("Client", self.client).tenants)
        try:
            if self.client._pool is None:
                await self.ensure_connection()
            self.connection = await self.client._pool.acquire()
        except BaseException:
            if self._turns is not None:
                self._turns.give_back()
            raise
        return self.connection

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.client._pool.release(self.connection)
        finally:
            if self._turns is not None:
                self._turns.give_back()


class Transaction(TransactionContextPooled):
    """Waits for the request's turn first, and gives the connection back whenever it fails or is cancelled.

    Tortoise's own context loses it from the pool for good when that happens at BEGIN, and graphql-core cancels sibling
    resolvers whenever a non-null one fails, so that ordinary requests emptied the pool.
    """

    _turns: Turns | None = None

    async def __aenter__(self) -> TransactionalDBClient:
        self._turns = await trace.take_turn(cast("Client", self.client._parent).tenants)
        try:
            return await super().__aenter__()
        except BaseException:
            self._give_turn_back()
            connection = self.client._connection
            if connection is not None:
                self._forget()
                # Nobody knows whether BEGIN arrived: a new connection is cheaper than finding out. A connection that
                # was lost is with the pool already.
                with contextlib.suppress(asyncpg.InterfaceError):
                    connection.terminate()
                    await self.client._parent._pool.release(connection)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._forget()
        try:
            await super().__aexit__(kind, error, traceback)
        finally:
            self._give_turn_back()

    def _forget(self) -> None:
        """Ends the task's use of this transaction. Tortoise does so last, and not at all when cancelled before."""
        get_connections().reset(self.token)
        self.token = None  # type: ignore[assignment]  # means: nothing to reset

    def _give_turn_back(self) -> None:
        if self._turns is not None:
            self._turns.give_back()
            self._turns = None


async def _keep_session(connection: asyncpg.Connection) -> None:
    """Replaces asyncpg's session reset, which doubles the time of a small query.

    Right as long as no pooled connection uses SET, LISTEN or session advisory locks; an open transaction is rolled back
    by asyncpg itself before this is called.
    """


_DEFAULTS = {  # asyncpg.create_pool's, which makes no pools of other classes
    "loop": None,
    "max_queries": 50_000,
    "max_inactive_connection_lifetime": 300.0,
    "record_class": asyncpg.Record,
}


class Pool(asyncpg.Pool):
    """Takes a connection back at once where nothing has to be waited for.

    asyncpg starts a task for it, so that nothing can break it off; that takes as long as a small statement.
    """

    if TYPE_CHECKING:
        _generation: int  # connections of an older one are expired

    async def release(self, connection: Any, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 - asyncpg's
        holder, real = connection._holder, connection._con
        if (
            real is None
            or real.is_closed()
            or real.is_in_transaction()
            or real._protocol._is_cancelling()
            or real._protocol.queries_count >= holder._max_queries
            or holder._generation != self._generation
        ):
            await super().release(connection, timeout=timeout)
            return
        real._on_release()
        holder._timeout = None
        holder._release()
        holder._setup_inactive_callback()


async def _connect(*arguments: Any, **options: Any) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(*arguments, **options)
    except TimeoutError:
        # Otherwise it would read as a statement that took too long, and the caller would be told to ask for less.
        raise ConnectionError("PostgreSQL does not answer") from None


class Client(AsyncpgDBClient):
    """``dsn`` may say all that libpq's URLs say (hosts, sslmode, options)."""

    connection_class = Connection  # type: ignore[assignment]  # the stubs' class is generic, Tortoise's use of it not

    def __init__(self, dsn: str, **options: Any) -> None:
        super().__init__(**options)
        self.dsn = dsn
        self.tenants = Tenants(options["maxsize"])
        self.depths: dict[bytes, Depth] = {}

    async def create_pool(self, **options: Any) -> asyncpg.Pool:
        # Tortoise's own default for the port would be taken over the DSN's.
        named = {name: value for name, value in options.items() if value is not None and name != "port"}
        pool = Pool(self.dsn, connect=_connect, reset=_keep_session, **_DEFAULTS | named)
        await pool
        _clients.add(self)
        return pool

    def acquire_connection(self) -> PooledConnection:
        return PooledConnection(self, self._pool_init_lock)

    def _in_transaction(self) -> Transaction:
        return Transaction(TransactionClient(self), self._pool_init_lock)


client_class = Client
