"""The body of a notice, read strictly: what is signed must be understood, all of it and in one way only."""

import json
from collections import Counter
from typing import Any

import orjson

from models import notices
from models.errors import short
from models.notices import Notice

FIELDS = ("oeid", "ref_id", "file_name", "file_type")
_IDS = ("oeid", "ref_id")
_MOST_ERRORS = 20


class BadNotice(Exception):
    """The notice has fields that are not acceptable."""

    def __init__(self, message: str | None = None, errors: dict[str, str] | None = None) -> None:
        """``errors`` say of fields what is wrong with them."""
        super().__init__(message or type(self).__doc__)
        self.errors = [{"field": short(name), "message": why} for name, why in (errors or {}).items()][:_MOST_ERRORS]


def read(body: bytes, signature: bytes, *, max_id_characters: int) -> Notice:
    """Raises BadNotice. orjson takes no NaN, no byte order mark, no lone surrogates and no deep nesting."""
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadNotice(f"The body is not valid JSON: {error}.") from None
    if not isinstance(given, dict):
        raise BadNotice("The body is JSON but not an object.")
    errors = dict.fromkeys(_repeated(body), "occurs more than once")
    # Who sends more, such as a size, would believe that it is looked at.
    errors |= {name: "is no field of a notice" for name in given if name not in FIELDS and name not in errors}
    for name in FIELDS:
        if name not in given:
            errors.setdefault(name, "is missing")
        elif not isinstance(given[name], str):
            errors.setdefault(name, "must be a string")
        elif name in _IDS and len(given[name]) > max_id_characters:
            errors.setdefault(name, f"has {len(given[name])} characters; at most {max_id_characters} are allowed")
    texts = {name: value for name in FIELDS if isinstance(value := given.get(name), str)}
    notice = Notice(**dict.fromkeys(FIELDS, "") | texts, signature=signature)
    errors = {name: why for name, why in notices.problems(notice).items() if name in texts} | errors
    if errors:
        raise BadNotice(errors=errors)
    return notice


def _repeated(body: bytes) -> list[str]:
    """Names that an object of the body has more than once, which parsers read differently."""

    def names(pairs: list[tuple[str, Any]]) -> None:
        found.update(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)

    found: set[str] = set()
    try:
        json.loads(body, object_pairs_hook=names)
    except RecursionError:
        raise BadNotice("The body is nested too deeply.") from None
    return sorted(found)
