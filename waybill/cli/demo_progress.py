"""How far the files of `waybill sync-demo` are: a table that changes, or lines where there is no terminal."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from rich.console import Console
from rich.live import Live
from rich.table import Table


class Standing(NamedTuple):
    queued: int = 0
    running: int = 0
    synced: int = 0
    failed: int = 0
    size_bytes: int = 0  # of those that are synced

    @classmethod
    def of(cls, rows: Sequence[Any]) -> "Standing":
        counts = Counter(row["state"] for row in rows)
        size_bytes = sum(int(row["size"]) for row in rows if row["state"] == "SYNCED")
        return cls(counts["QUEUED"], counts["RUNNING"], counts["SYNCED"], counts["FAILED"], size_bytes)


class Progress:
    def __init__(self, live: Live | None, files: int, size_bytes: int) -> None:
        self._live = live
        self._files, self._size_bytes = files, size_bytes
        self._began = time.monotonic()
        self._shown = Standing(-1)

    def show(self, standing: Standing) -> None:
        seconds = max(time.monotonic() - self._began, 0.001)
        synced = f"{standing.synced:,} of {self._files:,}"
        size = f"{standing.size_bytes / 1e6:.1f} of {self._size_bytes / 1e6:.1f} MB"
        per_second = f"{standing.synced / seconds:,.0f} files, {standing.size_bytes / 1e6 / seconds:.1f} MB"
        cells = {
            "queued": f"{standing.queued:,}",
            "running": f"{standing.running:,}",
            "synced": synced,
            "failed": f"{standing.failed:,}",
            "bytes": size,
            "per second": per_second,
        }
        if self._live is not None:
            table = Table(*cells, box=None, pad_edge=False)
            table.add_row(*cells.values())
            self._live.update(table, refresh=True)
        elif standing != self._shown:
            print("  ".join(f"{name}: {cell}" for name, cell in cells.items()), flush=True)
        self._shown = standing


@contextmanager
def following(files: int, size_bytes: int) -> Iterator[Progress]:
    console = Console()
    if not console.is_terminal:
        yield Progress(None, files, size_bytes)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield Progress(live, files, size_bytes)
