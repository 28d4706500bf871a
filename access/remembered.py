"""Who was let in within the last second is let in again by the same credential, without asking the database.

So whoever is revoked is out after a second at the latest, in every process; before a mutation the database is asked
whenever that is a second ago (``credentials.confirm``). What a request changes here is known here at once.
"""

import hashlib
import time
from typing import NamedTuple

from access.credentials import Attempt, Authenticator
from access.policy import Caller
from models.trace import current

SECONDS = 1.0
_MOST = 10_000


class _LetIn(NamedTuple):
    caller: Caller
    at: float


class Remembered:
    """An Authenticator with a memory, of hashes of credentials."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._known: dict[bytes, _LetIn] = {}
        self._forgotten = 0

    async def __call__(self, attempt: Attempt) -> Caller:
        """Raises what the Authenticator does; those who are refused are asked about each time."""
        now = time.monotonic()
        key = hashlib.sha256((attempt.authorization or "").encode()).digest()
        if attempt.tenant is None:
            known = self._known.get(key)
            if known is not None and now - known.at < SECONDS:
                if (trace := current.get()) is not None:
                    trace.let_in = known.at
                return known.caller
        before = self._forgotten
        caller = await self._authenticator(attempt)
        # Each request of an operator is written down, and what was forgotten meanwhile may be about this one.
        if caller.operator_id is None and attempt.tenant is None and before == self._forgotten:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = _LetIn(caller, now)
        return caller

    def forget(self) -> None:
        """All of them: what they may do may have changed."""
        self._forgotten += 1
        self._known.clear()
