"""Names of other applications as names of files: one component each, which no other name has, on any file system.

What is safe stays as it is. The rest is percent-encoded by its UTF-8 bytes, and so is "%" itself, so that the name can
be read back; only of one that is too long the end is replaced by a hash.
"""

import re
from hashlib import sha256

_MOST_BYTES = 255
_HASH_DIGITS = 40
_CUT = "%~"  # in no other name: "%" is followed by two digits there
_EMPTY = "%"

_UNSAFE = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff]')
# As Windows has them, by which a share of the files may be mounted: with any extension, in any case.
_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE | re.DOTALL)
_LAST = ". "
_HALF = re.compile(r"%[0-9A-F]?$")


def component(name: str) -> str:
    """Never hidden, reserved, ``.`` or ``..``, and at most 255 bytes long."""
    if not name:
        return _EMPTY
    safe = _UNSAFE.sub(_encoded, name)
    if safe[0] == "." or _RESERVED.fullmatch(name):
        safe = _bytes(safe[0]) + safe[1:]
    if safe[-1] in _LAST:
        safe = safe[:-1] + _bytes(safe[-1])
    encoded = safe.encode()
    if len(encoded) <= _MOST_BYTES:
        return safe
    digest = sha256(name.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    kept = encoded[: _MOST_BYTES - len(_CUT) - len(digest)].decode(errors="ignore")  # without half a character
    return f"{_HALF.sub('', kept)}{_CUT}{digest}"


def _encoded(found: re.Match[str]) -> str:
    return _bytes(found[0])


def _bytes(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode(errors="surrogatepass"))
