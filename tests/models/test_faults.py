"""Faults of the database in our terms."""

import asyncpg
import pytest
from tortoise.exceptions import DBConnectionError, OperationalError

from models.errors import Conflict, NotFound, TimedOut, Unavailable, WaybillError
from models.faults import translate


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), Unavailable),
        (asyncpg.CannotConnectNowError("the database system is starting up"), Unavailable),
        (asyncpg.AdminShutdownError("terminating connection due to administrator command"), Unavailable),
        (asyncpg.TooManyConnectionsError("sorry, too many clients already"), Unavailable),
        (asyncpg.InvalidPasswordError("password authentication failed"), Unavailable),
        (asyncpg.InterfaceError("connection is closed"), Unavailable),
        (asyncpg.InterfaceError("cannot perform operation: the underlying connection is closed"), Unavailable),
        (asyncpg.InterfaceError("pool is closing"), Unavailable),
        (DBConnectionError("Can't establish connection"), Unavailable),
        (ConnectionRefusedError(111, "refused"), Unavailable),
        (FileNotFoundError("/run/.s.PGSQL.5432"), Unavailable),
        (asyncpg.QueryCanceledError("canceling statement due to statement timeout"), TimedOut),
        (TimeoutError(), TimedOut),
        (asyncpg.DeadlockDetectedError("deadlock detected"), Conflict),
        (asyncpg.SerializationError("could not serialize access"), Conflict),
    ],
)
def test_fault_of_the_database_is_a_known_error(error: Exception, expected: type[WaybillError]) -> None:
    assert type(translate(error)) is expected


@pytest.mark.parametrize(
    "error",
    [
        ValueError("ours"),
        KeyError("ours"),
        asyncpg.InterfaceError("cannot perform operation: another operation is in progress"),
        asyncpg.UndefinedColumnError("column does not exist"),
        asyncpg.UniqueViolationError("duplicate key"),
        OperationalError("syntax error"),
    ],
)
def test_fault_of_ours_is_not(error: Exception) -> None:
    assert translate(error) is None


def test_cause_decides() -> None:
    wrapped = OperationalError("x")
    wrapped.__cause__ = RuntimeError("y")
    wrapped.__cause__.__cause__ = asyncpg.QueryCanceledError("z")
    assert type(translate(wrapped)) is TimedOut


def test_known_error_that_caused_an_unknown_one_does_not_hide_it() -> None:
    error = RuntimeError("ours")
    error.__cause__ = NotFound()
    assert translate(error) is None
