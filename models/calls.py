"""What the keys of the rows that one call makes are made of (``ids.py``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models import database, ids


@dataclass(frozen=True, slots=True)
class Call:
    now: datetime
    number: int

    @classmethod
    async def begin(cls) -> "Call":
        # To the millisecond, so that a row's time is exactly what its key says.
        [row] = await database.fetch("SELECT date_trunc('milliseconds', now()) AS now, nextval('calls') AS number")
        return cls(row["now"], row["number"])

    def keys(self, count: int) -> Sequence[int]:
        """Ascending; the same ones for every table."""
        return ids.keys(self.now, self.number, count)
