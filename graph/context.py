"""What a resolver gets besides its arguments. Made once per request."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial
from typing import NamedTuple, TypeAlias, TypeVar

import strawberry
from strawberry.dataloader import DataLoader

from access import policy
from access.policy import Caller, Viewer, as_viewer, readable
from graph.limits import too_complex
from models import AccessLevel, Action, audit, batches, grants, people, reads
from models.audit import Entry
from models.errors import BadInput, NotFound, StorageUnavailable
from models.filters import Condition, HasKey
from models.grants import Thing
from models.pages import Bounds, Page, Row, Scope, bounds, digest
from models.reads import Parts
from storage.client import Storage
from storage.proof import Verdict, claim_of, prove
from storage.urls import Urls

K = TypeVar("K")
G = TypeVar("G")

_MOST_CHARACTERS = 300_000  # of one filter


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
    default_quotas: Mapping[str, int]  # of a tenant that is made, by their columns


class S3(NamedTuple):
    """What requests need of it."""

    storage: Storage
    urls: Urls


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """What a list is filtered by. The same ``where`` of a document is the same filter of a request."""

    condition: Condition
    digest: bytes

    @classmethod
    def of(cls, condition: Condition) -> "Filter":
        """Raises BadInput where so much text would be sent to the database again and again."""
        text = repr(condition)  # of frozen dataclasses: equal conditions have equal ones
        if len(text) > _MOST_CHARACTERS:
            raise BadInput(f"The filter has more than {_MOST_CHARACTERS:,} characters: ask in parts.")
        return cls(condition, digest(text))


@dataclass(frozen=True)
class NestedPage:
    """One batch's page among the same pages of its siblings."""

    batch_pk: int
    filter: Filter
    bounds: Bounds
    parts: Parts


@dataclass(frozen=True)
class NestedCount:
    batch_pk: int
    filter: Filter


@dataclass(frozen=True)
class NestedGrants:
    """One thing's page of grants among the same pages of its siblings; of one user only, if that is given."""

    thing: Thing
    only_user: int | None
    bounds: Bounds


@dataclass
class Context:
    caller: Caller
    limits: InputLimits
    s3: S3 | None
    rows: int = 0
    filters: dict[int, tuple[object, Filter]] = field(default_factory=dict)  # by the identity of ``where``
    selected: dict[tuple[int, str], bool] = field(default_factory=dict)
    signed: dict[tuple[Action, int, datetime], Entry] = field(default_factory=dict)
    _sees_people: bool | None = None

    @cached_property
    def viewer(self) -> Viewer:
        """Raises Forbidden for operators, who act as no tenant."""
        return as_viewer(self.caller)

    @cached_property
    def scope(self) -> Scope:
        return readable(self.viewer)

    @property
    def urls(self) -> Urls:
        return self._s3.urls

    @property
    def _s3(self) -> S3:
        if self.s3 is None:
            raise StorageUnavailable("This service has no bucket for files: set WAYBILL_S3_BUCKETS.")
        return self.s3

    async def prove(self, uploads: Sequence[Row]) -> list[Verdict]:
        """What S3 says of each."""
        if not uploads:
            return []
        return await prove(
            self._s3.storage, [claim_of(row) for row in uploads], most_read_bytes=self.limits.max_verified_bytes
        )

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

    def sign(self, action: Action, upload_pk: int, until: datetime, row: Row) -> None:
        """Note that a URL is given out, of an upload of the object that ``row`` is of; ``record`` writes it down.

        However often it is given out by this request, until the same moment it is one.
        """
        self.signed[action, upload_pk, until] = Entry(action, row["batch_id"], row["object_id"], upload_pk, until)

    async def record(self) -> None:
        """What was noted, before anybody sees the URLs: raises where it cannot be written."""
        if self.signed:
            entries, self.signed = self.signed, {}
            await audit.record(self.viewer.actor, *entries.values())

    # Pages and counts are not kept: an operation's next mutation may change them.

    @cached_property
    def pages(self) -> DataLoader[NestedPage, Page]:
        return DataLoader(self._load_pages, cache=False)

    @cached_property
    def counts(self) -> DataLoader[NestedCount, int]:
        return DataLoader(self._load_counts, cache=False)

    @cached_property
    def users(self) -> DataLoader[int, Row]:
        return DataLoader(self._load_users, cache=False)

    @cached_property
    def batches(self) -> DataLoader[int, Row]:
        return DataLoader(self._load_batches, cache=False)

    @cached_property
    def standings(self) -> DataLoader[int, Row]:
        return DataLoader(partial(self._load_of_batches, batches.standings), cache=False)

    @cached_property
    def progress(self) -> DataLoader[int, Row]:
        return DataLoader(partial(self._load_of_batches, batches.progress), cache=False)

    @cached_property
    def levels(self) -> DataLoader[Thing, AccessLevel]:
        return DataLoader(partial(policy.levels, self.viewer), cache=False)

    @cached_property
    def grants(self) -> DataLoader[NestedGrants, Page]:
        return DataLoader(self._load_grants, cache=False)

    @cached_property
    def objects(self) -> DataLoader[tuple[int, Parts], Row]:
        return DataLoader(self._load_objects, cache=False)

    async def _load_objects(self, wanted: list[tuple[int, Parts]]) -> Sequence[Row]:
        self.hand_out(len(wanted))
        found: dict[tuple[int, Parts], Row] = {}
        for parts, asked in _grouped({one: one[1] for one in wanted}).items():
            keys = tuple(key for key, _ in asked)
            page = await reads.objects(self.scope, HasKey(keys), Bounds(len(keys)), parts)
            found.update(((row["id"], parts), row) for row in page.rows)
        return [found.get(one) or NotFound() for one in wanted]

    async def _load_pages(self, wanted: list[NestedPage]) -> Sequence[Page]:
        found: dict[NestedPage, Page] = {}
        groups = _grouped({key: (key.filter, key.bounds, key.parts) for key in wanted})
        for (listed, part, parts), keys in groups.items():
            batches = [key.batch_pk for key in keys]
            pages = await reads.objects_of_batches(self.scope, batches, listed.condition, part, parts)
            found.update((key, pages[key.batch_pk]) for key in keys)
        return [found[key] for key in wanted]

    async def _load_counts(self, wanted: list[NestedCount]) -> Sequence[int]:
        found: dict[NestedCount, int] = {}
        for listed, keys in _grouped({key: key.filter for key in wanted}).items():
            batches = [key.batch_pk for key in keys]
            counts = await reads.count_objects_of_batches(self.scope, batches, listed.condition)
            found.update((key, counts[key.batch_pk]) for key in keys)
        return [found[key] for key in wanted]

    async def _load_batches(self, wanted: list[int]) -> Sequence[Row]:
        keys = tuple(set(wanted))
        rows = {row["id"]: row for row in (await reads.batches(self.scope, HasKey(keys), Bounds(len(keys)))).rows}
        return [rows.get(key) or NotFound() for key in wanted]

    async def _load_of_batches(
        self, ask: Callable[[Scope, Sequence[int]], Awaitable[Mapping[int, Row]]], wanted: list[int]
    ) -> Sequence[Row]:
        rows = await ask(self.scope, list(dict.fromkeys(wanted)))
        return [rows.get(key) or NotFound() for key in wanted]

    async def _load_grants(self, wanted: list[NestedGrants]) -> Sequence[Page]:
        found: dict[NestedGrants, Page] = {}
        for (only_user, part), asked in _grouped({key: (key.only_user, key.bounds) for key in wanted}).items():
            things = [key.thing for key in asked]
            pages = await grants.of_things(self.viewer.tenant_id, things, only_user, part)
            found.update(zip(asked, pages, strict=True))
        return [found[key] for key in wanted]

    async def sees_people(self) -> bool:
        """Asked once, however many users there are in the answer."""
        if self._sees_people is None:
            self._sees_people = await policy.sees_people(self.viewer)
        return self._sees_people

    async def _load_users(self, wanted: list[int]) -> Sequence[Row]:
        keys = set(wanted) if await self.sees_people() else {self.viewer.user_id} & set(wanted)
        rows = {row["id"]: row for row in await people.some_users(self.viewer.tenant_id, list(keys))}
        return [rows.get(key) for key in wanted]


Info: TypeAlias = strawberry.Info[Context, None]


def _grouped(group_of: Mapping[K, G]) -> dict[G, list[K]]:
    groups: dict[G, list[K]] = defaultdict(list)
    for key, group in group_of.items():
        groups[group].append(key)
    return groups
