"""The end of a run: what no row knows is what the reaper finds, and it is gone afterwards; all else is as it was.

That are uploads in parts which S3 had begun when the answer was lost or the process died, and now and then a key that
is put there as what a forgotten row would leave.
"""

import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg

from storage.client import Storage
from storage.keys import new_key
from tests.faults.checks import Found, look
from tests.faults.plans import CLEAN, Plan

Reap = Callable[[Plan, bool], Awaitable[int]]  # with a plan; whether it acts

# As if a day and a bit had passed for what was seen, moved, or is somebody's to do.
_A_DAY = (
    "UPDATE orphans SET first_seen_at = first_seen_at - '25h'::interval, due_at = due_at - '25h'::interval",
    "UPDATE orphans SET state_at = state_at - '25h'::interval",
    "UPDATE reaper_scans SET started_at = started_at - '25h'::interval, held_until = held_until - '25h'::interval",
)
_BROKEN = (False, True)
_ROUNDS = (False, False, True, True)  # a broken scan ended; seen, seen again and taken away, deleted from quarantine


async def stray(storage: Storage, bucket: str) -> None:
    await storage._client.put_object(Bucket=bucket, Key=new_key("faults", uuid4()), Body=b"nobody's")


async def reaped(
    reap: Reap, plans: Iterator[Plan], database: asyncpg.Connection, storage: Storage, bucket: str, known: Found
) -> list[str]:
    """``known`` is what is there without what no row knows."""
    for plan, acts in itertools.chain(zip(plans, _BROKEN, strict=False), ((CLEAN, acts) for acts in _ROUNDS)):
        code = await reap(plan, acts)
        for statement in _A_DAY:
            await database.execute(statement)
    found = [] if code == 0 else [f"(0) the reaper ended with {code}"]
    left = await look(database, storage, bucket)
    found += [f"(2) the reaper leaves {key}" for key in sorted(left.stored.keys() - known.stored.keys())]
    found += [f"(2) the reaper leaves the upload in parts of {key}" for key, _ in sorted(left.unfinished)]
    found += [f"(1) the reaper took {key}" for key in sorted(known.stored.keys() - left.stored.keys())]
    same = [(one.uploads, one.deletions, one.objects, one.usage) for one in (known, left)]
    if same[0] != same[1]:
        found.append(f"(1) the reaper changed {same[0]} to {same[1]}")
    return found


def makers(directory: Path, known: Found) -> Counter[str]:
    """The boundaries because of which no row knows an upload in parts: what broke first after its key was sent."""
    return Counter(_maker(directory, key) for key, _ in known.nobodys)


def _maker(directory: Path, key: str) -> str:
    for file in directory.glob("*.boundaries"):
        began = False
        for line in file.read_text().splitlines():
            _, _, action, name, of = line.split("\t")
            began = began or of.endswith(key)
            if began and action != "-":
                return f"{name}  {action}"
    return "nothing that broke"
