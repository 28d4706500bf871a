"""Which keys there are, and which values of a key, with how many objects have them.

A loose index scan (https://wiki.postgresql.org/wiki/Loose_indexscan) jumps from one distinct key to the next, and each
count stops at a bound, so that the work is bounded by what is shown, not by what is stored.
"""

from collections.abc import Sequence

from models import database, driven
from models.filters import HEAD_CHARACTERS, Condition, Granted, after_prefix
from models.pages import Row, Scope
from models.sql import Sql

MOST_COUNTED = 10_000
MOST_READ = 50_000  # objects of somebody who sees few, whose pairs are read instead of everybody's being looked through


async def data_keys(scope: Scope, prefix: str, limit: int) -> Sequence[Row]:
    """``key``, ``count``: the first keys with this prefix in code point order; a count ends at MOST_COUNTED + 1."""
    sql = Sql(scope.tenant_id)
    facet = _facet(sql, "key", "true", prefix, scope.within, limit)
    text = sql.statement(f"{facet} SELECT f.facet AS key, f.count FROM counted f ORDER BY f.facet")
    return await database.fetch(text, *sql.arguments)


async def data_values(scope: Scope, key: str, prefix: str, limit: int) -> Sequence[Row]:
    """``value``, ``count``: the first values of a key with this prefix; long values are read from an object."""
    sql = Sql(scope.tenant_id)
    wanted = sql.bind(key, "text")
    facet = _facet(sql, "value", f"p.key = {wanted}", prefix, scope.within, limit)
    whole = f"""
        CASE WHEN char_length(f.facet) <= {HEAD_CHARACTERS} THEN f.facet ELSE (
            SELECT d.value FROM object_pairs p JOIN objects o ON o.id = p.object_pk
            CROSS JOIN LATERAL jsonb_to_recordset(o.data) AS d (key text, value text)
            WHERE p.tenant_id = {sql.tenant} AND p.key = {wanted} AND p.value = f.facet
              AND d.key = p.key AND pair_value(d.value) = f.facet LIMIT 1) END"""
    text = sql.statement(f"{facet} SELECT {whole} AS value, f.count FROM counted f ORDER BY f.facet")
    return await database.fetch(text, *sql.arguments)


def _facet(sql: Sql, column: str, fixed: str, prefix: str, within: Condition, limit: int) -> str:
    """A WITH clause whose ``counted (facet, count)`` has the distinct values of one column of ``object_pairs``."""
    pair = f"p.tenant_id = {sql.tenant} AND {fixed}"
    visible = sql.test(within, "p.object_pk", "p.batch_pk")
    start = sql.bind(prefix, "text")
    end = after_prefix(prefix)
    ends = "true" if end is None else f"p.{column} < {sql.bind(end, 'text')}"
    few, many, of_few = "", "true", ""
    if isinstance(within, Granted):
        few, many, of_few = _few(sql, within, column, f"{fixed} AND p.{column} >= {start} AND {ends}", limit)
    one = f"FROM object_pairs p WHERE {pair} AND {ends} AND {visible}"
    next_one = f"SELECT p.{column} {one} AND p.{column} > f.facet ORDER BY p.{column} LIMIT 1"
    return f"""
        WITH RECURSIVE {few} facets (facet, number) AS (
            (SELECT p.{column}, 1 {one} AND {many} AND p.{column} >= {start} ORDER BY p.{column} LIMIT 1)
            UNION ALL
            SELECT ({next_one}), f.number + 1 FROM facets f WHERE f.facet IS NOT NULL AND f.number < {limit}
        ), counted AS (
            SELECT f.facet, (SELECT count(*) FROM (
                SELECT DISTINCT p.object_pk FROM object_pairs p WHERE {pair} AND p.{column} = f.facet AND {visible}
                ORDER BY p.object_pk LIMIT {MOST_COUNTED + 1}) AS limited) AS count
            FROM facets f WHERE f.facet IS NOT NULL {of_few}
        )"""


def _few(sql: Sql, within: Granted, column: str, wanted: str, limit: int) -> tuple[str, str, str]:
    """For those who may see few objects among many: their pairs are read, instead of everybody's being looked through.

    A table for the WITH clause, a condition that is true where they are not few, and the counts where they are.
    """
    end = f"LIMIT {MOST_READ + 1}"  # in no order, so that it ends as soon as there are more
    source = driven.source(sql, within, lambda _: "true", end)
    are_few = f"(SELECT count(*) FROM visible) <= {MOST_READ}"
    counts = (
        f"UNION ALL (SELECT p.{column}, least(count(DISTINCT p.object_pk), {MOST_COUNTED + 1}) FROM visible v"
        f" JOIN object_pairs p ON p.object_pk = v.object_pk WHERE {are_few} AND {wanted}"
        f" GROUP BY p.{column} ORDER BY p.{column} LIMIT {limit})"
    )
    return f"visible AS MATERIALIZED ({source}),", f"NOT ({are_few})", counts
