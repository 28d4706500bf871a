"""For a worker process that is soon found to be dead."""

from datetime import timedelta

from models import copying
from worker import copies, partial


def shorten() -> None:
    copying.LEASE = timedelta(seconds=1.5)
    copies._KEEP_SECONDS = 0.3
    copies._LOOK_SECONDS = 0.2
    partial._KEPT_EVERY = 1024**2
