"""What signs tokens: the setting, or where there is none, what the data directory of `waybill dev` keeps."""

import contextlib
import dataclasses
import os
import secrets
import tempfile
from pathlib import Path

from starlette.datastructures import Secret

from waybill.settings import Settings


def with_token_secret(settings: Settings, data_dir: Path) -> Settings:
    """Where the settings have none, with the one in ``data_dir``, which only its owner can read."""
    if str(settings.token_secret):
        return settings
    return dataclasses.replace(settings, token_secret=Secret(_kept_secret(data_dir / "token-secret")))


def _kept_secret(path: Path) -> str:
    """Made by the first who asks; several may at once."""
    if not path.exists():
        number, new = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
        with os.fdopen(number, "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(new)
        Path(new).unlink()
    return path.read_text().strip()
