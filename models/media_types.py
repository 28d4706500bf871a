"""What a file is said to be: RFC 9110's type/subtype, and parameters whose values are tokens or quoted."""

import re

_LONGEST = 255
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf'{_WORD}/{_WORD}([ \t]*;[ \t]*{_WORD}=({_WORD}|"[ !#-\[\]-~]*"))*', re.ASCII)


def is_media_type(text: str) -> bool:
    return len(text) <= _LONGEST and _TYPE.fullmatch(text) is not None
