"""Local copies over GraphQL: asked for, listed for those who can read their objects, tried again."""

from collections.abc import Sequence
from typing import Any

import pytest

from models import AccessLevel, Role, database, syncs
from tests.access.test_grants import grant
from tests.conftest import Caller, NewCaller
from tests.graph.test_mutations import contents, data_of
from tests.statements import count_statements
from tests.syncs import REQUEST, copied, failed, file, jobs_waiting, new_source, requested

RETRY = "mutation($ids: [ID!]!) { retrySync(input: {syncIds: $ids}) { syncs { id state attempts problem } } }"
PAUSE = 'mutation { updateSyncSource(input: {name: "photos", paused: true}) { source { name } } }'
LIST = """query($where: SyncWhere, $first: Int, $after: String, $last: Int, $before: String) {
  syncs(first: $first, after: $after, last: $last, before: $before, where: $where) { totalCount
    nodes { object { objectId } state } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }"""
NODE = "query($id: ID!) { node(id: $id) { ... on Sync { fileName object { objectId } } } }"


@pytest.fixture
async def photos(admin: Caller) -> Caller:
    """The admin of a tenant with a source."""
    await new_source(admin)
    return admin


async def listed(caller: Caller, **given: Any) -> list[str]:
    """Ids of the objects; the total is as many."""
    found = (await caller.execute(LIST, first=100, where=given))["syncs"]
    assert found["totalCount"] == len(found["nodes"])
    return [node["object"]["objectId"] for node in found["nodes"]]


async def test_what_is_asked_for_is_queued_with_its_batch_and_object(photos: Caller) -> None:
    await photos.create_batch("there", {"old": [("k", "v")]})
    waiting = await jobs_waiting()
    made = await requested(photos, file("z"), file("a"), file("old", "there", "b.png", "image/png"))
    assert await jobs_waiting() == waiting + 1
    assert [one["object"]["objectId"] for one in made] == ["z", "a", "old"]
    assert [one["batch"]["batchId"] for one in made] == ["b", "b", "there"]
    first = made[0]
    nothing = ("problem", "error", "size", "sha256", "path", "syncedAt")
    assert {name: first[name] for name in nothing} == dict.fromkeys(nothing)
    assert (first["source"], first["fileName"], first["fileType"]) == ("photos", "a.jpg", "image/jpeg")
    assert (first["state"], first["attempts"]) == ("QUEUED", 0)
    assert first["createdAt"] == first["queuedAt"] == first["nextTryAt"]
    assert await data_of(photos, "z") == ["file_name=a.jpg", "file_type=image/jpeg"]
    assert await data_of(photos, "old") == ["k=v"]
    assert (await photos.execute(NODE, id=first["id"]))["node"] == {"fileName": "a.jpg", "object": {"objectId": "z"}}
    assert (await photos.execute('{ batch(batchId: "b") { createdBy { name } } }'))["batch"]["createdBy"] == {
        "name": photos.user.name
    }


async def test_what_a_member_makes_by_asking_is_the_members(new_caller: NewCaller) -> None:
    admin = await new_caller(member_access=AccessLevel.EDIT)
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    await new_source(admin)
    await admin.create_batch("there", {"old": []})
    await requested(member, file("new", "mine"), file("added", "there"), file("old", "there"))
    data = await member.execute(
        """{ mine: batch(batchId: "mine") { access createdBy { name } } there: batch(batchId: "there") { access }
          new: object(objectId: "new") { access } added: object(objectId: "added") { access }
          old: object(objectId: "old") { access } }"""
    )
    assert data["mine"] == {"access": "ADMIN", "createdBy": {"name": member.user.name}}
    access = {name: data[name]["access"] for name in ("there", "new", "added", "old")}
    assert access == {"there": "EDIT", "new": "ADMIN", "added": "ADMIN", "old": "EDIT"}


async def test_what_is_asked_for_again_after_it_failed_makes_nobody_the_owner_of_its_object(
    new_caller: NewCaller,
) -> None:
    admin = await new_caller(member_access=AccessLevel.EDIT)
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    await new_source(admin)
    [first] = await requested(admin)
    await failed(admin)
    [again] = await requested(member)
    assert (again["id"], again["state"]) == (first["id"], "QUEUED")
    assert (await member.execute('{ object(objectId: "o") { access } }'))["object"] == {"access": "EDIT"}


async def test_batches_are_made_by_those_only_who_may_make_some(new_caller: NewCaller) -> None:
    for access, code in ((AccessLevel.NONE, "NOT_FOUND"), (AccessLevel.VIEW, "FORBIDDEN")):
        admin = await new_caller(member_access=access)
        member = await new_caller(admin.tenant, role=Role.MEMBER)
        await new_source(admin, origin={"bucket": "bucket", "prefix": "in/{oeid}/"})
        await admin.create_batch("granted")
        await grant(admin, member, "EDIT", batch="granted")
        await requested(member, file("a", "granted"))
        before = await contents(admin)
        both = [file("b", "granted"), file("c", "new")]
        assert await member.refused(REQUEST, source="photos", files=both) == code
        assert await contents(admin) == before


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ([file("there")], "ALREADY"),
        ([file("new"), file("there")], "ALREADY"),
        ([file("copied")], "ALREADY"),
        ([file("new"), file("new")], "ALREADY"),
        ([file("new"), file("there", "new batch", "b.jpg")], "OTHER_BATCH"),
    ],
)
async def test_one_refused_file_refuses_the_whole_call(photos: Caller, given: list[Any], problem: str) -> None:
    await requested(photos, file("copied"))
    await copied(photos)
    await requested(photos, file("there"))
    before = await contents(photos), await listed(photos)
    error = await photos.error(REQUEST, source="photos", files=given)
    refused = {"objectId": given[-1]["objectId"], "fileName": given[-1]["fileName"], "problem": problem}
    assert error["extensions"] == {"code": "CONFLICT", "files": [refused]}
    assert f'"{given[-1]["objectId"]}"' in error["message"]
    assert (await contents(photos), await listed(photos)) == before


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"batchId": "../x"}, 'files[1]: "batchId" must not contain "/"'),
        ({"objectId": ""}, 'files[1]: "objectId" must not be empty'),
        ({"objectId": ".."}, 'files[1]: "objectId" must not be ".."'),
        ({"fileName": "a\\b"}, 'files[1]: "fileName" must not contain "\\"'),
        ({"fileName": "x" * 256}, 'files[1]: "fileName" has 256 bytes'),
        ({"fileName": "a\nb"}, 'files[1]: "fileName" must not contain U+000A'),
        ({"fileType": "jpeg"}, 'files[1]: "fileType" must be like'),
        ({"fileName": "a\0"}, "NUL"),
    ],
)
async def test_what_can_be_no_part_of_a_path_is_refused_by_its_field(
    photos: Caller, given: dict[str, str], says: str
) -> None:
    error = await photos.error(REQUEST, source="photos", files=[file("fine"), file() | given])
    assert (error["extensions"]["code"], says in error["message"]) == ("BAD_INPUT", True), error
    assert await photos.object_ids() == []


@pytest.mark.parametrize("count", [0, 1_001])
async def test_so_many_files_are_refused(photos: Caller, count: int) -> None:
    assert await photos.refused(REQUEST, source="photos", files=[file(str(n)) for n in range(count)]) == "BAD_INPUT"


async def test_a_thousand_files_are_queued_in_order(photos: Caller) -> None:
    names = [f"o{number}" for number in reversed(range(1_000))]
    made = await requested(photos, *(file(name, f"b{name[-2:]}") for name in names))
    assert [one["object"]["objectId"] for one in made] == names


async def test_nothing_is_queued_for_a_source_that_is_not_there_or_paused(photos: Caller) -> None:
    assert await photos.refused(REQUEST, source="none", files=[file()]) == "NOT_FOUND"
    await photos.execute(PAUSE)
    error = await photos.error(REQUEST, source="photos", files=[file()])
    assert error["extensions"] == {"code": "CONFLICT", "source": "photos"}
    assert await photos.object_ids() == []


async def test_nothing_is_queued_beyond_the_quota(photos: Caller) -> None:
    photos.tenant.quota_objects = 2
    await photos.tenant.save()
    assert await photos.refused(REQUEST, source="photos", files=[file(n) for n in "abc"]) == "QUOTA_EXCEEDED"
    assert await listed(photos) == []
    await requested(photos, file("a"), file("b"))


async def test_repeated_with_its_idempotency_key_it_is_queued_once(photos: Caller) -> None:
    mutation = REQUEST.replace(
        "{source: $source, files: $files}", "{source: $source, files: $files}, idempotencyKey: $k"
    )
    mutation = mutation.replace("mutation(", "mutation($k: String!, ")
    answers = [await photos.execute(mutation, source="photos", files=[file()], k="once") for _ in range(2)]
    assert answers[0] == answers[1]
    assert await listed(photos) == ["o"]


async def test_what_failed_is_tried_again_as_new(photos: Caller) -> None:
    made = await requested(photos, file("a"), file("b"))
    await failed(photos)
    found = (await photos.execute("{ syncs { nodes { state attempts problem error nextTryAt } } }"))["syncs"]["nodes"]
    was = {"state": "FAILED", "attempts": 1, "problem": "FILE_MISSING", "error": "there is no such file"}
    assert found == [was | {"nextTryAt": None}] * 2
    waiting, ids = await jobs_waiting(), [made[1]["id"], made[0]["id"]]
    again = (await photos.execute(RETRY, ids=ids))["retrySync"]["syncs"]
    assert again == [{"id": one, "state": "QUEUED", "attempts": 0, "problem": None} for one in ids]
    assert await jobs_waiting() == waiting + 1


async def test_what_did_not_fail_is_not_tried_again_nor_what_is_asked_for_with_it(photos: Caller) -> None:
    made = await requested(photos, file("a"), file("b"), file("c"))
    ids = [one["id"] for one in made]
    await failed(photos, ["a"])
    await copied(photos, ["b"])
    error = await photos.error(RETRY, ids=ids)
    assert error["extensions"] == {"code": "CONFLICT", "ids": ids[1:]}
    assert await listed(photos, states=["FAILED"]) == ["a"]
    for given, code in (([ids[0], "U3luYzox"], "NOT_FOUND"), (["T2JqZWN0OjE="], "BAD_INPUT"), (["x"], "BAD_INPUT")):
        assert await photos.refused(RETRY, ids=given) == code


async def filled(admin: Caller) -> list[Any]:
    """From two sources, in two batches, in each state; the newest object is "5"."""
    await new_source(admin, "letters")
    made = []
    for number in range(6):
        source = "photos" if number % 2 else "letters"
        made += await requested(admin, file(str(number), f"b{number // 4}", f"{number}.jpg"), source=source)
        await database.execute("SELECT pg_sleep(0.002)")  # so that no two are of one moment
    await failed(admin, ["1", "2"])
    await copied(admin, ["3", "4"])
    return made


async def test_filters_say_which(photos: Caller) -> None:
    made = await filled(photos)
    at = [one["createdAt"] for one in made]
    expected: list[tuple[dict[str, Any], str]] = [
        ({}, "543210"),
        ({"states": ["FAILED"]}, "21"),
        ({"states": ["QUEUED", "SYNCED"]}, "5430"),
        ({"states": ["RUNNING"]}, ""),
        ({"states": []}, ""),
        ({"source": "photos"}, "531"),
        ({"source": "photos", "states": ["FAILED", "SYNCED"]}, "31"),
        ({"source": "none"}, ""),
        ({"batchId": "b0"}, "3210"),
        ({"batchId": "b1"}, "54"),
        ({"batchId": "none"}, ""),
        ({"batchId": "b0", "source": "letters"}, "20"),
        ({"batchId": "b0", "states": ["QUEUED"], "source": "letters"}, "0"),
        ({"objectId": "3"}, "3"),
        ({"objectId": "3", "states": ["FAILED"]}, ""),
        ({"objectId": "3", "source": "photos", "batchId": "b0"}, "3"),
        ({"objectId": "3", "batchId": "b1"}, ""),
        ({"objectId": "none"}, ""),
        ({"objectId": "x" * 1_000}, ""),
        ({"createdAfter": at[3]}, "54"),
        ({"createdBefore": at[3]}, "210"),
        ({"createdAfter": at[0], "createdBefore": at[5], "source": "letters"}, "42"),
    ]
    for where, objects in expected:
        assert "".join(await listed(photos, **where)) == objects, where


@pytest.mark.parametrize("where", [{}, {"batchId": "b0"}, {"states": ["QUEUED", "FAILED", "SYNCED"]}], ids=str)
async def test_pages_go_both_ways(photos: Caller, where: dict[str, Any]) -> None:
    await filled(photos)
    whole = await listed(photos, **where)
    for step, first, cursor, name in (
        ("after", "first", "endCursor", "Next"),
        ("before", "last", "startCursor", "Previous"),
    ):
        found: list[str] = []
        given: dict[str, Any] = {}
        while True:
            page = (await photos.execute(LIST, where=where, **{first: 2}, **given))["syncs"]
            part = [node["object"]["objectId"] for node in page["nodes"]]
            found = found + part if step == "after" else part + found
            if not page["pageInfo"][f"has{name}Page"]:
                break
            given = {step: page["pageInfo"][cursor]}
        assert found == whole
    assert await photos.refused(LIST, where={"objectId": "0"}, **given) == "BAD_CURSOR"


GRANTED: dict[str, tuple[list[dict[str, str]], str]] = {
    "nothing": ([], ""),
    "an object": ([{"object": "2"}], "2"),
    "objects": ([{"object": "5"}, {"object": "0"}, {"object": "3"}], "530"),
    "a batch": ([{"batch": "b1"}], "54"),
    "both": ([{"batch": "b1"}, {"object": "4"}, {"object": "1"}], "541"),
}


@pytest.mark.parametrize("looked_at", [1, 3, 1_000])
@pytest.mark.parametrize("name", GRANTED)
async def test_copies_of_what_is_granted_exist_and_no_others(
    new_caller: NewCaller, monkeypatch: pytest.MonkeyPatch, name: str, looked_at: int
) -> None:
    """Whichever way a page is led to: by the list, or by the grants."""
    monkeypatch.setattr(syncs, "_NEWEST", looked_at)
    monkeypatch.setattr(syncs, "_ENOUGH", 2)
    admin = await new_caller()
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    await new_source(admin)
    made = await filled(admin)
    given, objects = GRANTED[name]
    for thing in given:
        await grant(admin, member, "VIEW", **thing)
    wheres: Sequence[dict[str, Any]] = (
        {}, {"source": "photos"}, {"batchId": "b0"}, {"batchId": "b1", "source": "letters"}, {"objectId": "3"},
        {"states": ["QUEUED", "SYNCED"]}, {"createdAfter": made[3]["createdAt"]},
    )  # fmt: skip
    for where in wheres:
        assert await listed(member, **where) == [one for one in await listed(admin, **where) if one in objects], where
    if objects:
        page = (await member.execute(LIST, last=1))["syncs"]
        assert [node["object"]["objectId"] for node in page["nodes"]] == [objects[-1]]
    answer = (
        await member.post("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=[one["id"] for one in made])
    ).json()
    seen = [one["object"]["objectId"] for one, node in zip(made, answer["data"]["nodes"], strict=True) if node]
    assert seen == sorted(objects)


async def test_other_tenants_see_none_of_it(photos: Caller, new_caller: NewCaller) -> None:
    [made] = await requested(photos)
    stranger = await new_caller()
    await new_source(stranger)
    assert await listed(stranger) == []
    assert await listed(stranger, source="photos", batchId="b", objectId="o") == []
    assert await stranger.refused(NODE, id=made["id"]) == "NOT_FOUND"
    assert await stranger.refused(RETRY, ids=[made["id"]]) == "NOT_FOUND"


async def test_page_takes_one_statement_and_what_is_selected_of_its_objects_another(photos: Caller) -> None:
    await requested(photos, *(file(str(number)) for number in range(10)))
    few = "{ syncs { nodes { fileName state batch { batchId } } } }"
    assert (await count_statements(photos, few))[0] == 1
    more = "{ syncs { nodes { object { objectId data { key } batch { batchId } } } } }"
    assert (await count_statements(photos, more))[0] == 2


async def test_of_many_refused_files_a_hundred_are_named(photos: Caller) -> None:
    await requested(photos, *(file(str(number)) for number in range(150)))
    error = await photos.error(REQUEST, source="photos", files=[file(str(number)) for number in range(150)])
    assert len(error["extensions"]["files"]) == 100
    assert "and 149 more" in error["message"]
