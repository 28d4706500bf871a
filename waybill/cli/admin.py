"""What the commands that work on the database itself share: it, and how they show rows."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models import Tenant, database
from models.errors import NotFound
from waybill.cli.database import chosen_database

_LONGEST = 1_000_000  # characters of a line


def run(data_dir: Path, work: Callable[[], Awaitable[Any]]) -> Any:
    async def inside(url: str) -> Any:
        if await database.is_empty(url):
            await database.migrate(url)
        async with database.connected(database.config(url, max_connections=1)):
            return await work()

    with chosen_database(data_dir) as url:
        return asyncio.run(inside(url))


def show(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A row that is too long for a terminal is folded; elsewhere each is one line, for ``grep`` and the like."""
    console = Console()
    if not console.is_terminal:
        console.width = _LONGEST
    table = _table(headings, rows)
    if console.measure(table, options=console.options.update(max_width=_LONGEST)).maximum > console.width:
        table = _table(headings, rows, narrow=True)
    console.print(table)


def _table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, narrow: bool = False) -> Table:
    """``narrow`` has the time of day below the date, lest a date be broken anywhere, and less between columns."""
    table = Table(box=None, pad_edge=False, collapse_padding=narrow)
    time = "%Y-%m-%d\n%H:%M" if narrow else "%Y-%m-%d %H:%M"
    for column, heading in enumerate(headings):
        has_times = any(isinstance(row[column], datetime) for row in rows)
        is_copied = heading in ("key", "source")
        table.add_column(heading, overflow="fold", no_wrap=has_times or is_copied)
    for row in rows:
        table.add_row(*(_cell(value, time) for value in row))
    return table


def _cell(value: Any, time: str) -> Text:
    """As it is written: neither a terminal nor rich takes anything in it for a command."""
    if isinstance(value, datetime):
        return Text(value.strftime(time))
    text = "" if value is None else str(value)
    return Text("".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in text))


async def tenant_named(slug: str) -> Tenant:
    found = await Tenant.get_or_none(slug=slug)
    if found is None:
        raise NotFound(f'there is no tenant "{slug}"')
    return found


async def revoke(rows: Any, what: str) -> None:
    """Revoking twice keeps the first time."""
    if not await rows.exists():
        raise NotFound(f"there is no {what}")
    await rows.filter(revoked_at=None).update(revoked_at=datetime.now(UTC))
