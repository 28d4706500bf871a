"""What drives, as SQL: the keys of all objects that match, listed in key order.

So a page reads as many index entries as it shows: `(tenant, key, value, object)` for a pair, the union of sources for
OR, one part of an AND with the others as tests.

Which part of an AND drives is chosen by how far back the newest of each list reach, which ``depths.py`` asks
before, so that only the one way is planned. The time is linear at worst: in the list that drives, times the tests.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from models import granted, merged, zones
from models.distinct import distinct, united
from models.driving import RARE, Both, by_grants, distance, driver, flat, in_no_order, lead, lead_of_batch
from models.filters import (
    All,
    AnyOf,
    Compares,
    Condition,
    Equals,
    Everything,
    Granted,
    HasFile,
    HasPair,
    InBatch,
    InOuterBatch,
    OneOf,
)

if TYPE_CHECKING:
    from models.sql import Narrow, Sql


def source(sql: "Sql", condition: Condition, narrow: "Narrow", end: str) -> str:
    """A SELECT of the matching ``object_pk`` in key order.

    ``narrow`` bounds a key expression (the cursor), ``end`` is "ORDER BY object_pk ... LIMIT ..." or empty: each
    part of a union needs only as many rows as the page.
    """
    if split := by_grants(condition, sql.depths):
        return _granted(sql, *split, narrow, end)
    narrow = zones.narrowed(sql, condition, _begun(sql, condition, narrow, end), end)
    sources = []
    for driving, others, chosen in ways(sql, condition):
        sources.append(_driven(sql, driving, others, lambda key, c=chosen: f"{c} AND {narrow(key)}", end))  # type: ignore[misc]
    if len(sources) == 1:
        return sources[0]
    return f"SELECT object_pk FROM ({' UNION ALL '.join(f'({one})' for one in sources)}) AS c {end}"


def _granted(sql: "Sql", given: Granted, rest: Condition, narrow: "Narrow", end: str) -> str:
    """What is granted singly, by its own lists, and what each granted batch has."""
    own, whole = sql.of_grants(given), sql.of_any()
    seen = All((given, rest))
    narrow = _begun(own, rest, narrow, end)
    listed = _driven(own, *lead(rest, own.depths, alone=own.begins), zones.narrowed(own, seen, narrow, end), end)
    batch, user = whole.alias(), whole.bind(given.user_id, "bigint")
    led, others = lead_of_batch(rest, whole.depths)
    inside = All((InOuterBatch(f"{batch}.batch_pk"), others))
    of_batch = _driven(whole, led, inside, zones.narrowed(whole, seen, narrow, end), end)
    of_batches = (
        f"SELECT l.object_pk FROM grants {batch} CROSS JOIN LATERAL ({of_batch}) AS l"
        f" WHERE {batch}.user_id = {user} AND {batch}.object_pk IS NULL {end}"
    )
    return united([listed, of_batches], end)


def _begun(sql: "Sql", condition: Condition, narrow: "Narrow", end: str) -> "Narrow":
    return merged.newest(sql, lead(condition, sql.depths, alone=True)[0], narrow, end) if sql.begins else narrow


def _driven(sql: "Sql", driving: Condition | Both, others: Condition, narrow: "Narrow", end: str) -> str:
    if isinstance(driving, AnyOf):
        parts = [_driven(sql, *driver(All((part, others))), narrow, end) for part in driving.of]
        return united(parts, end)
    if isinstance(driving, Granted):
        return _driven(sql.of_grants(driving), Everything(), others, narrow, end)
    if isinstance(driving, Both):
        return merged.source(sql, driving, others, narrow, end)
    if not isinstance(driving, HasPair):
        return _in_order(sql, driving, others, narrow, end)
    # An object has a pair once, but may have several of a key or of a value.
    once = driving.key is not None and isinstance(driving.test, Equals | OneOf)
    rest = flat(others)
    batch = next((part for part in rest if isinstance(part, InBatch | InOuterBatch)), None)
    pair = sql.alias()
    if batch is None or sql.given is not None:  # of what is granted singly no list is a batch's
        if in_no_order(driving) and sql.depths.get(driving) == RARE:
            return _short(sql, driving, others, narrow, end)
        pairs = sql.pairs(pair)
    else:
        others = All(tuple(part for part in rest if part is not batch))
        if not once:
            return _unordered(sql, batch, driving, others, narrow, end)
        pairs = f"object_pairs {pair} WHERE {sql.test(batch, 'null', f'{pair}.batch_pk')}"
    key = f"{pair}.object_pk"
    select = f"SELECT {'' if once else distinct(key)} {key} FROM {pairs}"
    tests = f"{sql.test(others, key, f'{pair}.batch_pk')} AND {narrow(key)} {end}"
    if isinstance(driving.test, OneOf):  # one ordered index range per value, however many values
        one = sql.pair(HasPair(driving.key, Equals("")), pair, value="w.value")
        values = sql.unnested(driving.test)
        found = f"{values} CROSS JOIN LATERAL ({select}{one} AND {tests}) AS l {end}"
        return f"SELECT {distinct('object_pk')} object_pk FROM {found}"
    return f"{select}{sql.pair(driving, pair)} AND {tests}"


def _in_order(sql: "Sql", driving: Condition, others: Condition, narrow: "Narrow", end: str) -> str:
    """Without a list of pairs: all grants, all objects, or those with a file in some state."""
    one = sql.alias()
    key, batch = f"{one}.object_pk", f"{one}.batch_pk"
    tested: Condition = All((driving, others))
    if sql.given is not None:
        select = granted.singly(sql, sql.given, one)
    elif isinstance(driving, HasFile):
        batch, tested = f"(SELECT batch_pk FROM objects WHERE id = {key})", others
        where = f"{one}.tenant_id = {sql.tenant}{sql.file(driving, one)}"
        select = f"SELECT {key} FROM uploads {one} WHERE {where}"
    else:
        key = f"{one}.id"
        select = f"SELECT {key} AS object_pk FROM objects {one} WHERE {sql.rows(one)}"
    return f"{select} AND {sql.test(tested, key, batch)} AND {narrow(key)} {end}"


def _unordered(sql: "Sql", batch: Condition, driving: HasPair, others: Condition, narrow: "Narrow", end: str) -> str:
    """Of a batch's pairs with a range of values no index is in key order: they are found first, then put in order.

    All in one, the planner may follow some index in key order instead, past the pairs of everybody.
    """
    pair, found = sql.alias(), sql.alias()
    begin = sql.test(batch, "null", f"{pair}.batch_pk")
    where = f"{begin}{sql.pair(driving, pair, listed=False)} AND {narrow(f'({pair}.object_pk + 0)')}"
    order = end.partition(" LIMIT ")[0]  # inside, so that only as many are tested as the page takes
    listed = f"SELECT DISTINCT object_pk, batch_pk FROM object_pairs {pair} WHERE {where} {order} OFFSET 0"
    test = sql.test(others, f"{found}.object_pk", f"{found}.batch_pk")
    return f"SELECT object_pk FROM ({listed}) AS {found} WHERE {test} {end}"


def _short(sql: "Sql", driving: HasPair, others: Condition, narrow: "Narrow", end: str) -> str:
    """Of a short list in no order, which is found first for the same reason: all of it, and then put in order.

    Found in the order of its values, so that it is by the index that has them in it: PostgreSQL 18 may take the one of
    zones (``zones.py``), and look for the values in each of them.
    """
    pair, found = sql.alias(), sql.alias()
    key = f"({pair}.object_pk + 0)"
    pairs = f"SELECT {key} AS object_pk FROM {sql.pairs(pair)}{sql.pair(driving, pair)} AND {narrow(key)}"
    order, by = end.partition(" LIMIT ")[0], "number" if isinstance(driving.test, Compares) else "value"
    found_first = f"{pairs} ORDER BY {pair}.{by} OFFSET 0"
    listed = f"SELECT {distinct('object_pk')} object_pk FROM ({found_first}) AS l {order} OFFSET 0"
    test = sql.test(others, f"{found}.object_pk", f"(SELECT batch_pk FROM objects WHERE id = {found}.object_pk)")
    return f"SELECT object_pk FROM ({listed}) AS {found} WHERE {test} {end}"


def ways(sql: "Sql", condition: Condition, *, alone: bool = False) -> Iterator[tuple[Condition | Both, Condition, str]]:
    """Each way to answer an AND: what drives (``alone``: one part), the others, and what is true of one way."""
    parts = flat(condition)
    given = next((part for part in parts if isinstance(part, Granted)), None)
    batch = next((part for part in parts if isinstance(part, InBatch | InOuterBatch)), None)
    if given is None or batch is None or any(distance(part) == 0 for part in parts):
        yield *lead(condition, sql.depths, alone=alone or sql.begins), "true"
        return
    rest = All(tuple(part for part in parts if part is not given))
    whole = granted.whole_batch(sql, given, batch)
    yield given, rest, f"NOT {whole}"
    yield *lead(rest, sql.depths), whole
