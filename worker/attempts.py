"""What becomes of a file that could not be copied: when it is tried again, and when no more.

Trouble                       (storage/locations.py)
├── SizeMismatch              SIZE_MISMATCH
├── ChecksumMismatch          CHECKSUM_MISMATCH
├── DiskFull                  DISK_FULL
├── NoRoom                    DISK_FULL
├── Destination               DESTINATION
└── Fault                     INTERNAL
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

from storage.locations import Away, Changed, Denied, Misconfigured, NotThere, Trouble, Unfit
from worker.root import is_full

MOST_ATTEMPTS = 8
GRACE = timedelta(minutes=15)  # after the notice, in which the file may still arrive
_FIRST = timedelta(seconds=2)
_FACTOR = 4  # so that an hour and a half pass until the last attempt
_LONGEST = timedelta(hours=1)
_GRACE_BETWEEN = timedelta(seconds=2), timedelta(minutes=3)
_MENDED_BETWEEN = timedelta(seconds=30), timedelta(minutes=10)
_JITTER = 0.25


class SizeMismatch(Trouble):
    """Other bytes came than S3 had announced."""

    code = "SIZE_MISMATCH"


class ChecksumMismatch(Trouble):
    """The bytes that came are not those of which S3 has the checksum."""

    code = "CHECKSUM_MISMATCH"


class DiskFull(Trouble):
    """The disk of the copies is full: the file waits until it is not."""

    code = "DISK_FULL"


class NoRoom(Trouble):
    """There is no room for a file of this size at the moment: it waits until there is."""

    code = "DISK_FULL"


class Destination(Trouble):
    """The destination does not take the file."""

    code = "DESTINATION"


class Fault(Trouble):
    """A fault of the service, which is in its log."""

    code = "INTERNAL"


class Again(NamedTuple):
    """After so long; ``counted`` as one of the attempts that a file has."""

    after: timedelta
    counted: bool


def again(trouble: Trouble, attempts: int, age: timedelta) -> Again | None:
    """None if it has FAILED. ``attempts`` counts the one that has just ended; the age is since the notice.

    What is not the file's fault is not counted: somebody mends it, or makes room, and then all goes on.
    """
    match trouble:
        case NotThere() | Denied():
            return None if age >= GRACE else Again(_jittered(_within(age / 2, _GRACE_BETWEEN)), counted=False)
        case Misconfigured() | DiskFull() | NoRoom():
            return Again(_jittered(_within(age / 2, _MENDED_BETWEEN)), counted=False)
    if attempts >= MOST_ATTEMPTS:
        return None
    return Again(_jittered(min(_FIRST * _FACTOR ** (attempts - 1), _LONGEST)), counted=True)


def _within(duration: timedelta, bounds: tuple[timedelta, timedelta]) -> timedelta:
    return min(max(duration, bounds[0]), bounds[1])


def _jittered(duration: timedelta) -> timedelta:
    """So that what failed together does not come again together."""
    return duration * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - nobody gains by knowing it


@contextmanager
def at_destination() -> Iterator[None]:
    """Tells what a bucket or a directory does not take from what S3 does not give.

    What is about the one file, such as a key that is too long, holds up no other of its source.
    """
    try:
        yield
    except Away:
        raise
    except (Unfit, NotThere, Changed) as error:
        raise Destination(str(error)) from error
    except Trouble as error:
        raise Misconfigured(f"the destination: {error}") from error
    except OSError as error:
        if is_full(error):
            raise DiskFull from error
        raise Destination(error.strerror or type(error).__name__) from error
