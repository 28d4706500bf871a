"""What signs and encrypts: the settings, or where there are none, what the data directory of `waybill dev` keeps."""

import contextlib
import dataclasses
import os
import secrets
import tempfile
from pathlib import Path

from starlette.datastructures import Secret

from waybill.settings import Settings


def with_kept_secrets(settings: Settings, data_dir: Path) -> Settings:
    """Where the settings have none, with those in ``data_dir``, which only its owner can read."""
    return dataclasses.replace(
        settings,
        token_secret=token_secret(settings, data_dir),
        encryption_keys=_kept(settings.encryption_keys, data_dir / "encryption-keys"),
    )


def token_secret(settings: Settings, data_dir: Path) -> Secret:
    """The settings', or else the one in ``data_dir``."""
    return _kept(settings.token_secret, data_dir / "token-secret")


def _kept(given: Secret, path: Path) -> Secret:
    return given if str(given) else Secret(_kept_secret(path))


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
