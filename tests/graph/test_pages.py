"""Lists: cursors in both directions, while rows come and go, in one statement each."""

import asyncio
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models import database, reads
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements

FORWARD = """query($first: Int, $after: String, $where: ObjectWhere) {
  objects(first: $first, after: $after, where: $where) {
    edges { cursor node { objectId } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
BACKWARD = """query($last: Int, $before: String, $where: ObjectWhere) {
  objects(last: $last, before: $before, where: $where) {
    edges { cursor node { objectId } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, list[tuple[int, list[int], int]], bool]:
    """How many objects there are, then before each page: its size, which to delete, how many to add; the direction."""
    count = draw(st.integers(0, 25))
    steps = st.tuples(st.integers(1, 6), st.lists(st.integers(0, 24), max_size=3), st.integers(0, 2))
    return count, draw(st.lists(steps, min_size=1, max_size=8)), draw(st.booleans())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories(), filtered=st.booleans())
async def test_a_walk_sees_every_surviving_row_exactly_once_while_others_come_and_go(
    new_caller: NewCaller, history: tuple[int, list[tuple[int, list[int], int]], bool], filtered: bool
) -> None:
    count, steps, backward = history
    caller = await new_caller()
    pair = [("color", "red")]
    await caller.create_batch("b", {f"o{index}": pair for index in range(count)})
    where = {"data": [{"key": "color", "value": {"eq": "red"}}]} if filtered else None
    alive = [f"o{index}" for index in range(count)]
    seen: list[str] = []
    cursor, step, more = None, 0, True
    while more:
        size, deleted, added = steps[step % len(steps)]
        if step < len(steps):
            gone = [one for one in (f"o{index}" for index in deleted) if one in alive]
            if gone:
                await caller.execute(
                    "mutation($ids: [String!]!) { deleteObjects(input: {objectIds: $ids}) { deletedObjectIds } }",
                    ids=list(dict.fromkeys(gone)),
                )
                alive = [one for one in alive if one not in gone]
            if added:
                await caller.create_batch(f"new{step}", {f"n{step}-{index}": pair for index in range(added)})
        if backward:
            page = (await caller.execute(BACKWARD, last=size, before=cursor, where=where))["objects"]
            more, cursor = page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["startCursor"] or cursor
        else:
            page = (await caller.execute(FORWARD, first=size, after=cursor, where=where))["objects"]
            more, cursor = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"] or cursor
        assert len(page["edges"]) <= size
        ids = [edge["node"]["objectId"] for edge in page["edges"]]
        seen += reversed(ids) if backward else ids
        step += 1
    assert len(seen) == len(set(seen))
    assert set(alive) <= set(seen)
    original = [one for one in seen if one.startswith("o")]
    assert original == sorted(original, key=lambda one: int(one[1:]), reverse=not backward)


async def test_page_info_is_right_in_both_directions(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{index}": [] for index in range(5)})
    first = (await admin.execute(FORWARD, first=2))["objects"]
    assert [edge["node"]["objectId"] for edge in first["edges"]] == ["o4", "o3"]
    assert first["pageInfo"] == {
        "hasNextPage": True,
        "hasPreviousPage": False,
        "startCursor": first["edges"][0]["cursor"],
        "endCursor": first["edges"][1]["cursor"],
    }
    last = (await admin.execute(BACKWARD, last=2))["objects"]
    assert [edge["node"]["objectId"] for edge in last["edges"]] == ["o1", "o0"]
    assert (last["pageInfo"]["hasNextPage"], last["pageInfo"]["hasPreviousPage"]) == (False, True)
    middle = (await admin.execute(BACKWARD, last=2, before=last["pageInfo"]["startCursor"]))["objects"]
    assert [edge["node"]["objectId"] for edge in middle["edges"]] == ["o3", "o2"]
    assert (middle["pageInfo"]["hasNextPage"], middle["pageInfo"]["hasPreviousPage"]) == (True, True)
    empty = (await admin.execute(FORWARD, first=2, where={"batchId": "none"}))["objects"]
    assert empty["pageInfo"] == {
        "hasNextPage": False,
        "hasPreviousPage": False,
        "startCursor": None,
        "endCursor": None,
    }


async def test_a_range_between_two_cursors_is_read_from_either_end(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{index}": [] for index in range(6)})
    edges = (await admin.execute(FORWARD, first=6))["objects"]["edges"]
    between = {"after": edges[0]["cursor"], "before": edges[5]["cursor"]}
    query = """query($first: Int, $last: Int, $after: String, $before: String) {
      objects(first: $first, last: $last, after: $after, before: $before) { nodes { objectId } } }"""
    forward = await admin.execute(query, first=2, **between)
    assert [node["objectId"] for node in forward["objects"]["nodes"]] == ["o4", "o3"]
    backward = await admin.execute(query, last=2, **between)
    assert [node["objectId"] for node in backward["objects"]["nodes"]] == ["o2", "o1"]


async def test_default_page_is_ten(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{index}": [] for index in range(12)})
    assert len((await admin.execute("{ objects { nodes { id } } }"))["objects"]["nodes"]) == 10


@pytest.mark.parametrize(
    "arguments", ["first: 0", "first: -1", "first: 101", "last: 0", "last: 101", "first: 1, last: 1"]
)
@pytest.mark.parametrize("field", ["objects", "batches"])
async def test_page_size_out_of_range_is_bad_input_with_the_bounds(admin: Caller, field: str, arguments: str) -> None:
    error = await admin.error(f"{{ {field}({arguments}) {{ nodes {{ id }} }} }}")
    assert error["extensions"]["code"] == "BAD_INPUT"
    assert "from 1 to 100" in error["message"] or "not both" in error["message"]
    assert error["path"] == [field]


async def test_cursor_of_another_list_is_bad_cursor(admin: Caller, new_caller: NewCaller) -> None:
    await admin.create_batch("a", {"a1": [], "a2": []})
    await admin.create_batch("b", {"b1": []})
    page = await admin.execute(FORWARD, first=1)
    cursor = page["objects"]["edges"][0]["cursor"]
    assert await admin.refused(FORWARD, first=1, after=cursor, where={"batchId": "a"}) == "BAD_CURSOR"
    query = "query($after: String) { batches(after: $after) { nodes { id } } }"
    assert await admin.refused(query, after=cursor) == "BAD_CURSOR"
    nested = """query($after: String) { batch(batchId: "a") { objects(after: $after) { nodes { id } } } }"""
    answer = (await admin.post(nested, after=cursor)).json()
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["BAD_CURSOR"]
    stranger = await new_caller()
    assert await stranger.refused(FORWARD, first=1, after=cursor) == "BAD_CURSOR"
    for garbage in ("", "x", "é", cursor[:-1], cursor + "A", cursor.swapcase()):
        assert await admin.refused(FORWARD, first=1, after=garbage) == "BAD_CURSOR"


@pytest.mark.parametrize("size", [1, 100])
async def test_a_page_is_one_statement_whatever_its_size(admin: Caller, size: int) -> None:
    await admin.create_batch("b", {f"o{index}": [("k", "v"), ("n", str(index))] for index in range(120)})
    for where in (
        None,
        {"data": [{"key": "k", "value": {"eq": "v"}}, {"key": "n", "value": {"gt": 1}}]},
        {"or": [{"data": [{"key": "k"}]}, {"batchId": "b"}], "not": {"objectIds": ["o3"]}},
    ):
        query = """query($size: Int, $where: ObjectWhere) { objects(first: $size, where: $where) {
              edges { cursor node {
                id objectId createdAt updatedAt data { key value } batch { id batchId createdAt } } }
              pageInfo { hasNextPage endCursor } } }"""
        # How long the lists of a filter are is asked once, and remembered.
        assert (await count_statements(admin, query, size=size, where=where))[0] <= 2
        statements, data = await count_statements(admin, query, size=size, where=where)
        assert statements == 1
        assert len(data["objects"]["edges"]) == size


async def test_nested_lists_take_one_statement_per_level(admin: Caller) -> None:
    for index in range(30):
        await admin.create_batch(f"b{index}", {f"o{index}-{one}": [("k", "v")] for one in range(3)})
    statements, data = await count_statements(
        admin,
        """{ batches(first: 100) { nodes { batchId createdBy { name }
             objects(first: 2, where: {data: [{key: "k"}]}) { totalCount nodes { objectId data { key } } } } } }""",
    )
    assert statements == 4  # batches, their objects, the counts of these, the users
    assert [len(batch["objects"]["nodes"]) for batch in data["batches"]["nodes"]] == [2] * 30
    assert {batch["objects"]["totalCount"] for batch in data["batches"]["nodes"]} == {3}


async def test_the_total_is_counted_only_when_selected(admin: Caller) -> None:
    await admin.create_batch("b", {"o": []})
    assert (await count_statements(admin, "{ objects { nodes { id } } }"))[0] == 1
    assert (await count_statements(admin, "{ objects { totalCount nodes { id } } }"))[0] == 2


async def test_pages_of_the_same_batch_under_two_aliases_do_not_mix(admin: Caller) -> None:
    await admin.create_batch("b", {"o1": [("k", "1")], "o2": [("k", "2")], "o3": []})
    data = await admin.execute(
        """{ batches { nodes { one: objects(first: 1) { nodes { objectId } }
             two: objects(last: 1) { nodes { objectId } }
             three: objects(where: {data: [{key: "k", value: {eq: "1"}}]}) { nodes { objectId } } } } }"""
    )
    [batch] = data["batches"]["nodes"]
    assert [batch[alias]["nodes"][0]["objectId"] for alias in ("one", "two", "three")] == ["o3", "o1", "o1"]


async def test_concurrent_requests_do_not_share_loaders(admin: Caller, new_caller: NewCaller) -> None:
    stranger = await new_caller()
    await admin.create_batch("b", {"mine": []})
    await stranger.create_batch("b", {"theirs": []})
    query = "{ batches { nodes { objects { nodes { objectId } } } } }"
    answers = await asyncio.gather(*(caller.execute(query) for caller in (admin, stranger) * 10))
    for index, answer in enumerate(answers):
        [batch] = answer["batches"]["nodes"]
        assert [node["objectId"] for node in batch["objects"]["nodes"]] == [("mine", "theirs")[index % 2]]


async def test_filters_that_say_the_same_have_the_same_cursors(admin: Caller) -> None:
    await admin.create_batch("b", {"a": [("k", "v")], "b": [("k", "v")]})
    cursor = (await admin.execute(FORWARD, first=1))["objects"]["edges"][0]["cursor"]
    nothing: list[dict[str, Any]] = [{}, {"and": []}, {"and": [{}, {"data": []}]}]
    for where in nothing:
        assert (await admin.execute(FORWARD, first=1, after=cursor, where=where))["objects"]["edges"]
    one = {"data": [{"key": "k"}]}
    cursor = (await admin.execute(FORWARD, first=1, where=one))["objects"]["edges"][0]["cursor"]
    same: list[dict[str, Any]] = [{"and": [one, one]}, {"not": {"not": one}}]
    for where in same:
        assert (await admin.execute(FORWARD, first=1, after=cursor, where=where))["objects"]["edges"]


@pytest.mark.parametrize(
    "query", ["{ objects { nodes { %s } } }", "{ batches { nodes { objects { nodes { %s } } } } }"]
)
async def test_data_is_read_only_where_it_is_selected(admin: Caller, query: str) -> None:
    await admin.create_batch("b", {"o": [("k", "a value")]})
    read: list[str] = []
    fetch = database.fetch

    async def reading(sql: str, *arguments: object) -> Any:
        rows = await fetch(sql, *arguments)
        read.extend(row["data"] for row in rows if "data" in row)
        return rows

    with patch.object(database, "fetch", reading):
        await admin.execute(query % "objectId")
        assert read == ["[]"]
        await admin.execute(query % "...F" + " fragment F on Object { ... on Object { data { value } } }")
        assert "a value" in read[1]


async def test_lists_in_lists_read_a_bounded_amount_of_data(admin: Caller) -> None:
    for batch in "abc":
        await admin.create_batch(batch, {f"{batch}{n}": [("k", "v" * 1_000)] for n in range(3)})
    query = "{ batches { nodes { objects { nodes { objectId data { value } } } } } }"
    for most in ("9000", "2000"):  # of the oldest batch, and of all of them, something is not read
        with patch.object(reads, "_SOME_DATA", reads._SOME_DATA.replace(str(reads.MOST_CHARACTERS), most)):
            assert (await admin.error(query))["extensions"]["limit"] == "characters"
    assert len((await admin.execute(query))["batches"]["nodes"]) == 3
