"""What is written from rows by compiled functions is, to the byte, what graphql-core makes of them."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.quick import Quick
from graph.types import files
from models import Role
from tests.conftest import Caller, NewCaller
from tests.stock import both, same
from tests.uploads import announced, stored

ODD = ['"', "\\", "{", '}, {"key":', ', "value": ', '{"key": ', "\n", "\x01", "\x7f", "é", "\u2028", "😀", " ", "a"]
LEAVES = {
    "Object": ["id", "objectId", "createdAt", "updatedAt"],
    "Batch": ["id", "batchId", "createdAt"],
    "File": ["state", "name", "contentType", "size", "sha256", "completedAt"],
    "Access": ["url", "expiresAt"],
    "Datum": ["key", "value"],
    "PageInfo": ["hasNextPage", "hasPreviousPage", "startCursor", "endCursor"],
    "ObjectEdge": ["cursor"],
    "ObjectConnection": [],
}
BELOW = {
    "Object": {"data": "Datum", "batch": "Batch", "file": "File"},
    "File": {"access": "Access"},
    "ObjectEdge": {"node": "Object"},
}
ACCESS = ["access", "access(expiresIn: 60)", "access(disposition: INLINE, expiresIn: 7)"]


@pytest.fixture(autouse=True)
def _one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr(files, "_now", lambda: now)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What the shortest way has answered; None where it left it to graphql-core."""
    found: list[str | None] = []
    answer = Quick.answer

    async def spied(self: Quick, *arguments: Any) -> str | None:
        found.append(await answer(self, *arguments))
        return found[-1]

    monkeypatch.setattr(Quick, "answer", spied)
    return found


def selection(type_name: str) -> st.SearchStrategy[str]:
    """The inside of a selection set: leaves, aliases, fragments of all kinds, the same twice."""
    leaf = st.sampled_from([*LEAVES[type_name], "__typename"])
    inner = {
        name: selection(of).map(f"{name} {{{{ {{}} }}}}".format)
        for name, of in BELOW.get(type_name, {}).items()
        if name != "access"
    }
    if type_name == "File":
        # One of it: with other arguments it would not be the same field.
        inner["access"] = st.builds("{} {{ {} }}".format, st.sampled_from(ACCESS), selection("Access"))
    field = st.one_of(leaf, *inner.values())
    aliased = st.builds("{}: {}".format, st.sampled_from(["a", "b_1", "C"]), field)
    fragment = field.map(lambda one: f"... on {type_name} {{ {one} }}")
    bare = field.map(lambda one: f"... {{ {one} }}")
    return st.lists(st.one_of(field, field, aliased, fragment, bare), min_size=1, max_size=4).map(" ".join)


def connection() -> st.SearchStrategy[str]:
    edges = selection("ObjectEdge").map(lambda inside: f"edges {{ {inside} }}")
    nodes = selection("Object").map(lambda inside: f"nodes {{ {inside} }}")
    info = selection("PageInfo").map(lambda inside: f"pageInfo {{ {inside} }}")
    parts = st.one_of(edges, nodes, st.just("__typename"))
    return st.tuples(st.one_of(info, st.just("")), parts, st.one_of(info, st.just(""))).map(" ".join)


async def filled(caller: Caller) -> None:
    await caller.create_batch("odd", {f"odd {i} {one}": [(one * 2, ODD[i - 1] + one)] for i, one in enumerate(ODD)})
    await caller.create_batch("none", {"none": []})
    await stored(caller, b"bytes", 'with "file"', name='a "b" é.txt')
    await announced(caller, b"other", "announced")


async def test_any_selection_of_a_page_is_the_same(admin: Caller, taken: list[str | None]) -> None:
    await filled(admin)
    loop = asyncio.get_running_loop()
    monkeypatch = pytest.MonkeyPatch()
    checks: list[tuple[str, dict[str, Any]]] = []

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(connection(), st.sampled_from([{}, {"first": 3}, {"last": 2}, {"first": 100}]))
    def collect(inside: str, variables: dict[str, Any]) -> None:
        checks.append((inside, variables))

    await loop.run_in_executor(None, collect)
    for inside, variables in checks:
        query = f"query ($first: Int, $last: Int) {{ objects(first: $first, last: $last) {{ {inside} }} }}"
        same(*await both(admin, monkeypatch, query, variables))
    assert sum(one is not None for one in taken) > len(checks) // 3


async def test_any_selection_of_an_object_is_the_same(admin: Caller, taken: list[str | None]) -> None:
    await filled(admin)
    checks: list[tuple[str, str]] = []

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(selection("Object"), st.sampled_from(["none", 'with "file"', "announced", "missing", "x" * 300, ""]))
    def collect(inside: str, object_id: str) -> None:
        checks.append((inside, object_id))

    await asyncio.get_running_loop().run_in_executor(None, collect)
    for inside, object_id in checks:
        query = f"query ($id: String!) {{ object(objectId: $id) {{ {inside} }} }}"
        same(*await both(admin, pytest.MonkeyPatch(), query, {"id": object_id}))
    assert any(one is not None for one in taken)


DATA = "data { key value }"
QUICK = [
    "{ objects { nodes { id } } }",
    "{ list: objects(first: 2) { edges { cursor node { id } } pageInfo { endCursor } } }",
    f'{{ objects(where: {{data: [{{key: "a"}}]}}) {{ nodes {{ {DATA} }} }} }}',
    f"query ($w: ObjectWhere) {{ objects(where: $w) {{ nodes {{ {DATA} batch {{ batchId }} }} }} }}",
    "query Q { ...F } fragment F on Query { objects { nodes { ...N } } } fragment N on Node { id __typename }",
    '{ object(objectId: "none") { objectId } }',
]


@pytest.mark.parametrize("query", QUICK)
async def test_what_is_asked_most_goes_the_shortest_way(
    admin: Caller, taken: list[str | None], monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    await filled(admin)
    same(*await both(admin, monkeypatch, query, {}))
    assert [one is not None for one in taken] == [True]


async def test_page_of_long_values_is_not_taken_for_one_of_many(admin: Caller, taken: list[str | None]) -> None:
    """A page of three megabytes of them, with a tenth of the values that an answer may have at most."""
    pairs = [(f"k{number}", '"' + "x" * 3_900 + "\\") for number in range(16)]
    await admin.create_batch("b", {f"o{number}": pairs for number in range(50)})
    data = await admin.execute("{ objects(first: 50) { nodes { data { key value } } } }")
    assert len(data["objects"]["nodes"]) == 50
    assert [one is not None for one in taken] == [True]


NESTED = [
    "{ batches { nodes { batchId objects(first: 3) { edges { cursor node { objectId data { value } } } } } } }",
    "{ a: objects(first: 2) { nodes { id } } b: objects { nodes { file { access { url } } } } viewer { access } }",
    "{ batches { nodes { ...B } } } fragment B on Batch { objects { pageInfo { endCursor } nodes { batch { id } } } }",
    "{ objects { totalCount } batches { nodes { objects { nodes { file { name } } totalCount } } } }",
]


@pytest.mark.parametrize("query", NESTED)
async def test_pages_within_other_answers_are_the_same(
    admin: Caller, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    await filled(admin)
    same(*await both(admin, monkeypatch, query, {}))


OTHER = [
    "{ objects { totalCount } }",
    "{ objects { nodes { id } edges { cursor } } }",
    "{ objects { nodes { grants { totalCount } } } }",
    "{ objects { nodes { id @include(if: true) } } }",
    "{ objects { nodes { id } } viewer { access } }",
    "query @skip(if: false) { objects { nodes { id } } }",
    "{ batches { nodes { id } } }",
    "query ($s: Int) { objects { nodes { file { access(expiresIn: $s) { url } } } } }",
]


@pytest.mark.parametrize("query", OTHER)
async def test_everything_else_is_left_to_graphql_core(admin: Caller, taken: list[str | None], query: str) -> None:
    await filled(admin)
    await admin.post(query)
    assert taken == []


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("query ($n: Int) { objects(first: $n) { nodes { id } } }", {"n": 0}),
    ("query ($n: Int) { objects(first: $n) { nodes { id } } }", {"n": "1"}),
    ("query ($n: Int!) { objects(first: $n) { nodes { id } } }", {}),
    ('{ objects(after: "x") { nodes { id } } }', {}),
    ('query ($i: String = "none") { object(objectId: $i) { id } }', {"i": None}),
    ("{ objects(first: 1, last: 1) { nodes { id } } }", {}),
    ("{ objects { nodes { file { access { url } } } } }", {}),
    ("{ objects { nodes { file { access(expiresIn: 0) { url } } } } }", {}),
    ("query ($w: ObjectWhere) { objects(where: $w) { nodes { id } } }", {"w": {"data": [{}]}}),
    ("query ($w: ObjectWhere) { objects(where: $w) { nodes { id } } }", {"w": {"no": 1}}),
]


@pytest.mark.parametrize(("query", "variables"), WRONG)
async def test_whatever_is_wrong_is_said_as_graphql_core_says_it(
    admin: Caller, monkeypatch: pytest.MonkeyPatch, query: str, variables: dict[str, Any]
) -> None:
    await filled(admin)
    answer, stock = await both(admin, monkeypatch, query, variables)
    assert answer.json()["errors"]
    same(answer, stock)


async def test_members_see_what_they_may_on_the_shortest_way(
    admin: Caller, new_caller: NewCaller, taken: list[str | None]
) -> None:
    await admin.create_batch("b", {"one": [], "two": []})
    member = await new_caller(admin.tenant, Role.MEMBER)
    assert await member.object_ids() == []
    assert taken == ['{"objects":{"nodes":[],"pageInfo":{"hasNextPage":false,"endCursor":null}}}']


async def test_urls_that_are_given_out_on_the_shortest_way_are_written_down(
    admin: Caller, taken: list[str | None]
) -> None:
    await stored(admin, b"bytes")
    await admin.execute("{ objects { nodes { file { access { url } } } } }")
    log = await admin.execute("{ auditLog(where: {actions: [READ_URL]}) { nodes { objectId } } }")
    assert log["auditLog"]["nodes"] == [{"objectId": "o"}]
    assert taken[0] is not None
