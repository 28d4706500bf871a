"""What clients asked for and were told. What was answered must be so; what was not may be."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Said(Enum):
    NOTHING = "no answer"
    YES = "done"
    NO = "refused"


@dataclass(eq=False)
class Call:
    """One mutation, from before it is sent."""

    number: int
    client: int
    what: str
    said: Said = Said.NOTHING
    detail: str = ""
    answered: int = 0  # the number of the last call that had begun then

    @property
    def surely(self) -> bool:
        return self.said is Said.YES

    @property
    def perhaps(self) -> bool:
        return self.said is not Said.NO

    def __str__(self) -> str:
        return f"{self.number:4} client {self.client} {self.what}: {self.said.value} {self.detail}".rstrip()


@dataclass(eq=False)
class Thing:
    """A batch or an object; no id is used for a second one. ``gone`` is what a client was told."""

    id: str
    made: list[Call] = field(default_factory=list)
    deleted: list[Call] = field(default_factory=list)
    gone: bool = False

    @property
    def must_exist(self) -> bool:
        return any(call.surely for call in self.made) and not any(call.perhaps for call in self.deletions)

    @property
    def may_exist(self) -> bool:
        deleted = self.gone or any(call.surely for call in self.deletions)
        return any(call.perhaps for call in self.made) and not deleted

    @property
    def is_known(self) -> bool:
        """Whether clients may use it."""
        return any(call.surely for call in self.made) and self.may_exist

    @property
    def deletions(self) -> list[Call]:
        return self.deleted


@dataclass(eq=False)
class Batch(Thing):
    objects: list["Object"] = field(default_factory=list)
    seals: list[Call] = field(default_factory=list)
    digests: set[str] = field(default_factory=set)  # what clients were told

    @property
    def writes(self) -> Iterator[Call]:
        """Whatever was to change what is in it."""
        yield from (call for one in self.objects for call in (*one.made, *one.deleted))
        yield from (write.call for one in self.objects for writes in one.writes.values() for write in writes)
        yield from (upload.call for one in self.objects for upload in one.uploads)


@dataclass(eq=False)
class Write:
    call: Call
    value: str


@dataclass(eq=False)
class Upload:
    """One that a client was given. ``sent`` are the bodies that S3 may have taken, by whatever way."""

    id: str
    object: "Object"
    call: Call  # that announced it
    body: bytes
    proved: bool
    url: str
    headers: dict[str, str]
    in_parts: bool = False
    part_urls: dict[int, str] = field(default_factory=dict)  # that a client has had
    etags: dict[int, str] = field(default_factory=dict)  # of what S3 took last
    sent: list[bytes] = field(default_factory=list)
    complete: bool = False  # what a client was told
    over: bool = False  # so too: it has ended without bytes

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.body).digest()


@dataclass(eq=False, kw_only=True)
class Object(Thing):
    batch: Batch
    first: str  # the value of the key "first", with which it is made
    writes: dict[str, list[Write]] = field(default_factory=lambda: defaultdict(list))  # by key: each client has its own
    uploads: list[Upload] = field(default_factory=list)

    @property
    def deletions(self) -> list[Call]:
        return [*self.deleted, *self.batch.deletions]

    def values(self, key: str) -> set[str | None]:
        """What the key may have: the last value that was answered, or one that was not answered since."""
        possible: set[str | None] = {None}
        for write in self.writes[key]:
            if write.call.surely:
                possible = {write.value}
            elif write.call.perhaps:
                possible.add(write.value)
        return possible


@dataclass(frozen=True)
class Answered:
    """A mutation with an idempotency key, and its answer."""

    call: Call
    key: str
    query: str
    variables: dict[str, Any]
    data: Any


class Ledger:
    def __init__(self) -> None:
        self.large_left = 3  # files in parts: 5 MiB are the least that S3 takes as one
        self.answered: list[Answered] = []
        self.calls: list[Call] = []
        self.batches: dict[str, Batch] = {}
        self.objects: dict[str, Object] = {}
        self.uploads: dict[str, Upload] = {}
        self.together: list[tuple[Call, list[Thing]]] = []  # what one call makes or deletes, all or none
        self.violations: list[str] = []  # of what is seen while clients work

    def call(self, client: int, what: str) -> Call:
        call = Call(len(self.calls) + 1, client, what)
        self.calls.append(call)
        return call

    def making(self, call: Call, things: Iterable[Thing]) -> None:
        made = list(things)
        for thing in made:
            thing.made.append(call)
            if isinstance(thing, Batch):
                self.batches[thing.id] = thing
            elif isinstance(thing, Object):
                self.objects[thing.id] = thing
                if thing not in thing.batch.objects:
                    thing.batch.objects.append(thing)
        self.together.append((call, made))

    def deleting(self, call: Call, things: Iterable[Thing]) -> None:
        deleted = list(things)
        for thing in deleted:
            thing.deleted.append(call)
        self.together.append((call, deleted))

    def known_batches(self) -> list[Batch]:
        return [batch for batch in self.batches.values() if batch.is_known]

    def known_objects(self) -> list[Object]:
        return [one for one in self.objects.values() if one.is_known]

    def not_there(self, thing: Thing, said: str) -> None:
        """A client was told so."""
        if thing.must_exist:
            self.violations.append(f"(4) {thing.id} was answered and is gone: {said}")
        if any(call.surely for call in thing.made):
            thing.gone = True

    def there(self, thing: Thing, said: str) -> None:
        if not thing.may_exist:
            self.violations.append(f"(4) the deletion of {thing.id} was answered, or nobody made it: {said}")

    def lines(self) -> Iterator[str]:
        yield from map(str, self.calls)
