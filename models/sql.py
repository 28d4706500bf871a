"""How conditions become SQL.

A condition is asked in one of two ways. As a *test* it is a boolean expression about one candidate row. As a *source*
it lists the keys of all matching objects in key order: see ``driven.py``.

The planner is not left to choose between the two: its statistics know neither a new tenant nor a rare value, it takes
both lists for one row each, and reads one of them again for every row of the other. So every test is a look-up of its
own (OFFSET 0 sees to it), and what is asked of one object or batch hides from it the columns that other indexes have,
lest it walk those (PostgreSQL 18 skips over a missing tenant).

Where there is but one way, the planner is not told the values either (``Sql.bind``): PostgreSQL keeps the plan
then, for all values and tenants, which takes it a fifth of the time, and tests that look at one plan have seen all.
What is best done in one of several ways, depending on values (``driving.is_open``), is planned each time with them.
"""

import copy
import itertools
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property
from typing import TypeAlias

from models import driven, granted, ids
from models.driving import Both, Depths, of_grants
from models.errors import BadInput
from models.filters import (
    HEAD_CHARACTERS,
    All,
    AnyOf,
    Compares,
    Condition,
    CreatedAfter,
    CreatedBefore,
    Equals,
    Everything,
    Granted,
    HasBatchId,
    HasFile,
    HasKey,
    HasObject,
    HasObjectId,
    HasPair,
    InBatch,
    InOuterBatch,
    Not,
    OneOf,
    StartsWith,
    after_prefix,
    indexed,
)

MOST_LOOKUPS = 500  # of pairs in one statement; planning them takes 0.2 s and 150 MB

Narrow: TypeAlias = Callable[[str], str]  # from an expression for a key to what bounds it

# The first part is true, and goes when a plan is made for it. A plan for any value seems too dear to be kept.
_NOT_KEPT = "({} OR (SELECT count(*) FROM generate_series(1, 1000000000000)) > 0)"


class Sql:
    """One statement in the making: its arguments, and the tenant that every table is read for."""

    def __init__(
        self,
        tenant_id: int,
        depths: Depths | None = None,
        *,
        is_open: bool = True,
        begins: bool = False,
    ) -> None:
        """``depths`` of the lists that there is a choice from, as far as they are known.

        ``is_open``: the planner is told the values, each time a ``statement`` is run. ``begins``: nothing is merged,
        and ``driven.source`` lists only what is among the newest of the list that leads.
        """
        self.arguments: list[object] = []
        self._bound: dict[tuple[object, str], str] = {}
        self._tenant_id = tenant_id
        self._aliases = itertools.count(1)
        self._choices: list[str] = []
        self._is_open = is_open
        self.begins = begins
        self.depths: Depths = depths or {}
        self.given: Granted | None = None

    def of_grants(self, given: Granted) -> "Sql":
        """The same statement where it is about what is granted to a user singly."""
        own = copy.copy(self)
        own.given, own.depths = given, of_grants(self.depths)
        return own

    def of_any(self) -> "Sql":
        """The same statement where there is but one way whatever the values are, and the planner is not told them."""
        own = copy.copy(self)
        vars(own).update(_is_open=False, _bound={})
        vars(own).pop("tenant", None)  # as it was bound
        return own

    @cached_property
    def tenant(self) -> str:
        return self.bind(self._tenant_id, "bigint")

    @property
    def some_tenant(self) -> str:
        """The same, always hidden from the planner, where something else says which rows it is about.

        Of a tenant that the statistics do not know yet PostgreSQL expects one object, and would read all it has instead
        of looking up the one that is asked for.
        """
        return f"(SELECT {self.tenant})" if self._is_open else self.tenant

    def bind(self, value: Hashable, type_name: str) -> str:
        """An array is a tuple. What is asked in several alternatives is sent once.

        In a SELECT of its own, which the planner does not look into: it plans for any value.
        """
        if (value, type_name) not in self._bound:
            self.arguments.append(value)
            bound = f"${len(self.arguments)}::{type_name}"
            if not self._is_open:
                bound = f"(SELECT {bound})" + (f"::{type_name}" if type_name.endswith("[]") else "")
            self._bound[value, type_name] = bound
        return self._bound[value, type_name]

    def rows(self, alias: str) -> str:
        """WHERE of a table's rows of the tenant that are to be read in key order.

        That each is between the tenant's least and greatest goes without saying, and says that few of all keys are: the
        planner would rather walk those of all tenants, past what others have made since, where it knows of few tenants.
        """
        row = f"({alias}.tenant_id, {alias}.id)"
        between = f"{row} >= ({self.tenant}, 0) AND {row} <= ({self.tenant}, {ids.LARGEST})"
        return f"{alias}.tenant_id = {self.tenant} AND {between}"

    def statement(self, text: str) -> str:
        """A SELECT ``text`` with the choices that its parts ask for."""
        if self._choices:
            text = f"WITH {', '.join(self._choices)} {text}"
        if self._is_open:
            text = f"SELECT * FROM ({text}) AS planned WHERE {_NOT_KEPT.format(self.bind(True, 'boolean'))}"
        return text

    def choice(self, select: str) -> str:
        """The name of a table that is made once, before the statement."""
        name = f"choice{len(self._choices) + 1}"
        self._choices.append(f"{name} AS MATERIALIZED ({select})")
        return name

    def alias(self) -> str:
        """Raises BadInput where alternatives, each tested for all the rest, would make a plan of gigabytes."""
        if (number := next(self._aliases)) > MOST_LOOKUPS:
            raise BadInput('The filter combines too many alternatives: use "in" for several values, or ask in parts.')
        return f"p{number}"

    def pairs(self, *aliases: str) -> str:
        """A FROM clause and the begin of its WHERE: of lists of pairs, each under an alias."""
        if self.given is None:
            table, column, whose = "object_pairs", "tenant_id", self.tenant
        else:
            table, column, whose = "granted_pairs", "user_id", self.bind(self.given.user_id, "bigint")
        tables = ", ".join(f"{table} {alias}" for alias in aliases)
        return f"{tables} WHERE {' AND '.join(f'{alias}.{column} = {whose}' for alias in aliases)}"

    # -- tests ---------------------------------------------------------------------------------------------------

    def test(self, condition: Condition, key: str, batch: str) -> str:
        """A boolean expression about the row whose primary key and batch are given as SQL expressions.

        For a batch both are its own key.
        """
        match condition:
            case Everything():
                return "true"
            case All(of):
                return _joined("AND", "true", [self.test(part, key, batch) for part in of])
            case AnyOf(of):
                return _joined("OR", "false", [self.test(part, key, batch) for part in of])
            case Not(of):
                # Not NOT: the comparison with a batch that is not there is null.
                return f"({self.test(of, key, batch)}) IS NOT TRUE"
            case HasPair():
                pair = self.alias()
                found = f"{pair}.object_pk = {key}{self.pair(condition, pair, listed=False)}"
                pairs = f"object_pairs {pair} WHERE" if self.given is None else f"{self.pairs(pair)} AND"
                return f"EXISTS (SELECT FROM {pairs} {found} OFFSET 0)"
            case HasFile():
                file = self.alias()
                return f"EXISTS (SELECT FROM uploads {file} WHERE {file}.object_pk = {key}{self.file(condition, file)})"
            case Granted():
                return granted.test(self, condition, key, batch)
            case HasObjectId(object_ids):
                wanted = f"object_id = ANY({self.bind(object_ids, 'text[]')})"
                return f"{key} IN (SELECT id FROM objects WHERE tenant_id = {self.some_tenant} AND {wanted})"
            case HasKey(keys):
                return f"{key} = ANY({self.bind(keys, 'bigint[]')})"
            case InBatch(batch_id):
                wanted = self.bind(batch_id, "text")
                return f"{batch} = (SELECT id FROM batches WHERE tenant_id = {self.tenant} AND batch_id = {wanted})"
            case InOuterBatch(expression):
                return f"{batch} = {expression}"
            case HasBatchId(batch_ids):
                wanted = self.bind(batch_ids, "text[]")
                return (
                    f"{batch} IN (SELECT id FROM batches WHERE tenant_id = {self.tenant} AND batch_id = ANY({wanted}))"
                )
            case HasObject(of, within):
                led = _joined(
                    "OR", "false", [self._has_object(*way, within, batch) for way in driven.ways(self, of, alone=True)]
                )
                return granted.has_object(self, within, of, led, batch) if isinstance(within, Granted) else led
            case CreatedAfter(moment):
                return f"{key} >= {self.bind(ids.first_key_after(moment), 'bigint')}"
            case CreatedBefore(moment):
                return f"{key} < {self.bind(ids.first_key_from(moment), 'bigint')}"

    def _has_object(
        self, driving: Condition | Both, others: Condition, chosen: str, within: Condition, batch: str
    ) -> str:
        assert isinstance(driving, HasPair)  # noqa: S101 -- batches are filtered by pairs only
        pair = self.alias()
        wanted = f"{pair}.batch_pk = {batch}{self.pair(driving, pair, listed=False)}"
        test = self.test(All((others, within)), f"{pair}.object_pk", f"{pair}.batch_pk")
        found = f"SELECT FROM object_pairs {pair} WHERE {wanted} AND {test}"
        return f"({chosen} AND EXISTS ({found} OFFSET 0))"

    def pair(self, condition: HasPair, pair: str, value: str | None = None, *, listed: bool = True) -> str:
        """The condition on one row of ``object_pairs``, to go on after its tenant, batch or object is given.

        One of the three, not two: the index that begins with it is then the only one that fits. It is no list of a
        tenant's where the batch or the object is given; what these indexes do not order by is then an expression, which
        no index has. ``value`` replaces the bound value of an Equals.
        """
        parts = [""]
        column = f"{pair}.value" if listed or condition.key is not None else f"({pair}.value || '')"
        if condition.key is not None:
            parts.append(f"{pair}.key = {self.bind(condition.key, 'text')}")
        match condition.test:
            case Equals(wanted):
                parts.append(f"{column} = {value or self.bind(indexed(wanted), 'text')}")
            case OneOf(values):
                parts.append(f"{column} = ANY({self._values(values)})")
            case StartsWith(prefix):
                parts += self._prefix(prefix, pair, column)
            case Compares(operator, number):
                number_ = f"{pair}.number" if listed else f"({pair}.number + 0)"
                parts.append(f"{number_} {operator} {self.bind(number, 'double precision')}")
            case None:
                pass
        return " AND ".join(parts)

    def file(self, condition: HasFile, file: str) -> str:
        return f" AND {file}.is_current AND {file}.state = {self.bind(condition.state.value, 'text')}"

    def _values(self, values: tuple[str, ...]) -> str:
        return self.bind(tuple(sorted({indexed(value) for value in values})), "text[]")

    def _prefix(self, prefix: str, pair: str, column: str) -> Iterator[str]:
        head = prefix[:HEAD_CHARACTERS]
        if head:
            yield f"{column} >= {self.bind(head, 'text')}"
            if (end := after_prefix(head)) is not None:
                yield f"{column} < {self.bind(end, 'text')}"
        if len(prefix) > HEAD_CHARACTERS:  # the index knows the head only: ask the truth
            whole = self.bind(prefix, "text")
            yield (
                "EXISTS (SELECT FROM objects t, LATERAL jsonb_to_recordset(t.data) AS d (key text, value text)"
                f" WHERE t.id = {pair}.object_pk AND d.key = {pair}.key AND starts_with(d.value, {whole}))"
            )

    def unnested(self, test: OneOf) -> str:
        return f"unnest({self._values(test.values)}) AS w (value)"


def _joined(operator: str, empty: str, parts: list[str]) -> str:
    return f"({f' {operator} '.join(parts)})" if parts else empty
