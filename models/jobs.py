"""The queue of jobs, which is pgqueuer's. A job says that there is work of its kind, and nothing else.

What is to be done, and how often it was tried, stands in the rows it is about: losing every job loses no work.
"""

from datetime import timedelta

from models import database

DELETE = "delete"  # which a trigger adds, in migrations/_jobs.py
VERIFY = "verify"
SYNC = "sync"
DRIFT = "drift"
DELETE_COPIES = "delete copies"  # which a trigger adds, in migrations/_syncs.py

_REMEMBERED = timedelta(hours=1)


async def add(kind: str) -> None:
    """Taken up by a worker as soon as the transaction is committed."""
    await database.execute("SELECT jobs_add($1)", kind)


async def clear() -> None:
    """Drop those that nobody has taken up, for whoever does all work anyway."""
    await database.execute("DELETE FROM pgqueuer WHERE status = 'queued'")


async def forget(most: int) -> int:
    """What pgqueuer notes of each job, which nobody reads; returns how many notes there were."""
    return await database.execute(
        "DELETE FROM pgqueuer_log WHERE id = ANY(ARRAY(SELECT id FROM pgqueuer_log WHERE created < now() - $2::interval"
        " ORDER BY created LIMIT $1 FOR UPDATE SKIP LOCKED))",
        *(most, _REMEMBERED),
    )
