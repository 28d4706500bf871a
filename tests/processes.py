"""Waybill's commands as processes of their own.

Each is forked from a process that has imported everything: it starts in 50 ms instead of 2 seconds of CPU. What it
sends to the database is recorded for the second wall (tests/wall.py).
"""

import contextlib
import multiprocessing
import os
import pkgutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from tests import recorded
from waybill.cli import main

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["waybill.app", "waybill.dev", "waybill.cli.service", "waybill.cli.worker", "uvloop", "httptools", "tests.recorded"]
)


ANEW = "anew"


class Output(NamedTuple):
    exit_code: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def running(
    *arguments: str,
    out: str | Path = os.devnull,
    error: str | Path = os.devnull,
    prepare: str = "",
    **environment: str,
) -> Iterator[BaseProcess]:
    """`waybill ARGUMENTS`, terminated at the end. ``prepare``, "package.module:function", is called in it first.

    ``ANEW`` it is what a user starts, who has nothing imported yet; what that sends is not recorded.
    """
    given = (arguments, os.environ | environment, str(out), str(error), prepare)
    process = _context.Process(target=_run, args=given, daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.terminate()
        process.join()


def finished(*arguments: str, prepare: str = "", **environment: str) -> Output:
    """`waybill ARGUMENTS` that ends by itself."""
    with tempfile.TemporaryDirectory() as directory:
        out, error = Path(directory, "out"), Path(directory, "error")
        with running(*arguments, out=out, error=error, prepare=prepare, **environment) as process:
            process.join(60)
            assert process.exitcode is not None, f"waybill {arguments} goes on"
        return Output(process.exitcode, out.read_text(), error.read_text())


def send(process: BaseProcess, number: signal.Signals) -> None:
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):  # it has ended by itself
        os.kill(process.pid, number)


def _run(arguments: tuple[str, ...], environment: dict[str, str], out: str, error: str, prepare: str) -> None:
    for path, number in ((out, 1), (error, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if prepare == ANEW:
        os.execve(sys.executable, [sys.executable, "-m", "waybill", *arguments], environment)  # noqa: S606
    os.environ.clear()
    os.environ.update(environment)
    recorded.record_for_another(environment[recorded.FILE])
    if prepare:
        pkgutil.resolve_name(prepare)()
    main(arguments, prog_name="waybill")
