"""`waybill reap`: compares the buckets with the database, both ways. It works on both themselves."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import orjson
from rich import filesize

from waybill.cli.admin import show
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import chosen_service

_MOST_SHOWN = 20


@click.command("reap")
@data_dir_option
@click.option("--act", "acts", is_flag=True, help="Then quarantine, and delete what was in quarantine long enough.")
@click.option("--report", "report_only", is_flag=True, help="Show what the last scans found, without another.")
@click.option("--restore", "keys", multiple=True, metavar="KEY", help="Bring back from quarantine; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON object.")
def reap(data_dir: Path, keys: Sequence[str], *, acts: bool, report_only: bool, as_json: bool) -> None:
    """Look for bytes in the buckets that no row knows, and for complete files that have lost their bytes; report them.

    Nothing is changed without --act or --restore. Broken off, a scan goes on where it was. `waybill worker` does this
    by itself every WAYBILL_REAP_HOURS.
    """
    if report_only + acts + bool(keys) > 1:
        raise click.UsageError("--act, --report and --restore exclude each other")
    from waybill import logs  # noqa: PLC0415 - as in waybill/cli/service.py
    from waybill.reaping import reaped  # noqa: PLC0415

    with chosen_service(data_dir) as (settings, credentials):
        logs.configure("WARNING")  # the report says the rest
        report, complaints = asyncio.run(
            reaped(settings, credentials, keys, scans_first=not (report_only or keys), acts=acts)
        )
    if as_json:
        click.echo(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    elif keys and not complaints:
        click.echo(f"brought back: {len(keys):,}")
    elif not keys:
        _print(report)
    for complaint in complaints:
        click.echo(complaint, err=True)
    if complaints:
        raise click.exceptions.Exit(1)


def _print(report: dict[str, Any]) -> None:
    show(
        ("bucket", "scanned", "keys", "bytes", "foreign", "in quarantine", "unfinished uploads"),
        [
            (
                *(row["bucket"], row["finished_at"] or "not yet"),
                *(_number(row["keys"]), _bytes(row["bytes"]), _number(row["foreign_keys"])),
                *(_number(row["quarantine_keys"]), _number(row["multiparts"])),
            )
            for row in report["buckets"]
        ],
    )
    click.echo()
    if not report["tenants"]:
        click.echo("Every key of ours has a row, and every complete file its bytes.")
        return
    show(
        ("bucket", "tenant", "what", "count", "bytes", "to be taken"),
        [
            (row["bucket"], row["tenant"], _WHAT[name], *_figures(row[name]))
            for row in report["tenants"]
            for name in _WHAT
            if name in row
        ],
    )
    _print_some("key", "state", [(one["key"], one["state"]) for one in report["orphans"]])
    _print_some(
        *("lost: key", "object"),
        [(one["key"], f"{one['batch_id']} / {one['object_id']}") for one in report["lost"]],
    )


_WHAT = {
    "seen": "without a row",
    "multiparts_seen": "unfinished uploads without a row",
    "quarantining": "being moved to quarantine",
    "quarantined": "in quarantine",
    "restoring": "being brought back",
    "restored": "without a row, brought back",
    "deleting": "being deleted",
    "multiparts_deleting": "unfinished uploads being aborted",
    "deleted": "deleted",
    "multiparts_deleted": "unfinished uploads aborted",
    "lost": "complete files without their bytes",
}


def _figures(of: dict[str, int]) -> tuple[str, str, str]:
    return _number(of["count"]), _bytes(of["bytes"]), _number(of.get("ripe") or None)


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _bytes(count: int | None) -> str:
    return "" if count is None else filesize.decimal(count)


def _print_some(first: str, second: str, rows: Sequence[tuple[str, str]]) -> None:
    if rows:
        click.echo()
        show((first, second), rows[:_MOST_SHOWN])
    if len(rows) > _MOST_SHOWN:
        click.echo("... --json names more")
