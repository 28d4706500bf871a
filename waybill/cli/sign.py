"""`waybill sign`: what a notice is sent with, for trials by hand."""

import shlex
import time
from pathlib import Path

import click

from access.signatures import TIMESTAMP_HEADER
from access.signatures import sign as signature_of
from models import sources
from models.errors import BadInput, NotFound
from sync.notice import BadNotice, read
from waybill.cli.admin import run
from waybill.cli.data_dir import data_dir_option
from waybill.cli.database import read_settings
from waybill.cli.sources import opened

_DEFAULT_URL = "http://127.0.0.1:8000"


@click.command("sign")
@data_dir_option
@click.option("--source", required=True, metavar="TENANT.NAME", help="Whose newest secret signs it.")
@click.option("--timestamp", is_flag=True, help="Sign the present time, too: it is good for five minutes then.")
@click.option("--url", envvar="WAYBILL_URL", show_envvar=True, default=_DEFAULT_URL, show_default=True)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def sign(data_dir: Path, source: str, url: str, file: Path, *, timestamp: bool) -> None:
    """Print the headers that FILE is to be sent with as a notice, and a command that sends it.

    FILE is signed as it is, to the byte. One that the service would refuse is not signed.
    """
    body = file.read_bytes()

    async def work() -> bytes:
        tenant, _, name = source.partition(".")
        found = await sources.addressed(tenant, name)
        if found is None:
            raise NotFound(f'there is no source "{source}"')
        _check(body)
        return opened(data_dir).secrets_of(found)[0]

    now = int(time.time()) if timestamp else None
    headers = {"Authorization": signature_of(run(data_dir, work), body, now)}
    if now is not None:
        headers[TIMESTAMP_HEADER] = str(now)
    lines = [f"{name}: {value}" for name, value in headers.items()]
    for line in lines:
        click.echo(line)
    words = ["curl", "-i", f"{url.rstrip('/')}/sync/{source}/", "-H", "Content-Type: application/json"]
    for line in lines:
        words += ["-H", line]
    click.echo(shlex.join([*words, "--data-binary", f"@{file}"]))


def _check(body: bytes) -> None:
    """Raises BadInput naming the fields that are wrong."""
    try:
        read(body, b"", max_id_characters=read_settings().max_id_characters)
    except BadNotice as error:
        which = "".join(f"\n  {one['field']} {one['message']}" for one in error.errors)
        raise BadInput(f"{error}{which}") from None
