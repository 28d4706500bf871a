"""Signatures of notices: the HMAC-SHA256 of the body, and of a time where one is sent, by a secret that both have.

With a time, ``<seconds>.`` stands before the body in what is signed. No body that is JSON begins like that, so that
what was signed with a time is worth nothing without it.
"""

import hmac
import re
import time
from collections.abc import Sequence

TIMESTAMP_HEADER = "X-Waybill-Timestamp"  # seconds since 1970, in decimal digits
WINDOW_SECONDS = 300

_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,11}", re.ASCII)


def sign(secret: bytes, body: bytes, timestamp: int | None = None) -> str:
    """In hexadecimal. ``secret`` is the text that was shown, in ASCII."""
    message = body if timestamp is None else b"%d.%b" % (timestamp, body)
    return hmac.digest(secret, message, "sha256").hex()


def is_signed(secrets: Sequence[bytes], body: bytes, signature: str | None, timestamp: str | None) -> bool:
    """By one of the secrets, in a time that tells nothing of how nearly. ``timestamp`` is a header's text."""
    well_formed = signature is not None and _SIGNATURE.fullmatch(signature) is not None
    if timestamp is not None and not _TIMESTAMP.fullmatch(timestamp):
        well_formed, timestamp = False, None
    given = signature if signature is not None and well_formed else ""
    seconds = None if timestamp is None else int(timestamp)
    fits = [hmac.compare_digest(sign(secret, body, seconds), given) for secret in secrets]  # each, whichever fits
    return any(fits)


def is_recent(timestamp: str) -> bool:
    """Whether the time of a signed request is near enough to ours."""
    return abs(time.time() - int(timestamp)) <= WINDOW_SECONDS
