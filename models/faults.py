"""What went wrong between us and PostgreSQL, in the terms of ``models.errors``."""

import asyncpg
from tortoise.exceptions import DBConnectionError

from models.errors import Conflict, TimedOut, Unavailable, WaybillError

_CONFLICTS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
_TIMEOUTS = (asyncpg.QueryCanceledError, asyncpg.IdleInTransactionSessionTimeoutError, TimeoutError)
_OUTAGES = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shutting down, starting up, killed by hand
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.ReadOnlySQLTransactionError,  # a standby that was not promoted yet
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    DBConnectionError,
    OSError,  # asyncpg lets the socket's own errors pass: refused, reset, no such socket file, no such host
)
_LOST = (
    "closed",
    "closing",
    "released back to the pool",  # which takes a lost connection although a transaction still uses it
    "cannot switch to state",  # the server has said goodbye and not yet hung up
)


def translate(error: BaseException) -> WaybillError | None:
    """The error that a client may see if ``error`` or a cause of it is PostgreSQL's doing; None if it is not.

    A statement stopped by its time-out is TimedOut, a lost or refused connection Unavailable, a deadlock Conflict.
    """
    cause: BaseException | None = error
    while cause is not None:
        if (known := _translate(cause)) is not None:
            return known
        cause = cause.__cause__
    return None


def _translate(error: BaseException) -> WaybillError | None:
    if isinstance(error, _CONFLICTS):
        return Conflict()
    if isinstance(error, _TIMEOUTS):  # before the outages: TimeoutError is an OSError, QueryCanceled an intervention
        return TimedOut()
    if isinstance(error, _OUTAGES) or _is_lost(error):
        return Unavailable()
    return None


def _is_lost(error: BaseException) -> bool:
    # asyncpg has one InterfaceError for lost connections and for wrong calls; only the text tells them apart.
    return isinstance(error, (asyncpg.InterfaceError, asyncpg.InternalClientError)) and any(
        text in str(error) for text in _LOST
    )
