"""What is answered is what graphql-core's own executor answers: data, errors and their paths.

Operations over the whole schema come from hypothesis-graphql; here they are given ids that exist, pages that are
allowed, variables for what they say in place, fragments of both kinds, aliases, more leaves, and directives.
"""

import asyncio
import random
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import orjson
import pytest
from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInterfaceType,
    GraphQLObjectType,
    InlineFragmentNode,
    NamedTypeNode,
    NameNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    StringValueNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    build_schema,
    get_named_type,
    is_leaf_type,
    parse,
    print_ast,
    value_from_ast_untyped,
    visit,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import queries

from graph.types import files
from tests.conftest import Caller
from tests.stock import both, same
from tests.uploads import announced, stored

SDL = (Path(__file__).parents[2] / "schema.graphql").read_text()
SCHEMA = build_schema(SDL)
MOMENTS = st.sampled_from(["2026-01-01T00:00:00Z", "yesterday"]).map(lambda text: StringValueNode(value=text))
OPERATIONS = queries(SDL, custom_scalars={"DateTime": MOMENTS}, allow_x00=False, print_ast=lambda node: node)
Selection = TypeVar("Selection", FieldNode, InlineFragmentNode, FragmentSpreadNode)
MISSING = f'"{b64encode(b"Object:1").decode()}"'  # an id of nothing
Known: TypeAlias = dict[str, list[str]]  # by the name of an argument


class Varied(Visitor):
    """Writes an operation in another way, or asks for more."""

    def __init__(self, types: TypeInfo, chance: random.Random, known: Known) -> None:
        super().__init__()
        self._types = types
        self._chance = chance
        self._known = known
        self._names = 0
        self.declared: list[str] = []
        self.variables: dict[str, Any] = {}
        self.fragments: list[FragmentDefinitionNode] = []

    def leave_argument(self, node: ArgumentNode, *_: Any) -> ArgumentNode | None:
        value = node.value
        if (known := self._known.get(node.name.value)) and self._happens(0.8):
            value = self._value(self._chance.choice(known))
        argument = self._types.get_argument()
        assert argument is not None
        optional = not str(argument.type).endswith("!")
        if optional and self._happens(0.1):
            value = self._value("null")
        if not self._happens(0.4):
            return ArgumentNode(name=node.name, value=value)
        name = self._name("v")
        default = ""
        if optional and self._happens(0.2):
            default = f" = {print_ast(value)}"
        elif not (optional and self._happens(0.2)):  # else it is left out
            self.variables[name] = value_from_ast_untyped(value)
        self.declared.append(f"${name}: {argument.type}{default}")
        return ArgumentNode(name=node.name, value=self._value(f"${name}"))

    def enter_field(self, node: FieldNode, *_: Any) -> FieldNode | None:
        """Of a page, mostly only its size."""
        if not any(one.name.value == "last" for one in node.arguments or ()) or self._happens(0.2):
            return None
        size = f"{self._chance.choice(['first', 'first', 'last'])}: {self._chance.choice([1, 2, 3, 100])}"
        kept = tuple(one for one in node.arguments or () if one.name.value == "where" and self._happens(0.3))
        [asked] = self._selections(f"x({size})")
        assert isinstance(asked, FieldNode)
        return replace(node, arguments=(*(asked.arguments or ()), *kept))

    def leave_field(self, node: FieldNode, *_: Any) -> FieldNode:
        if node.alias is None and self._happens(0.15):
            node = replace(node, alias=NameNode(value=self._name("a")))
        return self._directed(node, 0.15)

    def leave_selection_set(self, node: SelectionSetNode, *_: Any) -> SelectionSetNode:
        within = self._types.get_parent_type()
        assert isinstance(within, GraphQLObjectType | GraphQLInterfaceType)
        found = list(node.selections)
        if self._happens(0.3):
            leaves = [name for name, one in within.fields.items() if is_leaf_type(get_named_type(one.type))]
            wanted = [
                *self._chance.choices([name for name in leaves if not within.fields[name].args] or ["__typename"], k=2)
            ]
            found += self._selections(" ".join(f"{self._name('l')}: {name}" for name in [*wanted, "__typename"]))
        if self._happens(0.3):
            cut = self._chance.randrange(len(found))
            found[cut:] = [self._apart(within.name, found[cut:])]
        if isinstance(within, GraphQLObjectType) and within.interfaces and self._happens(0.3):
            found += self._selections(f"... on Node {{ {self._name('n')}: id }}")
        if self._happens(0.1):
            found += found[:1]
        return SelectionSetNode(selections=tuple(found))

    def _apart(self, within: str, selections: Sequence[SelectionNode]) -> SelectionNode:
        """In a fragment."""
        inside = SelectionSetNode(selections=tuple(selections))
        condition = NamedTypeNode(name=NameNode(value=within))
        if self._happens(0.5):
            type_condition = condition if self._happens(0.5) else None
            inline = InlineFragmentNode(type_condition=type_condition, directives=(), selection_set=inside)
            return self._directed(inline, 0.3)
        name = NameNode(value=self._name("F"))
        self.fragments.append(
            FragmentDefinitionNode(name=name, type_condition=condition, directives=(), selection_set=inside)
        )
        return self._directed(FragmentSpreadNode(name=name, directives=()), 0.3)

    def _directed(self, node: Selection, how_often: float) -> Selection:
        if not self._happens(how_often):
            return node
        wanted = self._chance.choice(["true", "false"])
        if self._happens(0.5):
            name = self._name("d")
            self.declared.append(f"${name}: Boolean!")
            self.variables[name], wanted = wanted == "true", f"${name}"
        [carrier] = self._selections(f"x @{self._chance.choice(['skip', 'include'])}(if: {wanted})")
        return replace(node, directives=carrier.directives)

    def _happens(self, how_often: float) -> bool:
        return self._chance.random() < how_often

    def _name(self, prefix: str) -> str:
        self._names += 1
        return f"{prefix}{self._names}"

    @staticmethod
    def _selections(text: str) -> Sequence[SelectionNode]:
        [operation] = parse(f"{{ {text} }}").definitions
        assert isinstance(operation, OperationDefinitionNode)
        return operation.selection_set.selections

    def _value(self, text: str) -> Any:
        [asked] = self._selections(f"x(a: {text})")
        assert isinstance(asked, FieldNode)
        assert asked.arguments
        return asked.arguments[0].value


def varied(document: DocumentNode, chance: random.Random, known: Known) -> tuple[str, dict[str, Any]]:
    """One or two of its fields, and their variables."""
    [operation] = document.definitions
    assert isinstance(operation, OperationDefinitionNode)
    fields = operation.selection_set.selections
    some = SelectionSetNode(selections=tuple(chance.sample(fields, min(len(fields), chance.choice([1, 1, 2])))))
    return written(replace(operation, selection_set=some), chance, known)


def written(operation: OperationDefinitionNode, chance: random.Random, known: Known) -> tuple[str, dict[str, Any]]:
    types = TypeInfo(SCHEMA)
    visitor = Varied(types, chance, known)
    text = print_ast(visit(operation, TypeInfoVisitor(types, visitor)).selection_set)
    declared = f"({', '.join(visitor.declared)}) " if visitor.declared else ""
    texts = [f"{operation.operation.value} {declared}{text}", *map(print_ast, visitor.fragments)]
    return "".join(texts), visitor.variables


async def filled(admin: Caller) -> Known:
    """Something of most kinds, and how it is asked for, as GraphQL writes it."""
    await admin.create_batch("b", {"o1": [("k", "v"), ("k", "2")], "o2": [("k", "v")], "none": []})
    await stored(admin, b"bytes", "with file")
    await announced(admin, b"other", "announced")
    found = await admin.execute(
        "{ batches { nodes { id batchId } } objects { nodes { id objectId } } users { nodes { id } } }"
    )

    def each(field: str, name: str, *others: str) -> list[str]:
        return [f'"{one[name]}"' for one in found[field]["nodes"]] + list(others)

    ids = each("batches", "id") + each("objects", "id") + each("users", "id")
    some = [f"[{', '.join(ids)}]", f"[{ids[0]}, {MISSING}, {ids[3]}, {MISSING}]", "[]"]
    ids += [MISSING, '"wrong"']
    batches, objects = each("batches", "batchId", '"missing"'), each("objects", "objectId", '"missing"')
    return {"id": ids, "ids": some, "batchId": batches, "objectId": objects, "key": ['"k"'], "prefix": ['""', '"k"']}


async def test_any_operation_is_answered_as_by_graphql_core(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr(files, "_now", lambda: now)
    known = await filled(admin)
    checks: list[tuple[str, dict[str, Any]]] = []

    @settings(max_examples=40, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(OPERATIONS)
    def collect(document: DocumentNode) -> None:
        checks.append(varied(document, random.Random(len(checks)), known))

    await asyncio.get_running_loop().run_in_executor(None, collect)
    kinds: Counter[str] = Counter()
    for query, variables in checks:
        answer, stock = await both(admin, monkeypatch, query, variables)
        same(answer, stock)
        kinds.update(
            {sign for sign in ("$v", "fragment", "@skip", "@include", "... on", "null") if sign in query},
            plain="errors" not in answer.json(),
            placed=any("path" in error for error in answer.json().get("errors", [])),
        )
    assert min(kinds.values()) > 0, kinds  # lest one of these be tried no more
    assert len(kinds) == 8


FILE = "file { name access(expiresIn: $s) { url expiresAt } }"
BY_ID = """query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ...U
    ... on Object { objectId data { key } file { access { url } } }
    ... on Batch { objects { nodes { objectId } } } } }
  fragment U on User { name grants { totalCount } }"""
DIRECTED = """query ($on: Boolean!, $off: Boolean! = true) { objects { nodes {
    id @include(if: $on) ...F @skip(if: $off) ... @include(if: $off) { data { key } } }
    edges @skip(if: $on) { cursor } } }
  fragment F on Object { objectId }"""
DIRECTED_BELOW = """query ($on: Boolean!) { batches { nodes { batchId objects(first: 2) @include(if: $on) {
    nodes { ...F } pageInfo { endCursor @skip(if: $on) hasNextPage } } } } }
  fragment F on Object { batch { batchId } }"""
PAGES = """query ($n: Int, $w: ObjectWhere) { batches { nodes { objects(first: $n, where: $w) {
    totalCount nodes { id data { value } } } } } }"""
IN_ONE = f'query ($s: Int = 9) {{ object(objectId: "with file") {{ a: file {{ name }} {FILE} }} }}'
IN_BATCHES = f"query ($s: Int) {{ batches {{ nodes {{ objects {{ edges {{ node {{ o: objectId {FILE} }} }} }} }} }} }}"
PLAIN = """{ batches { nodes { objects { pageInfo { startCursor } edges { cursor node {
    id objectId createdAt updatedAt data { key value } batch { id batchId createdAt } file { state size } } } } } } }"""
SAID: list[tuple[str, list[dict[str, Any]]]] = [
    (DIRECTED, [{"on": True, "off": False}, {"on": False}, {"on": None}, {}, {"on": True, "off": True}]),
    (DIRECTED_BELOW, [{"on": True}, {"on": False}]),
    ('query ($on: Boolean!) { object(objectId: "o1") @skip(if: $on) { id } }', [{"on": True}, {"on": False}]),
    (f"query ($s: Int) {{ objects {{ nodes {{ {FILE} }} }} }}", [{}, {"s": None}, {"s": 60}, {"s": 0}, {"s": "60"}]),
    (IN_ONE, [{}, {"s": None}, {"s": 7}]),
    (IN_BATCHES, [{}]),
    (PAGES, [{}, {"n": 1}, {"n": 0}, {"w": None}, {"w": {"data": [{"key": "k"}]}}, {"w": {"data": [{}]}}]),
    (PLAIN, [{}]),
    (BY_ID, [{"ids": []}, {"ids": None}, {"ids": "wrong"}, {}]),
    ('{ a: object(objectId: "missing") { id } b: object(objectId: "o1") { id } viewer { user { name } } }', [{}]),
]


async def test_fields_that_were_done_before_are_not_taken_for_others(admin: Caller) -> None:
    """What was noted of a field is its own, also when graphql-core's list of it is gone and another in its place."""
    await admin.create_batch("b", {"o1": []})
    names = " ".join(f"name{number}: __typename" for number in range(19))
    counts = " ".join(f"count{number}: totalCount" for number in range(30))
    for root in (f"{names} objects {{ {counts} }}", f"objects {{ {counts} }} {names}"):
        found = await admin.execute(f"{{ {root} }}")
        assert set(found.pop("objects").values()) == {1}
        assert set(found.values()) == {"Query"}


async def test_what_directives_variables_and_errors_decide_is_the_same(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr(files, "_now", lambda: now)
    known = await filled(admin)
    for query, each in SAID:
        for variables in each:
            same(*await both(admin, monkeypatch, query, variables))
    [ids] = orjson.loads(f"[{known['ids'][0]}]")
    answer, stock = await both(admin, monkeypatch, BY_ID, {"ids": [ids[0], orjson.loads(MISSING), *ids]})
    same(answer, stock)
    paths = [error["path"] for error in answer.json()["errors"]]
    assert ["nodes", 1] in paths
    assert any(path[-2:] == ["file", "access"] for path in paths)
