"""What resolvers ask for one by one and is read together: one statement for each list of siblings."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar

from strawberry.dataloader import DataLoader

from access import policy
from access.policy import Viewer
from models import AccessLevel, batches, drifting, files, grants, people, reads, sources, syncs
from models.errors import BadInput, NotFound
from models.filters import Condition, HasKey
from models.grants import Thing
from models.pages import Bounds, Page, Row, Scope, digest
from models.reads import Parts

K = TypeVar("K")
G = TypeVar("G")

_MOST_CHARACTERS = 300_000  # of one filter


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


class Loads:
    """Of one request, for its viewer."""

    @property
    @abstractmethod
    def viewer(self) -> Viewer: ...

    @property
    @abstractmethod
    def scope(self) -> Scope: ...

    @abstractmethod
    def hand_out(self, rows: int) -> None: ...

    @abstractmethod
    async def sees_people(self) -> bool: ...

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

    @cached_property
    def pending(self) -> DataLoader[int, Row]:
        return DataLoader(partial(self._load_of_tenant, files.pending), cache=False)

    @cached_property
    def copies(self) -> DataLoader[int, Row]:
        """By objects."""
        return DataLoader(partial(self._load_of_tenant, syncs.copies), cache=False)

    @cached_property
    def sync_standings(self) -> DataLoader[int, Row]:
        """By sync sources."""
        return DataLoader(partial(self._load_of_tenant, sources.standings), cache=False)

    @cached_property
    def drifts(self) -> DataLoader[int, Row]:
        """By sync sources."""
        return DataLoader(partial(self._load_of_tenant, drifting.latest), cache=False)

    async def _load_of_tenant(
        self, ask: Callable[[int, list[int]], Awaitable[Mapping[int, Row]]], wanted: list[int]
    ) -> Sequence[Row]:
        """Null for what has none."""
        rows = await ask(self.viewer.tenant_id, list(set(wanted)))
        return [rows.get(key) for key in wanted]

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

    async def _load_users(self, wanted: list[int]) -> Sequence[Row]:
        keys = set(wanted) if await self.sees_people() else {self.viewer.user_id} & set(wanted)
        rows = {row["id"]: row for row in await people.some_users(self.viewer.tenant_id, list(keys))}
        return [rows.get(key) for key in wanted]


def _grouped(group_of: Mapping[K, G]) -> dict[G, list[K]]:
    groups: dict[G, list[K]] = defaultdict(list)
    for key, group in group_of.items():
        groups[group].append(key)
    return groups
