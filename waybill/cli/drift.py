"""`waybill drift`: compares the copies of a source with their rows and with its bucket. It works on them itself."""

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from models import DriftKind
from waybill.cli.admin import show
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import chosen_service

if TYPE_CHECKING:
    from worker.drift_report import Item

_MOST_SHOWN = 20
_FAILED = 2  # 1 says that something differs

_WHAT = {
    DriftKind.MISSING: "the copy is not there",
    DriftKind.DAMAGED: "the copy is not what was copied",
    DriftKind.CHANGED: "S3 has another file by now",
    DriftKind.GONE: "S3 has no such file any more",
    DriftKind.EXTRA: "is among the copies and none",
    DriftKind.UNKNOWN: "nobody has told of the file",
}


class _Failed(click.ClickException):
    exit_code = _FAILED


@click.command("drift")
@data_dir_option
@click.argument("source", metavar="TENANT.NAME")
@click.option("--repair", is_flag=True, help="Queue what is missing, damaged, changed or unknown.")
@click.option("--verify", is_flag=True, help="Read the copies and compare their SHA-256, too.")
@click.option("--json", "as_json", is_flag=True, help="All that differs, one JSON object a line; the last one counts.")
def drift(data_dir: Path, source: str, *, repair: bool, verify: bool, as_json: bool) -> None:
    """Compare the copies of a source with their rows and with its bucket, and show what differs.

    Nothing is changed without --repair, and nothing is ever deleted. Exits with 0 where nothing differs, with 1 where
    something does, repaired or not, and with 2 where that cannot be said.
    """
    from waybill import logs  # noqa: PLC0415 - as in waybill/cli/service.py
    from waybill.drift import drift as compared  # noqa: PLC0415

    some: defaultdict[DriftKind, list[Item]] = defaultdict(list)

    def tell(item: "Item") -> None:
        if as_json:
            click.echo(orjson.dumps(item.told()))
        elif len(some[item.kind]) < _MOST_SHOWN:
            some[item.kind].append(item)

    try:
        with chosen_service(data_dir) as (settings, credentials):
            logs.configure("CRITICAL")  # the report says the rest
            report = asyncio.run(compared(settings, credentials, source, tell, repair=repair, verify=verify))
    except click.ClickException as error:
        raise _Failed(error.message) from error
    summary = report.summary()
    if as_json:
        click.echo(orjson.dumps(summary))
    else:
        _print(summary, some)
    if summary["problem"]:
        click.echo(f"The comparison is not whole: {summary['problem']}: {summary['error']}", err=True)
        raise click.exceptions.Exit(_FAILED)
    if report.counts:
        raise click.exceptions.Exit(1)


def _print(summary: dict[str, Any], some: dict[DriftKind, list["Item"]]) -> None:
    click.echo(f"copies: {summary['copies']:,} compared, {summary['queued']:,} queued")
    counts = {kind: summary[kind.value.lower()] for kind in DriftKind}
    if any(counts.values()):
        click.echo()
        show(("kind", "count", "what"), [(kind, f"{count:,}", _WHAT[kind]) for kind, count in counts.items() if count])
    for kind, items in some.items():
        click.echo()
        show((kind.value, "object"), [(one.key if one.path is None else one.path, _whose(one)) for one in items])
        if counts[kind] > len(items):
            click.echo("... --json names more")


def _whose(item: "Item") -> str:
    return "" if item.object_id is None else f"{item.batch_id} / {item.object_id}"
