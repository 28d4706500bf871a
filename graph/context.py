"""What a resolver gets besides its arguments. Made once per request."""

import time
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar

import strawberry

from access import credentials, policy
from access.copy_urls import CopyUrls
from access.policy import Caller, Viewer, as_viewer, readable
from access.sources import Sources
from graph.limits import too_complex
from graph.loads import Filter, Loads
from models import (
    Action,
    audit,
    copies,
    database,
)
from models.audit import Entry
from models.errors import BadInput, StorageUnavailable
from models.files import NewFile
from models.pages import Bounds, Row, Scope, bounds
from models.trace import current
from storage import multipart
from storage.client import Storage, Stored, refusing
from storage.given import Given
from storage.multipart import Cut, cut_of
from storage.proof import Finding, claim_of, examine
from storage.urls import Urls

K = TypeVar("K")
G = TypeVar("G")

MOST_IN_PARTS = 1_000  # files of one call, for each of which S3 is asked
_MOST_CHARACTERS = 300_000  # of one filter
_CONFIRMED_SECONDS = 1.0


@dataclass(frozen=True)
class InputLimits:
    """Counts and characters; all are settings."""

    page_size: int
    max_page_size: int
    max_objects_per_call: int
    max_id_characters: int
    max_key_characters: int
    max_value_characters: int
    max_pairs_per_object: int
    max_rows_per_request: int
    max_file_bytes: int
    max_verified_bytes: int
    upload_seconds: int
    multipart_bytes: int
    multipart_seconds: int
    default_quotas: Mapping[str, int]  # of a tenant that is made, by their columns


class S3(NamedTuple):
    """What requests need of it."""

    storage: Storage
    urls: Urls


# A URL to read, of the file of a row: it may be given again once it is written down.
NewReading: TypeAlias = tuple[Given, str, Row]


def _let_in() -> float:
    """When the request's caller was, or a little before."""
    trace = current.get()
    return (trace.let_in or trace.began) if trace is not None else time.monotonic()


@dataclass
class Context(Loads):
    caller: Caller
    limits: InputLimits
    s3: S3 | None
    sync_sources: Sources
    copy_urls: CopyUrls
    rows: int = 0
    filters: dict[int, tuple[object, Filter]] = field(default_factory=dict)  # by the identity of ``where``
    selected: dict[tuple[int, str], tuple[object, bool]] = field(default_factory=dict)  # by that of a field's nodes
    given: dict[object, Given] = field(default_factory=dict)  # by what is asked for, ``graph.types.files.Reading``
    unknown: dict[object, tuple[Given, list[Row]]] = field(default_factory=dict)  # what is not given yet, by the same
    signed: dict[Hashable, Entry | NewReading] = field(default_factory=dict)
    recorded: set[Hashable] = field(default_factory=set)  # what was signed and is, or is being, written down
    _sees_people: bool | None = None
    _confirmed: float = field(default_factory=_let_in)

    @property
    def viewer(self) -> Viewer:
        """Raises Forbidden for operators, who act as no tenant."""
        return as_viewer(self.caller)

    @property
    def scope(self) -> Scope:
        return readable(self.viewer)

    def of(self, viewer: Viewer) -> "Context":
        """Another's, who asks for the same; nothing is noted in it."""
        own: dict[str, Any] = {"filters": {}, "selected": {}, "given": {}, "unknown": {}, "signed": {}}
        return replace(self, caller=viewer, rows=0, recorded=set(), _sees_people=None, **own)

    @property
    def urls(self) -> Urls:
        return self._s3.urls

    @property
    def _s3(self) -> S3:
        if self.s3 is None:
            raise StorageUnavailable("This service has no bucket for files: set WAYBILL_S3_BUCKETS.")
        return self.s3

    async def prove(self, uploads: Sequence[Row], etags: Mapping[int, Mapping[int, str]]) -> list[Finding]:
        """What S3 says of each; ``etags`` are those of parts, by upload and number, where the client says them."""
        if not uploads:
            return []
        claims = [claim_of(row, etags.get(row["file_pk"])) for row in uploads]
        return await examine(self._s3.storage, claims, most_read_bytes=self.limits.max_verified_bytes)

    async def begin_parts(self, new: Sequence[NewFile]) -> list[NewFile]:
        """The same, those that are large as uploads in parts: given up again where the mutation is undone.

        Raises BadInput or StorageUnavailable. To be done before the transaction begins, which it would hold up.
        """
        large = [file for file in new if file.size_bytes > self.limits.multipart_bytes]
        if not large:
            return list(new)
        if len(large) > MOST_IN_PARTS:
            raise BadInput(
                f"{len(large):,} files of more than {self.limits.multipart_bytes:,} bytes in one call; at most"
                f" {MOST_IN_PARTS:,} are allowed."
            )
        places = await multipart.create(
            self._s3.storage,
            [(file.bucket, file.key, file.content_type) for file in large],
            sse=self.urls.encryption,
        )
        database.when_undone(partial(multipart.abandon, self._s3.storage, places))
        lifetime = timedelta(seconds=self.limits.multipart_seconds)
        ids = {place.key: place.multipart_id for place in places}
        return [
            replace(file, lifetime=lifetime, multipart_id=ids[file.key], part_bytes=Cut.of(file.size_bytes).part_bytes)
            if file.key in ids
            else file
            for file in new
        ]

    async def etags(self, upload: Row, numbers: range) -> dict[int, str]:
        """Of those of the parts that S3 has in their right size, by number; a request for each thousand."""
        place = upload["file_bucket"], upload["file_key"], upload["file_multipart_id"]
        cut = cut_of(upload)
        with refusing():
            parts = await self._s3.storage.list_parts(*place, after=numbers.start - 1, last=numbers.stop - 1)
        return {part.number: part.etag for part in parts or () if part.size == cut.size_of(part.number)}

    async def stored(self, file: Row) -> Stored | None:
        """What S3 says of a file; None when it is not there."""
        with refusing():
            return await self._s3.storage.head(file["file_bucket"], file["file_key"])

    async def confirm(self) -> None:
        """That the caller may still do what he might when he was let in; looked up where that was a second ago.

        Raises Unauthenticated, TenantSuspended, Forbidden.
        """
        self._sees_people = None  # the mutation before this one may have changed it
        now = time.monotonic()
        if now - self._confirmed >= _CONFIRMED_SECONDS:
            await credentials.confirm(self.caller)
            self._confirmed = now

    def bounds(
        self, first: int | None, after: str | None, last: int | None, before: str | None, digest: bytes
    ) -> Bounds:
        """The part of a list that is asked for, counted; ``digest`` says which list the cursors must be of."""
        part = bounds(
            first, after, last, before, default=self.limits.page_size, most=self.limits.max_page_size, of=digest
        )
        self.hand_out(part.limit)
        return part

    def hand_out(self, rows: int) -> None:
        """Count rows of the answer before they are read; raises TooComplex. Lists in lists multiply."""
        total, most = self.rows + rows, self.limits.max_rows_per_request
        if total > most:
            raise too_complex("rows", most, total)
        self.rows = total

    def sign(self, action: Action, upload_pk: int, until: datetime, row: Row, parts: str = "") -> None:
        """Note that a URL is given out, of an upload of the object that ``row`` is of; ``record`` writes it down.

        However often it is given out by this request, until the same moment it is one; so are the URLs of ``parts``.
        """
        details = {"parts": parts} if parts else None
        entry = Entry(action, row["batch_id"], row["object_id"], upload_pk, until, details)
        self.signed[action, upload_pk, until, parts] = entry

    def sign_readings(self, given: Given, rows: Sequence[Row]) -> dict[int, str]:
        """The same of URLs to read the files of rows, by their keys, which their caller is given again as long as they
        are the same.
        """
        urls = {
            row["file_pk"]: given.sign(row["file_bucket"], row["file_key"], row["file_name"], row["file_type"])
            for row in rows
        }
        for row in rows:
            self.signed[given, row["file_pk"]] = given, urls[row["file_pk"]], row
        return urls

    def sign_copy(self, row: Row, until: datetime, width: int | None) -> None:
        """The same for a local copy or a thumbnail of it; ``row`` is ``models.copies.read``'s."""
        self.signed[Action.READ_URL, row["id"], until, f"copy {width}"] = copies.read(row, until, width)

    async def record(self) -> None:
        """What was noted, before anybody sees the URLs: raises where it cannot be written."""
        noted = {key: one for key, one in self.signed.items() if key not in self.recorded}
        self.signed = {}
        if not noted:
            return
        self.recorded.update(noted)
        entries = [one for one in noted.values() if isinstance(one, Entry)]
        read: dict[Given, list[Row]] = defaultdict(list)
        for one in noted.values():
            if not isinstance(one, Entry):
                given, _, row = one
                read[given].append(row)
        await self.record_readings(read, *entries)
        self._keep(noted.values())

    async def record_readings(self, read: Mapping[Given, Sequence[Row]], *others: Entry) -> None:
        """That the files of rows can be read by URLs, and what else was given out, in one statement."""
        if others or len(read) > 1:
            entries = [audit.reading(row, given.until) for given, rows in read.items() for row in rows]
            await audit.record(self.viewer.actor, *others, *entries)
            return
        for given, rows in read.items():
            await audit.record_readings(self.viewer.actor, rows, given.until)

    def keep(self) -> None:
        """Give again what was signed, which is written down for good."""
        noted, self.signed = self.signed, {}
        self._keep(noted.values())

    def _keep(self, noted: Iterable[Entry | NewReading]) -> None:
        if database.may_be_undone():
            return
        urls: dict[Given, dict[int, str]] = defaultdict(dict)
        for one in noted:
            if not isinstance(one, Entry):
                given, url, row = one
                urls[given][row["file_pk"]] = url
        for given, new in urls.items():
            self.urls.keep(given, new)

    async def sees_people(self) -> bool:
        """Asked once, however many users there are in the answer, or in that of one mutation."""
        if self._sees_people is None:
            self._sees_people = await policy.sees_people(self.viewer)
        return self._sees_people


Info: TypeAlias = strawberry.Info[Context, None]
