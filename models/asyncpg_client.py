"""Tortoise's asyncpg backend with what Waybill needs: a DSN as asyncpg reads it, counting, and no lost connection.

Tortoise picks the schema editor by the word "asyncpg" in this module's name.
"""

import contextlib
from collections.abc import Callable, Coroutine
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
from models.pool import Pool
from models.turns import Tenants, Turns

if TYPE_CHECKING:
    from models.depths import Depth

_TRANSACTION_CONTROL = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")

_GONE = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresConnectionError, OSError)

_open = Gauge("waybill_database_connections", "connections to PostgreSQL")
_idle = Gauge("waybill_database_connections_idle", "those that nobody uses")
_most = Gauge("waybill_database_connections_max", "as many as there may be")
_clients: WeakSet["Client"] = WeakSet()


def _of_pools(size: Callable[[Pool], int]) -> Callable[[], float]:
    """Asked when somebody looks, so that counting costs statements nothing."""
    return lambda: float(sum(size(cast("Pool", client._pool)) for client in list(_clients) if client._pool is not None))


_open.set_function(_of_pools(Pool.get_size))
_idle.set_function(_of_pools(Pool.get_idle_size))
_most.set_function(_of_pools(Pool.get_max_size))


class Connection(asyncpg.Connection):
    """Counts the statements of a request, those of the ORM and ours alike; transaction control is not counted."""

    # No coroutines of their own, which each statement would pass through on its way back.

    def execute(self, query: str, *args: Any, **options: Any) -> Coroutine[Any, Any, str]:
        if not query.startswith(_TRANSACTION_CONTROL):
            trace.count_statement()
        return super().execute(query, *args, **options)

    def executemany(self, command: str, args: Any, **options: Any) -> Coroutine[Any, Any, None]:
        trace.count_statement()
        return super().executemany(command, args, **options)

    def fetch(self, query: str, *args: Any, **options: Any) -> Any:
        trace.count_statement()
        if options:
            return super().fetch(query, *args, **options)
        # What asyncpg does, less to see whether the connection is open, which is found out all the same.
        return self._execute(query, args, 0, None)  # type: ignore[attr-defined]  # not in the stubs

    def fetchrow(self, query: str, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
        trace.count_statement()
        return super().fetchrow(query, *args, **options)

    def copy_records_to_table(self, table_name: str, **options: Any) -> Coroutine[Any, Any, str]:
        trace.count_statement()
        return super().copy_records_to_table(table_name, **options)


class TransactionClient(TransactionWrapper):
    def __init__(self, connection: AsyncpgDBClient) -> None:
        super().__init__(connection)
        self.depths: dict[bytes, Depth] = connection.depths  # type: ignore[attr-defined]  # one of these two classes

    async def rollback(self) -> None:
        # On a connection that is gone it fails, too, which would hide what ended the transaction. And what is left of
        # one that has said goodbye, and not yet hung up, cannot be made ready for others.
        try:
            await super().rollback()
        except _GONE:
            with contextlib.suppress(asyncpg.InterfaceError):
                self._connection.terminate()

    def _in_transaction(self) -> NestedTransactionContext:
        return NestedTransactionContext(TransactionClient(self))


class PooledConnection(PoolConnectionWrapper[Any]):
    """Waits for the request's turn first."""

    __slots__ = ("_turns",)

    async def __aenter__(self) -> Any:
        client: Any = self.client
        self._turns = turns = trace.turns(client.tenants)
        if turns is not None and not turns.taken_at_once():
            await turns.take()
        try:
            if client._pool is None:
                await self.ensure_connection()
            pool: Pool = client._pool
            self.connection = pool.at_hand() or await pool.acquire()
        except BaseException:
            if turns is not None:
                turns.give_back()
            raise
        return self.connection

    async def __aexit__(self, *_: object) -> None:
        pool: Pool = self.client._pool
        try:
            if not pool.take_back(self.connection):
                await pool.release(self.connection)
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
        self._turns = trace.turns(cast("Client", self.client._parent).tenants)
        if self._turns is not None:
            await self._turns.take()
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
        except _GONE:
            # Of giving the connection back, which would hide what ended the transaction, or that it is committed.
            if error is None and not self.client._finalized:
                raise
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

    async def create_pool(self, **options: Any) -> Pool:
        # Tortoise's own default for the port would be taken over the DSN's.
        named = {name: value for name, value in options.items() if value is not None and name != "port"}
        pool = Pool(self.dsn, connect=_connect, **named)
        await pool
        _clients.add(self)
        return pool

    def acquire_connection(self) -> PooledConnection:
        return PooledConnection(self, self._pool_init_lock)

    def _in_transaction(self) -> Transaction:
        return Transaction(TransactionClient(self), self._pool_init_lock)


client_class = Client
