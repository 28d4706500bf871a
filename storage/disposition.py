"""The Content-Disposition header (RFC 6266) that gives a download its name back."""

import re
from enum import StrEnum
from urllib.parse import quote

# Controls, line and paragraph separators, marks that reverse what is shown of a name (its extension, say), and lone
# surrogates, which no header can carry.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_IS_PLAIN = re.compile(r"\w[\w .-]*", re.ASCII).fullmatch  # stays as it is

# What else RFC 5987 leaves as it is (attr-char).
_ATTR_CHARS = "!#$&+^`|~"


class Disposition(StrEnum):
    """Whether a browser shows the file or saves it."""

    INLINE = "inline"
    ATTACHMENT = "attachment"


def content_disposition(disposition: Disposition, name: str) -> str:
    """A value of printable ASCII for any name, of which the last part stays when it is a path.

    ``filename*`` is the name in UTF-8 (RFC 5987), and left out where ``filename``, for old clients, says the same:
    there everything but ASCII is ``_``, as are `"`, which would end it, and `%`, which some clients decode.
    """
    if _IS_PLAIN(name):
        return f'{disposition}; filename="{name}"'
    name = _UNSAFE.sub("_", re.split(r"[/\\]", name)[-1])
    if not re.search(r"[^\s.]", name):
        name = "file"
    plain = re.sub(r'[^ -~]|["%]', "_", name)
    value = f'{disposition}; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe=_ATTR_CHARS)}"
