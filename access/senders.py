"""Who may tell of files: whoever signs with a secret of the source."""

import asyncio
import re
import secrets
import time
from dataclasses import dataclass

from access import signatures
from access.sources import Sources
from models import sources
from models.errors import NotFound, TenantSuspended, Unauthenticated

KNOWN_SECONDS = 1.0  # that a source may have changed without our knowing

_NOBODY = "nobody"
_ADDRESS = re.compile(r"([a-z0-9][a-z0-9-]{0,62})\.([a-z0-9][a-z0-9-]{0,62})", re.ASCII)


class NotSigned(Unauthenticated):
    """The header "Authorization" must be the HMAC-SHA256 of the body, in 64 hexadecimal digits in lower case."""

    def __init__(self, reason: str, message: str | None = None) -> None:
        """``reason`` is for the log: the sender gets to know no more than that."""
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Source:
    """As it was when it was looked up, ``until`` which it may be used."""

    id: int
    tenant_id: int
    secrets: list[bytes]
    paused: bool
    suspended: bool
    until: float


class Senders:
    """``default`` is the address of the source of requests that name none, ``tenant.name``; empty if there is none."""

    def __init__(self, sources_: Sources, default: str) -> None:
        """Raises Unavailable where there is no key that opens secrets."""
        self._sources = sources_
        self._default = default
        self._known: dict[str, Source] = {}  # only what there is, so that nobody fills it
        self._asked: dict[str, asyncio.Task[Source | None]] = {}
        # Opened and tried where there is no source, so that it takes as long as where there is one.
        self._nobodys = sources_.boxes.seal(nobodys := secrets.token_hex(32).encode(), _NOBODY)
        self._tried_for_nobody = [nobodys]

    def name(self, address: str | None) -> str:
        return self._default if address is None else address

    async def let_in(self, address: str | None, body: bytes, signature: str | None, timestamp: str | None) -> Source:
        """The source of the address. Raises NotSigned, the same for every reason, and TenantSuspended.

        A wrong signature, and one for no source, takes one statement.
        """
        name = self.name(address)
        source = self._current(name)
        if not self._is_signed(source, body, signature, timestamp):
            source = await self._looked_up(name)  # which may be new, or its secret
            if not self._is_signed(source, body, signature, timestamp):
                what = "no signature" if signature is None else "a wrong signature"
                raise NotSigned("no such source" if source is None else what)
        assert source is not None  # noqa: S101 - for the type checker: nobody has the secret of no source
        if timestamp is not None and not signatures.is_recent(timestamp):
            message = (
                f"{signatures.TIMESTAMP_HEADER} is more than {signatures.WINDOW_SECONDS // 60} minutes from our time:"
                f" it is {int(time.time())}."
            )
            raise NotSigned("signed too long ago, or by a wrong clock", message)
        if source.suspended:
            raise TenantSuspended
        return source

    async def default(self) -> Source:
        """For what needs no signature. Raises NotFound where there is none, and TenantSuspended."""
        source = self._current(self._default) or await self._looked_up(self._default)
        if source is None:
            raise NotFound("There is no default source: name one, as in /sync/acme.photos/.")
        if source.suspended:
            raise TenantSuspended
        return source

    def _is_signed(self, source: Source | None, body: bytes, signature: str | None, timestamp: str | None) -> bool:
        tried = self._tried_for_nobody if source is None else source.secrets
        return signatures.is_signed(tried, body, signature, timestamp) and source is not None

    def _current(self, name: str) -> Source | None:
        source = self._known.get(name)
        return source if source is not None and time.monotonic() < source.until else None

    async def _looked_up(self, name: str) -> Source | None:
        """By one statement for all who want to know at the same time."""
        if (asked := self._asked.get(name)) is None:
            asked = self._asked[name] = asyncio.create_task(self._look_up(name))
            asked.add_done_callback(lambda task: self._done(name, task))
        return await asyncio.shield(asked)

    def _done(self, name: str, asked: asyncio.Task[Source | None]) -> None:
        del self._asked[name]
        if not asked.cancelled():
            asked.exception()  # nobody may have waited for it to the end

    async def _look_up(self, name: str) -> Source | None:
        parts = _ADDRESS.fullmatch(name)
        row = await sources.addressed(*parts.groups()) if parts else None
        if row is None:
            self._sources.boxes.open(self._nobodys, _NOBODY)
            return None
        self._known[name] = source = Source(
            id=row["id"],
            tenant_id=row["tenant_id"],
            secrets=self._sources.secrets_of(row),
            paused=row["paused_at"] is not None,
            suspended=row["suspended"],
            until=time.monotonic() + KNOWN_SECONDS,
        )
        return source
