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
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

_MOST_COMPLAINTS = 20


@contextmanager
def of_bytes(what: str, total: int | None) -> Iterator[tuple[Progress, TaskID]]:
    """Nothing is shown where standard error is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    quiet = not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        yield progress, progress.add_task(what, total=total)


def complain(complaints: Sequence[str]) -> None:
    """On standard error, the first of them; raises Exit if there are any."""
    for complaint in complaints[:_MOST_COMPLAINTS]:
        click.echo(complaint, err=True)
    if (more := len(complaints) - _MOST_COMPLAINTS) > 0:
        click.echo(f"... and {more:,} more", err=True)
    if complaints:
        raise click.exceptions.Exit(1)
