"""What the log says of background work that fails."""

import logging

import asyncpg
import pytest

from models.errors import StorageUnavailable, Unavailable
from worker.failures import note

_log = logging.getLogger(__name__)


@pytest.mark.parametrize(
    "error",
    [Unavailable(), StorageUnavailable(), asyncpg.ConnectionDoesNotExistError("gone"), ConnectionRefusedError("no")],
)
def test_what_is_away_is_a_line_and_no_trace(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    note(_log, "the work", error)
    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)
    assert record.getMessage().startswith("the work waits: ")


def test_fault_of_ours_is_an_error_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("a fault of ours")
    note(_log, "the work", error)
    [record] = caplog.records
    assert (record.levelname, record.getMessage()) == ("ERROR", "the work failed")
    assert record.exc_info is not None
    assert record.exc_info[1] is error
