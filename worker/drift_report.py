"""What a drift report says, as it comes together: how much there is of each kind, and the first of each by name."""

import logging
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from models import DriftKind
from models.drifting import Held
from storage.locations import Trouble

_NAMED = 100  # of each kind: a page of GraphQL

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that differs. The path is a copy's, the key that of a file in the bucket of the source."""

    kind: DriftKind
    path: str | None = None
    key: str | None = None
    batch_id: str | None = None
    object_id: str | None = None
    file_name: str | None = None

    def told(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(slots=True)
class Report:
    """``tell`` is told everything, of which only the first of each kind are remembered."""

    held: Held
    tell: Callable[[Item], object]
    copies: int = 0  # that were SYNCED and looked at
    queued: int = 0  # by a repair
    counts: Counter[DriftKind] = field(default_factory=Counter)
    named: defaultdict[DriftKind, list[Item]] = field(default_factory=lambda: defaultdict(list))
    problem: str | None = None  # why it is not whole
    error: str | None = None

    def add(self, item: Item) -> None:
        self.counts[item.kind] += 1
        if len(self.named[item.kind]) < _NAMED:
            self.named[item.kind].append(item)
        self.tell(item)

    def failed(self, trouble: Trouble) -> None:
        self.problem, self.error = trouble.code, str(trouble)

    def summary(self) -> dict[str, Any]:
        """All but the names."""
        return {
            "copies": self.copies,
            **{kind.value.lower(): self.counts[kind] for kind in DriftKind},
            "queued": self.queued,
            "repair": self.held.repair,
            "verify": self.held.verify,
            "problem": self.problem,
            "error": self.error,
        }

    def whole(self) -> dict[str, Any]:
        return {**self.summary(), "items": [one.told() for kind in DriftKind for one in self.named[kind]]}

    def log(self) -> None:
        name = f"{self.held.source['tenant_slug']}.{self.held.source['name']}"
        found = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.counts.items())) or "nothing"
        if self.problem:
            _log.error("the drift report of %s is not whole: %s: %s", name, self.problem, self.error)
        level = logging.WARNING if self.counts else logging.INFO
        _log.log(level, "drift of %s: %s, of %d copies; %d queued", name, found, self.copies, self.queued)
