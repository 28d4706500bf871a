"""What the measurements leave for the report: one list of figures each, as JSON in the directory of results."""

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson


class Figure(NamedTuple):
    """The median of some rounds; ``spread`` is the least and the most of them."""

    work: str
    peer: str
    figure: float
    unit: str
    spread: tuple[float, float]


def of(work: str, peer: str, measured: Sequence[float], unit: str) -> Figure:
    return Figure(work, peer, statistics.median(measured), unit, (min(measured), max(measured)))


def write(path: Path, figures: Iterable[Figure]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [one._asdict() for one in figures]
    path.write_bytes(orjson.dumps(listed, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read(path: Path) -> list[Figure]:
    return [Figure(**{**one, "spread": tuple(one["spread"])}) for one in orjson.loads(path.read_bytes())]
