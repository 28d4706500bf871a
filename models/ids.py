"""Primary keys that are ordered by time: 41 bits of milliseconds since 2024, 8 bits of call, 14 bits within the call.

"Newest first" is then index order, and a row's time of creation is part of its key, so that a filter on it is a range
of keys. The layout is Twitter's Snowflake with the machine number replaced by a number from a database sequence: two
calls collide only if 256 others began in the same millisecond, and then the primary key refuses the second.
"""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
CALL_BITS = 8
ROW_BITS = 14
MAX_ROWS_PER_CALL = 1 << ROW_BITS
_MILLISECOND = timedelta(milliseconds=1)
TIME_SHIFT = CALL_BITS + ROW_BITS
LARGEST = (1 << 63) - 1


def keys(now: datetime, call: int, count: int) -> range:
    """``count`` ascending keys for rows made in one call at ``now``; ``call`` counts up from call to call."""
    if count > MAX_ROWS_PER_CALL:
        raise ValueError(f"one call makes at most {MAX_ROWS_PER_CALL} rows, not {count}")
    first = (((now - EPOCH) // _MILLISECOND) << TIME_SHIFT) | ((call % (1 << CALL_BITS)) << ROW_BITS)
    return range(first, first + count)


def created_at(key: int) -> datetime:
    """When the row of this key was made, to the millisecond."""
    return EPOCH + (key >> TIME_SHIFT) * _MILLISECOND


def call_of(key: int) -> int:
    """The same of all rows that one call made, and of no others."""
    return key >> ROW_BITS


def first_key_after(moment: datetime) -> int:
    """The least key of rows made strictly after ``moment``."""
    return _clamp((moment - EPOCH) // _MILLISECOND + 1)


def first_key_from(moment: datetime) -> int:
    """The least key of rows made at ``moment`` or later: rows made strictly before it have smaller keys."""
    return _clamp(-((EPOCH - moment) // _MILLISECOND))


def _clamp(milliseconds: int) -> int:
    return min(max(milliseconds, 0) << TIME_SHIFT, LARGEST)
