"""Whether SQL keeps to a tenant: each table that belongs to tenants needs a condition that bounds it to one.

That is, at its own level of the statement and whatever else is true: its ``tenant_id`` equals an argument or what is
bound already, or the row is looked up by a key that comes from what is bound (a row's references stay in its tenant,
foreign keys see to that). A row of ``tenants`` is bound by its own id or slug.
"""

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field

import sqlglot
from sqlglot import exp

TENANTS = "tenants"
_KEYS = {"id", "object_pk", "batch_pk", "user_id"}


@dataclass
class Level:
    """One SELECT, UPDATE or DELETE, and what its tables are bound to so far."""

    owned: dict[str, str] = field(default_factory=dict)  # by alias: tables of tenants
    derived: dict[str, exp.Expr] = field(default_factory=dict)
    conditions: list[tuple[exp.Expr, set[str]]] = field(default_factory=list)  # with whom each may bind
    names: list[str] = field(default_factory=list)
    bound: set[str] = field(default_factory=set)


def unbound(sql: str, tables: frozenset[str], like_tenant: Container[tuple[str, str]] = ()) -> list[str]:
    """The mentions of ``tables`` in a statement that nothing bounds to a tenant.

    An argument for a column of ``like_tenant``, named with its table, bounds as one for the tenant does.
    """
    if sql.startswith(("FETCH ", "CLOSE ")):  # of a cursor, whose query was looked at when it was declared
        return []
    sql = re.sub(r"^DECLARE \w+ NO SCROLL CURSOR FOR ", "", sql)
    # A space after arguments, for sqlglot takes "$1,$2" for the beginning of a quoted string.
    text = sqlglot.parse_one(re.sub(r"\$\d+", r"\g<0> ", sql), dialect="postgres")
    statement = _Statement(tables, like_tenant)
    found = list(statement.problems(text, frozenset(), frozenset()))
    return list(dict.fromkeys([*found, *statement.overlooked(text)]))


class _Statement:
    def __init__(self, tables: frozenset[str], like_tenant: Container[tuple[str, str]]) -> None:
        self._tables = tables | {TENANTS}
        self._like_tenant = like_tenant
        self._looked_at: set[int] = set()

    def overlooked(self, text: exp.Expr) -> Iterator[str]:
        """Mentions at places that nothing here knows, so that nothing passes for not being understood."""
        for table in text.find_all(exp.Table):
            if table.name in self._tables and id(table) not in self._looked_at:
                yield f"{table.name} (not understood)"

    def problems(self, query: exp.Expr, outer: frozenset[str], ctes: frozenset[str]) -> Iterator[str]:
        """``outer``: aliases around the query that are bound; ``ctes``: names that are no tables."""
        with_ = query.args.get("with_")
        # Each sees those before it, and itself.
        for cte in with_.expressions if with_ else ():
            ctes |= {cte.alias}
        for cte in with_.expressions if with_ else ():
            yield from self.problems(cte.this, outer, ctes)
            if self._reads(cte.this, ctes):
                outer |= {f"WITH {cte.alias}"}
        yield from self._body(query, outer, ctes)

    def _body(self, query: exp.Expr, outer: frozenset[str], ctes: frozenset[str]) -> Iterator[str]:
        match query:
            case exp.Subquery():
                yield from self.problems(query.this, outer, ctes)
            case exp.SetOperation():
                yield from self.problems(query.this, outer, ctes)
                yield from self.problems(query.expression, outer, ctes)
            case exp.Insert():
                yield from self._insert(query, outer, ctes)
            case exp.Select() | exp.Update() | exp.Delete():
                yield from self._level(query, outer, ctes)
            case exp.Values():
                for nested in _subqueries(query):
                    yield from self.problems(nested, outer, ctes)

    def _insert(self, query: exp.Insert, outer: frozenset[str], ctes: frozenset[str]) -> Iterator[str]:
        into = query.this
        columns = [column.name for column in into.expressions] if isinstance(into, exp.Schema) else []
        table = into.find(exp.Table)
        self._looked_at.add(id(table))
        if (name := table.name) in self._tables - {TENANTS} and "tenant_id" not in columns:
            yield name
        yield from self.problems(query.expression, outer, ctes)

    def _level(self, query: exp.Expr, outer: frozenset[str], ctes: frozenset[str]) -> Iterator[str]:
        level = Level()
        for source in _sources(query):
            self._add(level, source, outer, ctes)
        if where := query.args.get("where"):
            level.conditions += [(one, set(level.names)) for one in _all_of(where.this)]
        # An alias of this level hides the same one around it.
        around = outer - set(level.names)
        self._bind(level, around, ctes)
        for alias, derived in level.derived.items():
            yield from self.problems(derived, around | level.bound, ctes)
            if self._reads(derived, ctes):
                level.bound.add(alias)
            self._bind(level, around, ctes)
        for alias, table in level.owned.items():
            if alias not in level.bound:
                yield table if alias == table else f"{table} {alias}"
        within = {id(one) for one in level.derived.values()}
        for nested in _subqueries(query):
            if id(nested) not in within:
                yield from self.problems(nested, around | level.bound, ctes)

    def _add(self, level: Level, source: exp.Expr, outer: frozenset[str], ctes: frozenset[str]) -> None:
        join = source if isinstance(source, exp.Join) else None
        item = source.this if join else source
        alias = item.alias_or_name
        level.names.append(alias)
        if isinstance(item, exp.Table) and isinstance(item.this, exp.Identifier):
            self._looked_at.add(id(item))
            if item.name in ctes:
                if f"WITH {item.name}" in outer:
                    level.bound.add(alias)
            elif item.name in self._tables:
                level.owned[alias] = item.name
        elif isinstance(inner := item.this if isinstance(item, exp.Lateral | exp.Subquery) else None, exp.Query):
            level.derived[alias] = inner
        if join and (on := join.args.get("on")):
            # An outer join's condition bounds only the side that may be missing.
            may = {alias} if join.side == "LEFT" else set() if join.side else set(level.names)
            level.conditions += [(one, may) for one in _all_of(on)]

    def _bind(self, level: Level, outer: frozenset[str], ctes: frozenset[str]) -> None:
        again = True
        while again:
            again = False
            for condition, may in level.conditions:
                for one, other in _equal(condition):
                    alias = self._whose(one, level)
                    if alias not in level.owned or alias not in may or alias in level.bound:
                        continue
                    if self._bounds(one.name, level.owned[alias], other, level, outer, ctes):
                        level.bound.add(alias)
                        again = True

    def _bounds(
        self,
        column: str,
        table: str,
        other: exp.Expr,
        level: Level,
        outer: frozenset[str],
        ctes: frozenset[str],
    ) -> bool:
        """Whether the column's being equal to ``other`` bounds its table."""
        is_tenant = column in ("id", "slug") if table == TENANTS else column == "tenant_id"
        other = _bare(other)
        if isinstance(other, exp.Parameter):
            return is_tenant or (table, column) in self._like_tenant
        if not is_tenant and column not in _KEYS:
            return False
        if isinstance(other, exp.Column):
            names = {"id", "tenant_id"} if is_tenant else _KEYS
            return other.name in names and self._whose(other, level) in level.bound | outer
        if isinstance(other, exp.Query):
            around = outer | level.bound
            return self._reads(other, ctes) and not any(self.problems(other, around, ctes))
        return False

    def _whose(self, column: exp.Column, level: Level) -> str:
        return column.table or (level.names[0] if len(level.names) == 1 else "")

    def _reads(self, query: exp.Expr, ctes: frozenset[str]) -> bool:
        """Whether it reads what is bound: all tables of tenants in it are, or it is a problem by itself."""
        tables = {table.name for table in query.find_all(exp.Table)}
        return bool(tables & (self._tables | ctes))


def _sources(query: exp.Expr) -> Iterator[exp.Expr]:
    """The tables of a level, in order, those after the first as Join."""
    if isinstance(query, exp.Update | exp.Delete):
        yield query.this
    using = query.args.get("using")
    yield from using if isinstance(using, list) else ()
    if from_ := query.args.get("from_"):
        yield from_.this
        yield from from_.this.args.get("joins") or ()
    yield from query.args.get("joins") or ()
    yield from query.args.get("laterals") or ()


def _subqueries(query: exp.Expr) -> Iterator[exp.Expr]:
    """The queries right below, however deep in expressions; not those of WITH."""
    for child in query.iter_expressions():
        if isinstance(child, exp.With):
            continue
        if isinstance(child, exp.Select | exp.SetOperation | exp.Values):
            yield child
        else:
            yield from _subqueries(child)


def _all_of(condition: exp.Expr) -> Iterator[exp.Expr]:
    match condition:
        case exp.And():
            yield from _all_of(condition.left)
            yield from _all_of(condition.right)
        case exp.Paren():
            yield from _all_of(condition.this)
        case _:
            yield condition


def _equal(condition: exp.Expr) -> Iterator[tuple[exp.Column, exp.Expr]]:
    """A column and what it has to be equal to, both ways round."""
    match condition:
        case exp.EQ():
            for one, other in ((condition.left, condition.right), (condition.right, condition.left)):
                # What no index is to be tempted by is asked as an expression: + 0.
                plain = _bare(one)
                if isinstance(plain, exp.Add) and plain.right == exp.Literal.number(0):
                    plain = plain.left
                if isinstance(plain, exp.Column):
                    yield plain, other
        case exp.In() if isinstance(condition.this, exp.Column) and condition.args.get("query"):
            yield condition.this, condition.args["query"]


def _bare(value: exp.Expr) -> exp.Expr:
    """Without casts, parentheses, ARRAY(SELECT ...) and ANY of one, and SELECT of nothing but a value."""
    while True:
        match value:
            case exp.Any(this=exp.Paren(this=exp.Array(expressions=[exp.Query() as query]))):
                return query
            case exp.Cast() | exp.Paren() | exp.Subquery():
                value = value.this
            case exp.Select(expressions=[exp.Expr() as one]) if not value.args.get("from_"):
                value = one
            case _:
                return value
