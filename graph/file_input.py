"""FileInput, and the checks that no type can express."""

import binascii
import re
from datetime import timedelta

import strawberry

from graph.context import Context
from graph.scalars import Size
from models.errors import BadInput
from models.files import NewFile
from models.media_types import is_media_type

_LONGEST_NAME = 255
# Controls, line separators, and marks that reverse what is shown of a name.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@strawberry.input(description="A file to be uploaded.")
class FileInput:
    name: str = strawberry.field(description="Without a path; need not be unique.")
    content_type: str = strawberry.field(description="Such as image/png; what the upload and each download say.")
    size: Size = strawberry.field(description="In bytes, exactly.")
    sha256: str | None = strawberry.field(
        description="Of the bytes, in hexadecimal. With it, other bytes never become the file.", default=None
    )


def new_file(given: FileInput, whose: str, context: Context) -> NewFile:
    """Raises BadInput saying what of the file is not acceptable."""
    name = given.name
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise BadInput(f'{whose}, file: the name must be one name, without "/" and "\\".')
    if len(name) > _LONGEST_NAME:
        raise BadInput(f"{whose}, file: the name has {len(name)} characters; at most {_LONGEST_NAME} are allowed.")
    if unfit := _UNFIT.search(name):
        raise BadInput(f"{whose}, file: the name must not contain U+{ord(unfit[0]):04X}.")
    if not is_media_type(given.content_type):
        raise BadInput(f'{whose}, file: the contentType must be like "text/plain; charset=utf-8".')
    most = context.limits.max_file_bytes
    if not 0 <= given.size <= most:
        raise BadInput(f"{whose}, file: the size must be from 0 to {most:,} bytes, not {given.size:,}.")
    bucket, key = context.urls.new_place(context.viewer.tenant_slug)
    lifetime = timedelta(seconds=context.limits.upload_seconds)
    return NewFile(name, given.content_type, given.size, _digest(given.sha256, whose), bucket, key, lifetime)


def _digest(text: str | None, whose: str) -> bytes | None:
    if text is None:
        return None
    try:
        digest = binascii.unhexlify(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise BadInput(f"{whose}, file: the sha256 must have 64 hexadecimal digits.")
    return digest
