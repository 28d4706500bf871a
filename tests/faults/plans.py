"""What is to break, and when: drawn from a seed, one plan for each process that is started."""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Sort: TypeAlias = Literal["commit", "write", "s3"]
Action: TypeAlias = Literal["kill", "error", "status"]


@dataclass(frozen=True)
class Fault:
    """At the ``number``-th boundary of a sort: kill the process, break the connection, or have S3 answer 500.

    Before a call nothing was done then; after it all was, and the answer is lost. ``times`` calls fail from there on:
    more than the SDK tries make an outage.
    """

    sort: Sort
    number: int
    action: Action
    times: int = 1


@dataclass(frozen=True)
class Plan:
    faults: tuple[Fault, ...] = ()

    def to_json(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self.faults]

    @classmethod
    def of_json(cls, given: list[dict[str, Any]]) -> "Plan":
        return cls(tuple(Fault(**one) for one in given))

    def __str__(self) -> str:
        return ", ".join(f"{one.action} at {one.sort} {one.number} x{one.times}" for one in self.faults) or "no fault"


CLEAN = Plan()

# Of each sort, how many boundaries a process of the role passes while nothing breaks, roughly.
_USUAL: dict[str, dict[Sort, int]] = {
    "serve": {"commit": 70, "s3": 30},
    "worker": {"commit": 20, "write": 24, "s3": 6},
    "drain": {"commit": 8, "write": 8, "s3": 4},
}
_MOST_KILLS = {"serve": 3, "worker": 3, "drain": 3}


def plans(seed: int, role: str) -> Iterator[Plan]:
    """One for each start of the role, endlessly: after some that break, all that follow are clean."""
    rng = random.Random(f"{seed} {role}")
    for _ in range(rng.randint(0, _MOST_KILLS[role])):
        yield Plan((_fault(rng, role, "kill"), *_errors(rng, role)))
    yield Plan(tuple(_errors(rng, role)))
    while True:
        yield CLEAN


def _errors(rng: random.Random, role: str) -> Iterator[Fault]:
    for _ in range(rng.choice((0, 1, 1, 2))):
        yield _fault(rng, role, rng.choice(("error", "error", "status")))


def _fault(rng: random.Random, role: str, action: Action) -> Fault:
    sort: Sort = "s3" if action == "status" else rng.choice(list(_USUAL[role]))
    number = 1 + int(_USUAL[role][sort] * rng.random() ** 1.5)
    return Fault(sort, number, action, times=rng.choice((1, 1, 4)) if sort == "s3" and action != "kill" else 1)
