"""Sync sources: made, their secrets replaced and read, by whoever the caller has found may."""

import contextlib
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from access.boxes import Boxes
from access.locations import Allowed, check
from models import audit, database, jobs, sources
from models.audit import Action, Actor, Entry
from models.errors import BadInput, NotFound, Unavailable
from models.locations import Destination, Location, stored
from models.pages import Row
from models.sources import NewSource

DEFAULT_CONCURRENCY = 4
FORMER_FOR = timedelta(days=1)
_LONGEST = timedelta(days=30)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Sources:
    boxes: Boxes
    allowed: Allowed

    async def create(
        self,
        actor: Actor,
        tenant_slug: str,
        user_id: int,
        name: str,
        origin: Location,
        destination: Destination,
        concurrency: int = DEFAULT_CONCURRENCY,
    ) -> tuple[Row, str]:
        """The source and its secret, which is shown this once; its batches are the user's.

        Raises BadInput, Forbidden, AlreadyExists, Unavailable.
        """
        if not _NAME.fullmatch(name):
            raise BadInput('A source\'s name has 1 to 63 small letters, digits and "-", and does not begin with "-".')
        _check_concurrency(concurrency)
        check(self.allowed, tenant_slug, origin, destination)
        assert actor.tenant_id is not None  # noqa: S101 - for the type checker
        secret = secrets.token_hex(_SECRET_BYTES)
        sealed = self.boxes.seal(secret.encode(), _whose(actor.tenant_id, name))
        new = NewSource(name, stored(origin), stored(destination), concurrency, sealed)
        async with database.transaction():
            row = await sources.create(actor.tenant_id, user_id, new)
            await audit.record(actor, Entry(Action.SOURCE_CREATED, details={"source": name, "bucket": origin.bucket}))
        return row, secret

    async def rotate(self, actor: Actor, name: str, former_for: timedelta = FORMER_FOR) -> tuple[Row, str]:
        """The source and its new secret; the former one is good for so much longer, at most 30 days.

        Raises BadInput, NotFound, Unavailable.
        """
        if not timedelta(0) <= former_for <= _LONGEST:
            raise BadInput("The former secret is good for at most 30 days more.")
        assert actor.tenant_id is not None  # noqa: S101 - for the type checker
        secret = secrets.token_hex(_SECRET_BYTES)
        sealed = self.boxes.seal(secret.encode(), _whose(actor.tenant_id, name))
        async with database.transaction():
            row = await _found(actor.tenant_id, name)
            await sources.rotate(actor.tenant_id, row["id"], sealed, former_for)
            await audit.record(actor, Entry(Action.SOURCE_ROTATED, details={"source": name}))
            return await _found(actor.tenant_id, name), secret

    async def change(
        self, actor: Actor, name: str, *, paused: bool | None = None, concurrency: int | None = None
    ) -> Row:
        """What is None stays; there may be more to copy at once then. Raises BadInput, NotFound."""
        if concurrency is not None:
            _check_concurrency(concurrency)
        assert actor.tenant_id is not None  # noqa: S101 - for the type checker
        async with database.transaction():
            row = await _found(actor.tenant_id, name)
            await sources.change(actor.tenant_id, row["id"], paused=paused, concurrency=concurrency)
            changed = {"source": name, "paused": str(paused).lower(), "concurrency": str(concurrency or "")}
            details = {key: value for key, value in changed.items() if value not in ("none", "")}
            await audit.record(actor, Entry(Action.SOURCE_CHANGED, details=details))
            await jobs.add(jobs.SYNC)
            return await _found(actor.tenant_id, name)

    def secrets_of(self, source: Row) -> list[bytes]:
        """Those that are good now, of a row that has them: the newest first. Raises Unavailable.

        A former one that no key opens is good no more: its key was dropped, and takes nothing from the newest with it.
        """
        whose = _whose(source["tenant_id"], source["name"])
        opened = [self.boxes.open(source["secret"], whose)]
        if source["former_secret"] is not None:
            with contextlib.suppress(Unavailable):
                opened.append(self.boxes.open(source["former_secret"], whose))
        return opened


async def _found(tenant_id: int, name: str) -> Row:
    if (row := await sources.named(tenant_id, name)) is None:
        raise NotFound(f'There is no source "{name[:64]}".')
    return row


def _check_concurrency(concurrency: int) -> None:
    if not 1 <= concurrency <= 64:
        raise BadInput(f'"concurrency" must be from 1 to 64, not {concurrency}.')


def _whose(tenant_id: int, name: str) -> str:
    """What a sealed secret is bound to, so that no other row opens it."""
    return f"{tenant_id}/{name}"
