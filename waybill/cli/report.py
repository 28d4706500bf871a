"""What somebody at a terminal sees of files on their way, and hears of those that stayed behind."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_MOST_COMPLAINTS = 20


class Bar:
    """How many bytes are done of those expected so far. Threads may advance it."""

    def __init__(self, progress: Progress, what: str) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=None)
        self._total_bytes = 0

    def expect(self, more_bytes: int) -> None:
        self._total_bytes += more_bytes
        self._progress.update(self._task, total=self._total_bytes)

    def advance(self, more_bytes: int) -> None:
        self._progress.advance(self._task, more_bytes)


@contextmanager
def bars(*whats: str) -> Iterator[list[Bar]]:
    """One below the other. Nothing is shown where standard error is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    quiet = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        yield [Bar(progress, what) for what in whats]


def complain(complaints: Sequence[str]) -> None:
    """On standard error, the first of them; raises Exit if there are any."""
    for complaint in complaints[:_MOST_COMPLAINTS]:
        click.echo(complaint, err=True)
    if (more := len(complaints) - _MOST_COMPLAINTS) > 0:
        click.echo(f"... and {more:,} more", err=True)
    if complaints:
        raise click.exceptions.Exit(1)
