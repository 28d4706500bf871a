"""What API keys look like: ``wb_<public id>_<secret>``, in hexadecimal digits.

The last eight of them are a checksum of all before them: what was mistyped or cut off is no key, which is seen without
the database, and by whoever looks for keys where none should be.
"""

import re
import secrets
import zlib

_KEY = re.compile(r"wb_([0-9a-f]{16})_[0-9a-f]{64}")
_CHECKSUM = 8


def new() -> str:
    return with_checksum(f"wb_{secrets.token_hex(8)}_{secrets.token_hex(28)}")


def with_checksum(key: str) -> str:
    """The CRC-32 of its bytes, which misses no mistake within four neighbouring characters."""
    return f"{key}{zlib.crc32(key.encode()):08x}"


def parts(text: str) -> tuple[str, str] | None:
    """The public id and the secret; None of what is no key."""
    if (match := _KEY.fullmatch(text)) is None or with_checksum(text[:-_CHECKSUM]) != text:
        return None
    return match[1], text[match.end(1) + 1 :]
