"""Filters that pages are asked for with, and how each peer is told of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from models.filters import Compares, Condition, Equals, HasPair, StartsWith, ValueTest, every

_TESTS: dict[str, Callable[[Any], ValueTest]] = {
    "eq": Equals,
    "startsWith": StartsWith,
    "gte": lambda number: Compares(">=", number),
}


class Pair(NamedTuple):
    """``how`` is as in Waybill's ``ValueWhere``: eq, startsWith or gte."""

    key: str
    value: str | float
    how: str = "eq"


class Wanted(NamedTuple):
    """All of the pairs. ``leads``: the list of the first is the best way to the page, else the objects themselves."""

    pairs: tuple[Pair, ...]
    leads: bool = True

    @property
    def plain(self) -> list[object]:
        """For the limit."""
        return [[list(pair) for pair in self.pairs], self.leads]

    @property
    def condition(self) -> Condition:
        """As Waybill's own statements are made of."""
        return every(HasPair(key, _TESTS[how](value)) for key, value, how in self.pairs)

    @property
    def where(self) -> dict[str, object]:
        """For Waybill, and for the stock stack."""
        return {"data": [{"key": key, "value": {how: value}} for key, value, how in self.pairs]}

    @property
    def columns(self) -> dict[str, object]:
        """For PostGraphile's function: what is equal is contained in the data, which has an index."""
        equal = [{"key": key, "value": value} for key, value, how in self.pairs if how == "eq"]
        found: dict[str, object] = {"equal": orjson.dumps(equal).decode()}
        for key, value, how in self.pairs:
            if how != "eq":
                found |= {"key": key, how: value}
        return found

    @property
    def function(self) -> str:
        """Of PostGraphile's."""
        others = [how for _, _, how in self.pairs if how != "eq"]
        return {"gte": "objectsFrom", "startsWith": "objectsStarting"}[others[0]] if others else "objectsWith"


GENERATED = {
    "10 %": Wanted((Pair("colour", "colour 3"),)),
    "0.1 %": Wanted((Pair("shelf", "shelf 7"),)),
    "unique": Wanted((Pair("number", "500"),)),
    "no match": Wanted((Pair("number", "none"),)),
    "10 % and 1 %": Wanted((Pair("state", "failed"), Pair("colour", "colour 3"))),
    "10 % and another 10 %, disjoint": Wanted((Pair("colour", "colour 3"), Pair("colour", "colour 4"))),
    "startsWith of 1.1 %": Wanted((Pair("shelf", "shelf 77", "startsWith"),), leads=False),
    "range of half": Wanted((Pair("number", 500_000.0, "gte"),), leads=False),
}
FLIGHTS = {
    "carrier UA": Wanted((Pair("carrier", "UA"),)),
    "carrier UA, origin EWR": Wanted((Pair("carrier", "UA"), Pair("origin", "EWR"))),
    "carrier OO, origin LGA": Wanted((Pair("carrier", "OO"), Pair("origin", "LGA"))),
    "dest LEX": Wanted((Pair("dest", "LEX"),)),
    "carrier B6, dest ANC (none)": Wanted((Pair("dest", "ANC"), Pair("carrier", "B6"))),
    "dep_delay from 60": Wanted((Pair("dep_delay", 60.0, "gte"),), leads=False),
    "origin JFK, dep_delay from 300": Wanted((Pair("origin", "JFK"), Pair("dep_delay", 300.0, "gte"))),
    "carrier HA, dep_delay from 60": Wanted((Pair("carrier", "HA"), Pair("dep_delay", 60.0, "gte"))),
    "tailnum from N139": Wanted((Pair("tailnum", "N139", "startsWith"),), leads=False),
}
