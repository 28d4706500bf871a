"""Quotas as somebody at a terminal writes and reads them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import click
from rich import filesize

_MOST = (1 << 63) - 1
_LETTERS = "KMGTP"
_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate(_LETTERS, 1)},
    **{f"{letter}IB": 1024**power for power, letter in enumerate(_LETTERS, 1)},
}


class Quota(NamedTuple):
    most: int | None  # None: as many as may be


class _Type(click.ParamType[Quota]):
    """A whole number, or a decimal one with a unit, or "none"."""

    name = "number or none"

    def __init__(self, units: Mapping[str, int], example: str) -> None:
        self._units = units
        self._example = example

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Quota:
        text = str(value).strip()
        if text.lower() == "none":
            return Quota(None)
        found = re.fullmatch(r"([0-9]{1,19})(?:\.([0-9]{1,9}))? ?([A-Z]*)", text.upper(), re.ASCII)
        factor = self._units.get(found[3]) if found else None
        if found is None or factor is None or (found[2] and factor == 1):
            self.fail(f'{text!r} is no quota: write a number, such as {self._example}, or "none".', param, ctx)
        whole, part = int(found[1]), found[2] or "0"
        most = whole * factor + int(part) * factor // 10 ** len(part)
        if most > _MOST:
            self.fail(f'{text} is more than can be counted: write up to {_MOST:,}, or "none".', param, ctx)
        return Quota(most)


BYTES = _Type(_UNITS, "10GB or 10GiB")
COUNT = _Type({"": 1}, "10000000")


def of_bytes(count: int | None) -> str:
    return "no limit" if count is None else filesize.decimal(count)


def in_words(count: int | None) -> str:
    return "no limit" if count is None else f"{count:,}"
