"""How far back the newest 256 entries of lists reach, by which one is chosen that leads to a page: ``driving.py``.

Asked before the page is, and remembered by this process for a while, for it only decides how quickly the page is found:
what is on it the database says each time.
"""

import time
from typing import NamedTuple

from models import database, granted
from models.driving import NEVER, RARE, SELDOM, Depths, Singly, all_rivals, driver, is_open, is_range, may_begin
from models.filters import AnyOf, Condition, Equals, Everything, Granted, HasFile, HasPair, OneOf
from models.merged import LOOKED_UP
from models.pages import Bounds, Scope, digest
from models.sql import Sql

SECONDS = 10.0
MOST = 2_000
_SAMPLE = LOOKED_UP  # lists of fewer entries lead by themselves
_FEW = 2_000
_SOME = 10_000  # of a list that is in no order
_NEVER = (1 << 63) - 1  # in the place of a key
_SELDOM = _NEVER - 1


class Depth(NamedTuple):
    """In keys; ``at`` is when it was asked."""

    value: float
    at: float


async def sql(scope: Scope, condition: Condition) -> Sql:
    """A statement to be made that knows about the lists in the condition."""
    rivals = list(dict.fromkeys(all_rivals(condition)))
    if not rivals:
        return _sql(scope, condition, {})
    known, now = database.depths(), time.monotonic()
    given = next((rival for rival in rivals if isinstance(rival, Granted)), None)
    keys = [digest(scope.tenant_id, rival, given) for rival in rivals]
    if any(key not in known or now - known[key].at >= SECONDS for key in keys):
        found = await _ask(scope.tenant_id, rivals)
        _remember({key: Depth(found[rival], now) for key, rival in zip(keys, rivals, strict=True)})
        return _sql(scope, condition, found)
    return _sql(scope, condition, {rival: known[key].value for key, rival in zip(keys, rivals, strict=True)})


def beginning(scope: Scope, condition: Condition, sql: Sql, bounds: Bounds) -> Sql | None:
    """A statement to be made of how a page begins, which may be all of it, unless it was too short a while ago."""
    wanted = bounds.limit < LOOKED_UP // 2 and may_begin(condition, sql.depths)
    known = database.depths().get(_begun(scope, condition, bounds)) if wanted else None
    if not wanted or (known is not None and time.monotonic() - known.at < SECONDS):
        return None
    return Sql(scope.tenant_id, sql.depths, is_open=False, begins=True)


def was_too_short(scope: Scope, condition: Condition, bounds: Bounds) -> None:
    """Of ``beginning``: for a while the whole page is asked for at once."""
    _remember({_begun(scope, condition, bounds): Depth(NEVER, time.monotonic())})


def _remember(found: dict[bytes, Depth]) -> None:
    known = database.depths()
    if len(known) + len(found) > MOST:
        known.clear()
    known.update(found)


def _begun(scope: Scope, condition: Condition, bounds: Bounds) -> bytes:
    return digest(scope.tenant_id, condition, bounds.limit, bounds.backward)


def _sql(scope: Scope, condition: Condition, depths: Depths) -> Sql:
    return Sql(scope.tenant_id, depths, is_open=is_open(condition, depths))


async def _ask(tenant_id: int, rivals: list[Condition | Singly]) -> dict[Condition | Singly, float]:
    question = Sql(tenant_id, is_open=False)
    given = next((rival for rival in rivals if isinstance(rival, Granted)), None)
    reaches: dict[Condition | Singly, str] = {}
    for rival in rivals:
        if isinstance(rival, Granted):
            reaches[rival] = granted.reach(question, rival, sample=_SAMPLE, seldom=_SELDOM, never=_NEVER)
        elif not isinstance(rival, Singly):
            reaches[rival] = _reach(question, rival)
        elif given is not None:
            reaches[rival] = _reach(question.of_grants(given), rival.of)
    newest = f"SELECT o.id FROM objects o WHERE {question.rows('o')} ORDER BY o.id DESC LIMIT 1"
    asked = question.statement(
        f"SELECT ({newest}) AS newest, ARRAY[{', '.join(reaches.values())}]::bigint[] AS reaches"
    )
    [row] = await database.fetch(asked, *question.arguments)
    return {rival: _depth(row["newest"], reach) for rival, reach in zip(reaches, row["reaches"], strict=True)}


def _depth(newest: int | None, reach: int) -> float:
    if reach == 0 or newest is None:
        return RARE
    return {_NEVER: NEVER, _SELDOM: SELDOM}.get(reach, float(max(newest - reach, 0)))


def _reach(sql: Sql, condition: Condition) -> str:
    """The key of the last of the newest, 0 where there are fewer.

    Lists that are not in key order are either rare, and then 0, or drive only when nothing else can.
    """
    if isinstance(condition, AnyOf):
        return f"greatest({', '.join(_reach(sql, driver(part)[0]) for part in condition.of)})"
    if isinstance(condition, Everything) and sql.given is not None:
        return _reached(f"{granted.singly(sql, sql.given, 'g')} ORDER BY g.object_pk DESC")
    if isinstance(condition, HasFile):
        if sql.given is not None:
            return str(_SELDOM)  # there is none
        file = sql.alias()
        where = f"{file}.tenant_id = {sql.tenant}{sql.file(condition, file)}"
        return _reached(f"SELECT {file}.object_pk FROM uploads {file} WHERE {where} ORDER BY {file}.object_pk DESC")
    assert isinstance(condition, HasPair)  # noqa: S101 -- driving.rivals sends nothing else here
    pair = sql.alias()
    begin = f"FROM {sql.pairs(pair)}"
    if isinstance(condition.test, OneOf):
        one = sql.pair(HasPair(condition.key, Equals("")), pair, value="w.value")
        return f"(SELECT coalesce(max({_in_order(pair, begin + one)}), 0) FROM {sql.unnested(condition.test)})"
    found = begin + sql.pair(condition, pair)
    if condition.test is None or isinstance(condition.test, Equals):
        return _in_order(pair, found)
    most = _SOME if is_range(condition) else _FEW
    counted = f"SELECT count(*) AS n FROM (SELECT {found} LIMIT {most}) AS s"
    reach = f"CASE WHEN n < {_FEW} THEN 0 WHEN n < {most} THEN {_SELDOM} ELSE {_NEVER} END"
    return f"(SELECT {reach} FROM ({counted}) AS c)"


def _reached(listed: str) -> str:
    return f"coalesce(({listed} OFFSET {_SAMPLE - 1} LIMIT 1), 0)"


def _in_order(pair: str, found: str) -> str:
    return _reached(f"SELECT {pair}.object_pk {found} ORDER BY {pair}.object_pk DESC")
