"""Where `waybill dev` keeps everything: for commands that work there, and for clients that find the key in it."""

import os
from pathlib import Path

import click

VARIABLE = "WAYBILL_DATA_DIR"
DEFAULT = ".waybill"


def chosen() -> Path:
    """For commands without the option."""
    return _expanded(os.environ.get(VARIABLE) or DEFAULT)


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise click.BadParameter(f"{path!r}: {error}") from error


data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False),
    default=DEFAULT,
    show_default=True,
    envvar=VARIABLE,
    show_envvar=True,
    callback=lambda _context, _option, value: _expanded(value),
    help="Where the embedded servers keep their files.",
)
