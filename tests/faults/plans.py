"""What is to break, and when: drawn from a seed, one plan for each process that is started."""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Sort: TypeAlias = Literal["commit", "write", "s3", "aimed"]
Action: TypeAlias = Literal["kill", "error", "status"]


@dataclass(frozen=True)
class Fault:
    """At the ``number``-th boundary of a sort: kill the process, break the connection, or have S3 answer 500.

    One that is aimed is at the first boundary of some names that are drawn by the number: rare ones are broken, too.
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
AIMED_OF = 50  # names a fault is aimed at one: more, and late ones would be left to faults that come first

# How often a sort is chosen, and how many boundaries of it a process of the role passes while nothing breaks, roughly.
_USUAL: dict[str, dict[Sort, tuple[int, int]]] = {
    "serve": {"commit": (6, 60), "write": (1, 4), "s3": (3, 30)},
    "worker": {"commit": (1, 20), "write": (1, 24), "s3": (1, 6)},
    "drain": {"commit": (1, 8), "write": (1, 8), "s3": (1, 4)},
    "reap": {"commit": (1, 8), "write": (1, 20), "s3": (1, 4)},
    "act": {"commit": (1, 8), "write": (2, 40), "s3": (3, 20)},
}
ROLES = tuple(_USUAL)
_AIMED = 0.4  # of all faults
_MOST = 3  # of a role that are killed
# Of a process, each as likely.
_ERRORS = {"serve": (1, 2, 3, 4), "worker": (0, 1, 2), "drain": (0, 1, 1), "reap": (0, 1), "act": (0, 1, 2)}


def plans(seed: int, role: str) -> Iterator[Plan]:
    """One for each start of the role, endlessly: after some that break, all that follow are clean."""
    rng = random.Random(f"{seed} {role}")
    for _ in range(rng.randint(0, _MOST)):
        yield Plan((_fault(rng, role, "kill"), *_errors(rng, role)))
    yield Plan(tuple(_errors(rng, role)))
    while True:
        yield CLEAN


def _errors(rng: random.Random, role: str) -> Iterator[Fault]:
    for _ in range(rng.choice(_ERRORS[role])):
        yield _fault(rng, role, rng.choice(("error", "error", "status")))


def _fault(rng: random.Random, role: str, action: Action) -> Fault:
    if rng.random() < _AIMED:
        return Fault("aimed", rng.randrange(10**6), action)
    usual = _USUAL[role]
    [drawn] = rng.choices(list(usual), [weight for weight, _ in usual.values()])
    sort: Sort = "s3" if action == "status" else drawn
    number = 1 + int(usual[sort][1] * rng.random() ** 1.5)
    return Fault(sort, number, action, times=rng.choice((1, 1, 4)) if sort == "s3" and action != "kill" else 1)
