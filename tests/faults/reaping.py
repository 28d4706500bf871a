"""The end of a run: what no row knows is what the reaper finds, and it is gone afterwards; all else is as it was.

That are uploads in parts which S3 had begun when the answer was lost or the process died, and now and then a key that
is put there as what a forgotten row would leave.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import asyncpg

from storage.client import Storage
from storage.keys import new_key
from tests.faults.checks import Found, look
from tests.faults.forks import Process
from tests.faults.plans import CLEAN, Plan

Start = Callable[[str, Plan], Awaitable[Process]]

# As if a day and a bit had passed for what was seen, moved, or is somebody's to do.
_A_DAY = (
    "UPDATE orphans SET first_seen_at = first_seen_at - '25h'::interval, due_at = due_at - '25h'::interval",
    "UPDATE orphans SET state_at = state_at - '25h'::interval",
    "UPDATE reaper_scans SET started_at = started_at - '25h'::interval, held_until = held_until - '25h'::interval",
)
# Seen at the latest by the second; then seen again and taken away, and deleted from quarantine: first while something
# breaks, then in any case.
_ROUNDS = (("reap", True), ("reap", False), ("act", True), ("act", True), *[("act", False)] * 3)


async def stray(storage: Storage, bucket: str) -> None:
    await storage._client.put_object(Bucket=bucket, Key=new_key("faults", uuid4()), Body=b"nobody's")


async def reaped(
    start: Start,
    plans_of: Mapping[str, Iterator[Plan]],
    database: asyncpg.Connection,
    storage: Storage,
    bucket: str,
    known: Found,
) -> list[str]:
    """``known`` is what is there without what no row knows."""
    for role, breaks in _ROUNDS:
        process = await start(role, next(plans_of[role]) if breaks else CLEAN)
        code = await process.ended()
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
            if began and action != "-":
                return f"{name}  {action}"
            began = began or of.endswith(key)
    return "nothing that broke"
