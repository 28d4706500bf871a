"""Sync sources over GraphQL: admins make and change them, everybody in the tenant knows their names, none a secret."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from access.sources import Sources
from models import AccessLevel, Action, Role, audit, sources
from models.audit import Which
from models.pages import Bounds
from tests.access.test_grants import grant
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements
from tests.syncs import CREATE_SOURCE, REQUEST, copied, failed, file, jobs_waiting, new_source, requested
from waybill.settings import Settings
from waybill.syncing import sync_sources

ROTATE = """mutation($seconds: Int! = 86400) { rotateSyncSource(input: {name: "photos", formerValidFor: $seconds}) {
  secret source { rotatedAt formerSecretUntil } } }"""
UPDATE = """mutation($input: UpdateSyncSourceInput!) { updateSyncSource(input: $input) {
  source { pausedAt concurrency } } }"""
LIST = """{ syncSources { totalCount nodes { id name fullName path concurrency pausedAt createdAt rotatedAt
  formerSecretUntil createdBy { name } origin { bucket } destination { directory bucket { bucket } }
  stats { queued running synced failed oldestQueuedAt } } } }"""
STATS = "query($source: String) { syncStats(source: $source) { queued running synced failed oldestQueuedAt } }"
NODE = "query($id: ID!) { node(id: $id) { ... on SyncSource { name } } }"


@pytest.fixture
def keeper(settings: Settings) -> Sources:
    """What reads secrets."""
    return sync_sources(settings)


async def secrets_of(keeper: Sources, caller: Caller) -> list[str]:
    row = await sources.named(caller.tenant.id, "photos")
    return [secret.decode() for secret in keeper.secrets_of(row)]


async def actions(caller: Caller) -> list[tuple[str, dict[str, str]]]:
    wanted = (Action.SOURCE_CREATED, Action.SOURCE_CHANGED, Action.SOURCE_ROTATED)
    rows = (await audit.page(Which(caller.tenant.id, actions=wanted), Bounds(10))).rows
    return [(row["action"], json.loads(row["details"])) for row in rows]


async def test_made_source_shows_its_secret_once(admin: Caller, keeper: Sources) -> None:
    made = await new_source(admin, origin={"bucket": "acme-photos", "prefix": "in/{oeid}/", "region": "eu-west-1"})
    assert await secrets_of(keeper, admin) == [made["secret"]]
    source = made["source"]
    full_name = f"{admin.tenant.slug}.photos"
    assert (source["name"], source["fullName"], source["path"]) == ("photos", full_name, f"/sync/{full_name}/")
    assert source["origin"] == {
        "bucket": "acme-photos",
        "prefix": "in/{oeid}/",
        "endpoint": None,
        "region": "eu-west-1",
        "profile": None,
        "role": None,
    }
    assert source["destination"] == {"directory": "photos", "bucket": None}
    assert source["stats"] == {"queued": 0, "running": 0, "synced": 0, "failed": 0, "oldestQueuedAt": None}
    assert (source["pausedAt"], source["rotatedAt"], source["createdBy"]) == (None, None, {"name": admin.user.name})
    answer = await admin.post(LIST)
    assert made["secret"] not in answer.text
    assert answer.json()["data"]["syncSources"]["nodes"][0]["id"] == source["id"]
    assert (await admin.execute(NODE, id=source["id"]))["node"] == {"name": "photos"}
    assert await actions(admin) == [("SOURCE_CREATED", {"source": "photos", "bucket": "acme-photos"})]


async def test_source_may_copy_to_another_bucket(admin: Caller) -> None:
    role = "arn:aws:iam::123456789012:role/copies"
    to = {"bucket": {"bucket": "acme-copies", "prefix": "photos/", "role": role}}
    made = await new_source(admin, destination=to)
    bucket = {"bucket": "acme-copies", "prefix": "photos/", "role": role}
    assert made["source"]["destination"] == {"directory": None, "bucket": bucket}


@pytest.mark.parametrize(
    ("given", "code", "says"),
    [
        ({"name": "Photos"}, "BAD_INPUT", "small letters"),
        ({"name": "photos.old"}, "BAD_INPUT", "small letters"),
        ({"name": ""}, "BAD_INPUT", "small letters"),
        ({"concurrency": 0}, "BAD_INPUT", "from 1 to 64"),
        ({"concurrency": 65}, "BAD_INPUT", "from 1 to 64"),
        ({"origin": {"bucket": "../x"}}, "BAD_INPUT", "bucket of the origin"),
        ({"origin": {"bucket": "bucket", "prefix": "a\n"}}, "BAD_INPUT", "prefix of the origin"),
        ({"origin": {"bucket": "bucket", "profile": "p", "role": "r"}}, "BAD_INPUT", "not both"),
        ({"origin": {"bucket": "bucket", "role": "me"}}, "BAD_INPUT", "no ARN"),
        ({"origin": {"bucket": "bucket", "profile": "embedded"}}, "FORBIDDEN", "WAYBILL_SYNC_PROFILES"),
        ({"origin": {"bucket": "bucket", "endpoint": "http://10.0.0.1"}}, "FORBIDDEN", "WAYBILL_SYNC_ENDPOINTS"),
        ({"destination": {"directory": "../x"}}, "BAD_INPUT", "directory"),
        ({"destination": {"bucket": {"bucket": "bucket"}}}, "BAD_INPUT", "nobody may write"),
        ({"destination": {"directory": "a", "bucket": {"bucket": "bucket"}}}, "BAD_INPUT", "exactly one"),
    ],
)
async def test_source_that_cannot_be_is_not_made(admin: Caller, given: dict[str, Any], code: str, says: str) -> None:
    made = {"name": "photos", "origin": {"bucket": "bucket"}} | given
    answer = (await admin.post(CREATE_SOURCE, input=made)).json()
    [error] = answer["errors"]
    assert (error["extensions"]["code"], says in error["message"]) == (code, True), error
    assert (await admin.execute(LIST))["syncSources"]["totalCount"] == 0


async def test_name_and_directory_are_one_sources_of_the_tenant(admin: Caller, new_caller: NewCaller) -> None:
    await new_source(admin)
    for given in ({"name": "photos"}, {"name": "other", "destination": {"directory": "photos"}}):
        made = {"origin": {"bucket": "bucket"}} | given
        assert await admin.refused(CREATE_SOURCE, input=made) == "ALREADY_EXISTS"
    await new_source(await new_caller())


async def test_former_secret_is_good_for_as_long_as_was_said(admin: Caller, keeper: Sources) -> None:
    first = (await new_source(admin))["secret"]
    rotated = (await admin.execute(ROTATE, seconds=3600))["rotateSyncSource"]
    second = rotated["secret"]
    assert await secrets_of(keeper, admin) == [second, first]
    until = datetime.fromisoformat(rotated["source"]["formerSecretUntil"])
    assert until - datetime.fromisoformat(rotated["source"]["rotatedAt"]) == timedelta(hours=1)
    third = (await admin.execute(ROTATE))["rotateSyncSource"]["secret"]
    assert await secrets_of(keeper, admin) == [third, second]
    last = (await admin.execute(ROTATE, seconds=0))["rotateSyncSource"]
    assert await secrets_of(keeper, admin) == [last["secret"]]
    assert last["source"]["formerSecretUntil"] is None
    assert [action for action, _ in await actions(admin)] == [*["SOURCE_ROTATED"] * 3, "SOURCE_CREATED"]
    for seconds in (-1, 30 * 86_400 + 1):
        assert await admin.refused(ROTATE, seconds=seconds) == "BAD_INPUT"


async def test_source_is_paused_and_goes_on(admin: Caller) -> None:
    await new_source(admin)
    paused = (await admin.execute(UPDATE, input={"name": "photos", "paused": True}))["updateSyncSource"]["source"]
    assert datetime.now(UTC) - datetime.fromisoformat(paused["pausedAt"]) < timedelta(minutes=1)
    again = (await admin.execute(UPDATE, input={"name": "photos", "paused": True}))["updateSyncSource"]["source"]
    assert again == paused
    waiting = await jobs_waiting()
    changed = await admin.execute(UPDATE, input={"name": "photos", "paused": False, "concurrency": 7})
    assert changed["updateSyncSource"]["source"] == {"pausedAt": None, "concurrency": 7}
    assert await jobs_waiting() > waiting
    assert (await actions(admin))[0] == ("SOURCE_CHANGED", {"source": "photos", "paused": "false", "concurrency": "7"})
    for given in ({}, {"concurrency": 0}):
        assert await admin.refused(UPDATE, input={"name": "photos"} | given) == "BAD_INPUT"


async def test_who_is_no_admin_knows_what_it_takes_to_ask_for_copies_and_no_more(new_caller: NewCaller) -> None:
    admin = await new_caller(member_access=AccessLevel.NONE)
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    await new_source(admin)
    [source] = (await member.execute(LIST))["syncSources"]["nodes"]
    shown = {name for name, value in source.items() if value is not None}
    assert shown == {"id", "name", "fullName", "path", "concurrency", "createdAt"}
    stranger = await new_caller()
    assert (await stranger.execute(LIST))["syncSources"]["nodes"] == []
    assert await stranger.refused(NODE, id=source["id"]) == "NOT_FOUND"


async def test_stats_count_by_state_of_one_source_and_of_all(admin: Caller) -> None:
    await new_source(admin)
    await new_source(admin, "letters")
    await requested(admin, *(file(str(number)) for number in range(4)))
    await copied(admin, ["0"])
    await failed(admin, ["1"])
    [other] = await requested(admin, file("x"), source="letters")
    photos = (await admin.execute(STATS, source="photos"))["syncStats"]
    assert {name: photos[name] for name in ("queued", "running", "synced", "failed")} == {
        "queued": 2,
        "running": 0,
        "synced": 1,
        "failed": 1,
    }
    letters = (await admin.execute(STATS, source="letters"))["syncStats"]
    assert (letters["queued"], letters["oldestQueuedAt"]) == (1, other["queuedAt"])
    both = (await admin.execute(STATS))["syncStats"]
    assert both == photos | {"queued": 3}
    assert await admin.refused(STATS, source="none") == "NOT_FOUND"
    count, listed = await count_statements(admin, "{ syncSources { nodes { name stats { queued } } } }")
    assert [one["stats"] for one in listed["syncSources"]["nodes"]] == [{"queued": 1}, {"queued": 2}]
    assert count == 2


@pytest.mark.parametrize(
    ("prefix", "code"),
    [
        ("", "FORBIDDEN"),
        ("in/", "FORBIDDEN"),
        ("{oeid}", "FORBIDDEN"),  # of "b" there may be "atch.jpg", which is "batch"'s ".jpg"
        ("{oeid}-{ref_id}/", "FORBIDDEN"),
        ("{oeid}/", None),
        ("in/{ref_id}/{oeid}-x/", None),
    ],
)
async def test_who_does_not_see_everything_asks_for_no_file_that_another_batch_could_have(
    new_caller: NewCaller, prefix: str, code: str | None
) -> None:
    admin = await new_caller(member_access=AccessLevel.NONE)
    member = await new_caller(admin.tenant, role=Role.MEMBER)
    await new_source(admin, origin={"bucket": "bucket", "prefix": prefix})
    await admin.create_batch("granted")
    await grant(admin, member, "EDIT", batch="granted")
    answer = await member.post(REQUEST, source="photos", files=[file("a", "granted")])
    codes = [error["extensions"]["code"] for error in answer.json().get("errors", [])]
    assert codes == ([code] if code else [])
    await requested(admin, file("b", "granted"))
