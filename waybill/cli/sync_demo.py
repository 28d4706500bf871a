"""`waybill sync-demo`: the way of a few hundred files from a bucket to their local copies, to be watched."""

from pathlib import Path

import click

from waybill.cli.data_dir import data_dir_option

DEFAULT_URL = "http://127.0.0.1:8000"


@click.command("sync-demo")
@data_dir_option
@click.option("--files", "count", type=click.IntRange(1, 1_000), default=300, show_default=True)
@click.option(
    "--url",
    envvar="WAYBILL_URL",
    show_envvar=True,
    default=DEFAULT_URL,
    show_default=True,
    help="Where `waybill dev` listens, if it runs in the data directory.",
)
def sync_demo(data_dir: Path, count: int, url: str) -> None:
    """Copy files of this machine from a bucket by signed notices, watch it, and verify the copies.

    They are Python's standard library and some images, and are put into a bucket of the embedded S3 server. Where no
    `waybill dev` runs in the data directory, one is started for as long as this takes. Each time it is a new batch.

    Exit code 0: all were copied, and are equal by `sha256sum`.
    """
    from waybill.cli import demo  # noqa: PLC0415 - as in waybill/cli/service.py

    demo.run(data_dir, count, url)
