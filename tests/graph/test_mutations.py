"""What mutations keep, and that what they refuse changes nothing."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.mutations.update_object_data import merged
from models import database
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements

CREATE_BATCH = """mutation($input: CreateBatchInput!) { createBatch(input: $input) {
  batch { id batchId createdAt createdBy { name } objects { totalCount } }
  objects { id objectId createdAt updatedAt data { key value } batch { batchId } } } }"""
CREATE_OBJECTS = """mutation($input: CreateObjectsInput!) { createObjects(input: $input) {
  batch { batchId } objects { objectId } } }"""
UPDATE = """mutation($input: UpdateObjectDataInput!) { updateObjectData(input: $input) {
  object { objectId updatedAt data { key value } } } }"""
DELETE_OBJECTS = "mutation($ids: [String!]!) { deleteObjects(input: {objectIds: $ids}) { deletedObjectIds } }"
DELETE_BATCH = """mutation($batchId: String!, $cascade: Boolean! = false) {
  deleteBatch(input: {batchId: $batchId, cascade: $cascade}) { deletedBatchId deletedObjectCount } }"""
READ = "query($objectId: String!) { object(objectId: $objectId) { updatedAt data { key value } } }"


def pairs(*some: str) -> list[dict[str, str]]:
    return [dict(zip(("key", "value"), one.split("="), strict=True)) for one in some]


async def data_of(caller: Caller, object_id: str) -> list[str]:
    data = (await caller.execute(READ, objectId=object_id))["object"]["data"]
    return [f"{pair['key']}={pair['value']}" for pair in data]


async def contents(caller: Caller) -> Any:
    """Everything the tenant has, as it is in the tables."""
    tenant = caller.tenant.id
    return [
        [
            tuple(row)
            for row in await database.fetch(f"SELECT * FROM {table} WHERE tenant_id = $1 ORDER BY {order}", tenant)
        ]
        for table, order in (("batches", "id"), ("objects", "id"), ("object_pairs", "object_pk, key, value"))
    ]


async def test_created_objects_are_answered_as_they_are_then_read(admin: Caller) -> None:
    given = [{"objectId": f"o{n}", "data": pairs("a=1", "b=2", "a=3")} for n in range(3)]
    answer = (await admin.execute(CREATE_BATCH, input={"batchId": "b", "objects": given}))["createBatch"]
    assert answer["batch"]["createdBy"] == {"name": admin.user.name}
    assert answer["batch"]["objects"]["totalCount"] == 3
    query = "{ objects { nodes { id objectId createdAt updatedAt data { key value } batch { batchId } } } }"
    assert (await admin.execute(query))["objects"]["nodes"] == list(reversed(answer["objects"]))


async def test_ten_thousand_objects_go_in_one_call_and_come_back_in_order(admin: Caller) -> None:
    given = [{"objectId": f"o{n}", "data": pairs(f"n={n}")} for n in range(10_000)]
    answer = (await admin.execute(CREATE_OBJECTS_IN_NEW, input={"batchId": "b", "objects": given}))["createBatch"]
    assert [one["objectId"] for one in answer["objects"]] == [one["objectId"] for one in given]
    data = await admin.execute("{ objects(last: 2) { totalCount nodes { objectId } } }")
    assert data["objects"] == {"totalCount": 10_000, "nodes": [{"objectId": "o1"}, {"objectId": "o0"}]}


CREATE_OBJECTS_IN_NEW = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { objects { objectId } } }"


@pytest.mark.parametrize(
    ("objects", "code", "says"),
    [
        ([{"objectId": "new", "data": []}, {"objectId": "taken", "data": []}], "ALREADY_EXISTS", "taken"),
        ([{"objectId": "x", "data": []}, {"objectId": "x", "data": []}], "ALREADY_EXISTS", '"x"'),
        ([{"objectId": "", "data": []}], "BAD_INPUT", "objectId"),
        ([{"objectId": "x" * 257, "data": []}], "BAD_INPUT", "257"),
        ([{"objectId": "x\0", "data": []}], "BAD_INPUT", "NUL"),
        ([{"objectId": "x", "data": pairs("=v")}], "BAD_INPUT", 'Object "x", data[0]'),
        ([{"objectId": "x", "data": [{"value": "v"}]}], "BAD_INPUT", "key"),
        ([{"objectId": "x", "data": [{"key": "k"}]}], "BAD_INPUT", "value"),
        (
            [{"objectId": "x", "data": pairs("a=1", "k" * 300 + "=v")}],
            "BAD_INPUT",
            'Object "x", data[1]: the key has 300',
        ),
        ([{"objectId": "x", "data": pairs("k=" + "v" * 4097)}], "BAD_INPUT", 'the value of "k" has 4097'),
        ([{"objectId": "x", "data": pairs(*["k=v"] * 257)}], "BAD_INPUT", "257 pairs"),
        ([{"objectId": "x", "data": [{"key": "k", "value": "a\0b"}]}], "BAD_INPUT", "NUL"),
        ([{"objectId": "x", "data": [{"key": "k", "value": 1}]}], "BAD_INPUT", "String"),
        ([{"objectId": str(n), "data": []} for n in range(10_001)], "BAD_INPUT", "10,001"),
    ],
)
@pytest.mark.parametrize("mutation", ["createBatch", "createObjects"])
async def test_refused_objects_leave_nothing_behind(
    admin: Caller, mutation: str, objects: list[dict[str, Any]], code: str, says: str
) -> None:
    await admin.create_batch("there", {"taken": [("k", "v")]})
    before = await contents(admin)
    if mutation == "createBatch":
        error = await admin.error(CREATE_BATCH, input={"batchId": "new", "objects": objects})
    else:
        error = await admin.error(CREATE_OBJECTS, input={"batchId": "there", "objects": objects})
    assert (error["extensions"]["code"], says in error["message"]) == (code, True), error
    assert await contents(admin) == before


async def test_taken_object_ids_are_all_named(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{n}": [] for n in range(120)})
    objects = [{"objectId": f"o{n}", "data": []} for n in range(100, 140)]
    error = await admin.error(CREATE_OBJECTS, input={"batchId": "b", "objects": objects})
    assert error["extensions"]["objectIds"] == [f"o{n}" for n in range(100, 120)]
    assert '"o100"' in error["message"]
    assert "17 more" in error["message"]


async def test_taken_batch_id_is_named_and_its_objects_are_not_made(admin: Caller) -> None:
    await admin.create_batch("b")
    error = await admin.error(CREATE_BATCH, input={"batchId": "b", "objects": [{"objectId": "o", "data": []}]})
    assert error["extensions"] == {"code": "ALREADY_EXISTS", "batchIds": ["b"]}
    assert await admin.object_ids() == []


async def test_same_ids_in_two_tenants_do_not_meet(admin: Caller, new_caller: NewCaller) -> None:
    stranger = await new_caller()
    for caller, value in ((admin, "mine"), (stranger, "theirs")):
        await caller.create_batch("b", {"o": [("k", value)]})
    assert await data_of(admin, "o") == ["k=mine"]
    assert await data_of(stranger, "o") == ["k=theirs"]


async def test_objects_go_into_an_existing_batch_only(admin: Caller) -> None:
    error = await admin.error(CREATE_OBJECTS, input={"batchId": "none", "objects": [{"objectId": "o", "data": []}]})
    assert error["extensions"] == {"code": "NOT_FOUND", "batchId": "none"}
    await admin.create_batch("b")
    data = await admin.execute(CREATE_OBJECTS, input={"batchId": "b", "objects": [{"objectId": "o", "data": []}]})
    assert data["createObjects"] == {"batch": {"batchId": "b"}, "objects": [{"objectId": "o"}]}


async def test_two_calls_at_once_with_the_same_id_make_it_once(admin: Caller) -> None:
    await admin.create_batch("b")
    given = {"batchId": "b", "objects": [{"objectId": "o", "data": []}]}
    answers = [
        answer.json() for answer in await asyncio.gather(*(admin.post(CREATE_OBJECTS, input=given) for _ in range(5)))
    ]
    codes = [answer["errors"][0]["extensions"]["code"] for answer in answers if "errors" in answer]
    assert codes == ["ALREADY_EXISTS"] * 4
    assert await admin.object_ids() == ["o"]


# -- updateObjectData --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"replace": pairs("x=1")}, ["x=1"]),
        ({"replace": []}, []),
        ({"set": pairs("a=9")}, ["a=9", "b=2"]),
        ({"set": pairs("a=8", "a=9", "c=3")}, ["a=8", "a=9", "b=2", "c=3"]),
        ({"unset": ["a"]}, ["b=2"]),
        ({"unset": ["none"]}, ["a=1", "b=2", "a=3"]),
        ({"set": pairs("b=5"), "unset": ["a"]}, ["b=5"]),
    ],
)
async def test_data_is_changed_as_asked(admin: Caller, change: dict[str, Any], expected: list[str]) -> None:
    await admin.create_batch("b", {"o": [("a", "1"), ("b", "2"), ("a", "3")]})
    answer = await admin.execute(UPDATE, input={"objectId": "o", **change})
    changed = [f"{pair['key']}={pair['value']}" for pair in answer["updateObjectData"]["object"]["data"]]
    assert changed == expected == await data_of(admin, "o")
    for pair in expected:
        key, value = pair.split("=")
        assert await admin.object_ids({"data": [{"key": key, "value": {"eq": value}}]}) == ["o"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, "nothing to change"),
        ({"set": [], "unset": []}, "nothing to change"),
        ({"replace": [], "set": pairs("a=1")}, "not both"),
        ({"replace": [], "unset": ["a"]}, "not both"),
        ({"set": pairs("a=1"), "unset": ["a"]}, 'The key "a"'),
        ({"set": pairs("=1")}, "data[0]: the key is empty"),
        ({"set": pairs(*[f"k{n}=v" for n in range(256)])}, "257 pairs"),
        ({"replace": pairs("k=" + "v" * 5000)}, "5000 characters"),
    ],
)
async def test_refused_change_changes_nothing(admin: Caller, change: dict[str, Any], says: str) -> None:
    await admin.create_batch("b", {"o": [("z", "1")]})
    before = await contents(admin)
    error = await admin.error(UPDATE, input={"objectId": "o", **change})
    assert (error["extensions"]["code"], says in error["message"]) == ("BAD_INPUT", True), error
    assert await contents(admin) == before


async def test_concurrent_changes_of_different_keys_are_all_kept(admin: Caller) -> None:
    await admin.create_batch("b", {"o": [("k0", "old"), ("gone", "x")]})
    changes: list[dict[str, Any]] = [{"set": pairs(f"k{n}=new")} for n in range(12)]
    changes.append({"unset": ["gone"]})
    await asyncio.gather(*(admin.execute(UPDATE, input={"objectId": "o", **change}) for change in changes))
    assert sorted(await data_of(admin, "o")) == sorted(f"k{n}=new" for n in range(12))


async def test_only_one_of_several_changes_of_the_same_version_is_kept(admin: Caller) -> None:
    made = await admin.create_batch("b", {"o": []})
    version = made["objects"][0]["updatedAt"]
    answers = await asyncio.gather(
        *(
            admin.post(UPDATE, input={"objectId": "o", "set": pairs(f"k{n}=v"), "ifUpdatedAt": version})
            for n in range(5)
        )
    )
    errors = [answer.json()["errors"][0] for answer in answers if "errors" in answer.json()]
    assert [error["extensions"]["code"] for error in errors] == ["CONFLICT"] * 4
    assert len(await data_of(admin, "o")) == 1
    now = (await admin.execute(READ, objectId="o"))["object"]["updatedAt"]
    assert {error["extensions"]["updatedAt"] for error in errors} == {now}
    await admin.execute(UPDATE, input={"objectId": "o", "replace": [], "ifUpdatedAt": now})


async def test_each_change_has_a_later_updated_at_of_whole_milliseconds(admin: Caller) -> None:
    made = await admin.create_batch("b", {"o": []})
    versions = [made["objects"][0]["updatedAt"]]
    for n in range(5):
        answer = await admin.execute(UPDATE, input={"objectId": "o", "set": pairs(f"k={n}")})
        versions.append(answer["updateObjectData"]["object"]["updatedAt"])
    assert versions == sorted(set(versions))
    [row] = await database.fetch("SELECT updated_at FROM objects WHERE tenant_id = $1", admin.tenant.id)
    assert row["updated_at"] == datetime.fromisoformat(versions[-1])  # nothing finer than what was answered


some_pairs = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), max_size=8)


@given(data=some_pairs, put=some_pairs, gone=st.frozensets(st.sampled_from("abcd")))
def test_set_and_unset_touch_only_their_keys(
    data: list[tuple[str, str]], put: list[tuple[str, str]], gone: frozenset[str]
) -> None:
    def as_pairs(some: list[tuple[str, str]]) -> list[dict[str, str]]:
        return [{"key": key, "value": value} for key, value in some]

    gone -= {key for key, _ in put}
    result = [(pair["key"], pair["value"]) for pair in merged(as_pairs(data), as_pairs(put), gone)]
    named = {key for key, _ in put}
    assert [one for one in result if one[0] not in named] == [one for one in data if one[0] not in named | gone]
    for key in named:
        assert [one for one in result if one[0] == key] == [one for one in put if one[0] == key]


# -- deleting ----------------------------------------------------------------------------------------------------------


async def test_deleted_objects_are_gone_from_lists_filters_and_facets(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{n}": [("k", str(n))] for n in range(4)})
    data = await admin.execute(DELETE_OBJECTS, ids=["o1", "o3", "o1"])
    assert data["deleteObjects"]["deletedObjectIds"] == ["o1", "o3"]
    assert await admin.object_ids() == ["o2", "o0"]
    assert await admin.object_ids({"data": [{"key": "k"}]}) == ["o2", "o0"]
    data = await admin.execute('{ dataKeys { key count } dataValues(key: "k") { value } }')
    assert data["dataKeys"] == [{"key": "k", "count": 2}]
    assert [one["value"] for one in data["dataValues"]] == ["0", "2"]


async def test_deleting_an_unknown_object_deletes_none(admin: Caller) -> None:
    await admin.create_batch("b", {"o": []})
    error = await admin.error(DELETE_OBJECTS, ids=["o", "ghost"])
    assert error["extensions"] == {"code": "NOT_FOUND", "objectIds": ["ghost"]}
    assert await admin.object_ids() == ["o"]


async def test_batch_with_objects_is_deleted_only_by_cascade(admin: Caller) -> None:
    await admin.create_batch("b", {f"o{n}": [("k", "v")] for n in range(3)})
    await admin.create_batch("other", {"kept": []})
    before = await contents(admin)
    assert await admin.refused(DELETE_BATCH, batchId="b") == "BATCH_NOT_EMPTY"
    assert await contents(admin) == before
    data = await admin.execute(DELETE_BATCH, batchId="b", cascade=True)
    assert data["deleteBatch"] == {"deletedBatchId": "b", "deletedObjectCount": 3}
    assert await admin.object_ids() == ["kept"]
    assert await admin.refused('{ batch(batchId: "b") { id } }') == "NOT_FOUND"
    data = await admin.execute(DELETE_BATCH, batchId="other", cascade=True)
    await admin.create_batch("empty")
    data = await admin.execute(DELETE_BATCH, batchId="empty")
    assert data["deleteBatch"] == {"deletedBatchId": "empty", "deletedObjectCount": 0}
    assert await contents(admin) == [[], [], []]


async def test_objects_made_while_their_batch_is_deleted_are_never_orphans(admin: Caller) -> None:
    for turn in range(5):
        await admin.create_batch("b", {f"o{turn}": []})
        given = {"batchId": "b", "objects": [{"objectId": f"late{turn}-{n}", "data": []} for n in range(50)]}
        made, deleted = await asyncio.gather(
            admin.post(CREATE_OBJECTS, input=given), admin.post(DELETE_BATCH, batchId="b", cascade=True)
        )
        assert "errors" not in deleted.json()
        codes = [error["extensions"]["code"] for error in made.json().get("errors", [])]
        assert codes in ([], ["NOT_FOUND"])
        assert await contents(admin) == [[], [], []]


async def test_mutations_of_one_operation_run_one_after_the_other_and_stand_alone(admin: Caller) -> None:
    answer = await admin.post(
        """mutation {
          a: createBatch(input: {batchId: "b"}) { batch { batchId } }
          b: createBatch(input: {batchId: "b"}) { batch { batchId } }
          c: createObjects(input: {batchId: "b", objects: [{objectId: "o", data: []}]}) { objects { objectId } }
        }"""
    )
    body = answer.json()
    assert [error["extensions"]["code"] for error in body["errors"]] == ["ALREADY_EXISTS"]
    assert body["errors"][0]["path"] == ["b"]


async def test_each_mutation_of_one_operation_sees_what_the_ones_before_it_made(admin: Caller) -> None:
    data = await admin.execute(
        """mutation {
          a: createBatch(input: {batchId: "b"}) { batch { objects { totalCount nodes { objectId } } } }
          b: createObjects(input: {batchId: "b", objects: [{objectId: "o"}]}) {
            batch { objects { totalCount nodes { objectId } } } }
        }"""
    )
    assert data["a"]["batch"]["objects"] == {"totalCount": 0, "nodes": []}
    assert data["b"]["batch"]["objects"] == {"totalCount": 1, "nodes": [{"objectId": "o"}]}


@pytest.mark.parametrize("extra", [{}, {"data": None}, {"data": []}])
async def test_object_may_have_no_data(admin: Caller, extra: dict[str, Any]) -> None:
    await admin.execute(CREATE_OBJECTS_IN_NEW, input={"batchId": "b", "objects": [{"objectId": "o", **extra}]})
    assert await data_of(admin, "o") == []


async def test_making_objects_takes_the_same_few_statements_however_many_they_are(admin: Caller) -> None:
    counts = []
    for count in (1, 10_000):
        given = [{"objectId": f"o{count}-{n}", "data": pairs(f"n={n}")} for n in range(count)]
        batch = {"batchId": f"b{count}", "objects": given}
        counts.append((await count_statements(admin, CREATE_OBJECTS_IN_NEW, input=batch))[0])
    assert counts[0] == counts[1] <= 6
