"""Each key once.

By sorting: left to choose PostgreSQL may hash them, and its hash of a bigint folds one half of it into the other, so
that keys whose times and numbers count up side by side come out as few. A million take minutes instead of a second.
"""

from collections.abc import Sequence


def distinct(key: str) -> str:
    """To stand after SELECT; what ``key`` is must be what comes first in an ORDER BY, if there is one."""
    return f"DISTINCT ON ({key})"


def united(sources: Sequence[str], end: str) -> str:
    """The ``object_pk`` that any of the SELECTs lists."""
    of_all = " UNION ALL ".join(f"({one})" for one in sources)
    return f"SELECT {distinct('object_pk')} object_pk FROM ({of_all}) AS u {end}"
