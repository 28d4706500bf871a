"""Whoever asks again for a URL to read is given the same one for a while, which is in the audit log once.

It is still decided by each request what exists for whom.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from graph import documents
from graph.types import files
from models import AccessLevel, KeyScope, Role, database
from tests.access.test_audit import PAGE, actions, with_complete_files
from tests.access.test_grants import GRANT, REVOKE, id_of
from tests.access.test_scopes import with_scope
from tests.conftest import Caller, NewCaller
from tests.statements import count_statements
from tests.uploads import FILE, content, get, stored

ONE = 'query($in: Int) { object(objectId: "f0") { file { access(expiresIn: $in) { url expiresAt } } } }'
CREATE = """mutation { createObjects(input: {batchId: "files", objects: [{objectId: "new"}]}) {
  objects { batch { objects(first: 100) { nodes { file { access { url } } } } } } } }"""


class Clock:
    """What the service takes for the time, which stands still at the beginning of a window of 30 seconds."""

    def __init__(self) -> None:
        self.now = datetime.fromtimestamp(datetime.now(UTC).timestamp() // 30 * 30, UTC)

    def time(self) -> float:
        return self.now.timestamp()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(files, "_now", lambda: clock.now)
    monkeypatch.setattr(files, "time", clock)
    return clock


async def urls(caller: Caller, query: str = PAGE) -> list[str]:
    nodes = (await caller.execute(query))["objects"]["nodes"]
    return [node["file"]["access"]["url"] for node in nodes if node["file"]]


async def given(caller: Caller) -> int:
    return (await actions(caller)).count("READ_URL")


async def test_page_that_is_asked_for_again_has_the_same_urls_and_writes_nothing(admin: Caller) -> None:
    await with_complete_files(admin, 3)
    before, first = await count_statements(admin, PAGE)
    after, second = await count_statements(admin, PAGE)
    assert first == second
    assert (before, after) == (2, 1)
    assert await given(admin) == len(set(await urls(admin))) == 3


async def test_url_is_the_same_whichever_way_it_is_asked_for(
    admin: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_complete_files(admin, 2)
    quick = await urls(admin)
    clock.now += timedelta(seconds=29)
    node = (await admin.execute(ONE))["object"]["file"]["access"]
    monkeypatch.setattr(documents, "quick", lambda *_: None)
    monkeypatch.setattr(documents, "page_writer", lambda *_: None)
    assert await urls(admin, f"{PAGE} # again") == quick
    assert node["url"] in quick
    assert await given(admin) == 2


async def test_next_window_has_another_url_that_is_written_down_and_works(admin: Caller, clock: Clock) -> None:
    await stored(admin, b"bytes")
    first = (await admin.execute(FILE, id="o"))["object"]["file"]["access"]
    clock.now += timedelta(seconds=30)
    second = (await admin.execute(FILE, id="o"))["object"]["file"]["access"]
    assert first["url"] != second["url"]
    ends = [datetime.fromisoformat(one["expiresAt"]) for one in (first, second)]
    assert ends[1] - ends[0] == timedelta(seconds=30)
    assert timedelta(seconds=270) <= ends[1] - clock.now <= timedelta(seconds=300)
    assert await given(admin) == 2
    assert (await get(first["url"])).content == b"bytes"


async def test_other_lifetimes_are_other_urls(admin: Caller) -> None:
    await with_complete_files(admin, 1)
    for seconds in (60, 600, 60):
        await admin.execute(ONE, **{"in": seconds})
    assert await given(admin) == 2


@pytest.mark.parametrize("field", ["objects", "syncs { totalCount } objects"])
async def test_url_that_is_asked_for_in_two_ways_is_one(admin: Caller, field: str) -> None:
    """By what is meant where nothing is asked for, and by the same said, whoever executes it."""
    await with_complete_files(admin, 1)
    both = "a: access { url } b: access(expiresIn: 300, disposition: ATTACHMENT) { url }"
    found = await admin.execute(f"{{ {field} {{ nodes {{ file {{ {both} }} }} }} }}")
    [file] = [node["file"] for node in found["objects"]["nodes"] if node["file"]]
    assert file["a"] == file["b"]
    assert await given(admin) == 1


async def test_each_person_and_each_key_is_written_down(admin: Caller, new_caller: NewCaller) -> None:
    await with_complete_files(admin, 1)
    for caller in (admin, await with_scope(admin, KeyScope.READ), await new_caller(admin.tenant)):
        assert len(await urls(caller)) == 1
        assert len(await urls(caller)) == 1
    assert await given(admin) == 3


async def test_url_that_was_given_is_refused_once_its_object_may_not_be_read(
    admin: Caller, new_caller: NewCaller
) -> None:
    await with_complete_files(admin, 1)
    member = await new_caller(admin.tenant, Role.MEMBER)
    await admin.execute(GRANT, user=id_of(member), level=AccessLevel.VIEW, object="f0")
    assert len(await urls(member)) == 1
    await admin.execute(REVOKE, user=id_of(member), object="f0")
    assert await urls(member) == []


async def test_file_that_takes_the_place_of_another_has_its_own_url(admin: Caller) -> None:
    await stored(admin, b"old")
    assert await content(admin) == b"old"
    await admin.execute('mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }')
    await stored(admin, b"new", name="other", object_id="p")
    assert await content(admin, "p") == b"new"
    assert len(await urls(admin)) == 1


async def test_urls_that_could_not_be_written_down_are_when_they_are_asked_for_again(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_complete_files(admin, 2)
    execute = database.execute

    async def failing(sql: str, *arguments: object) -> int:
        if sql.startswith("INSERT INTO audit_log"):
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return await execute(sql, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(database, "execute", failing)
        assert (await admin.post(PAGE)).status_code == 503
    assert await given(admin) == 0
    await urls(admin)
    assert await given(admin) == 2


async def test_url_of_a_mutation_that_is_undone_when_it_is_committed_is_written_down_the_next_time(
    admin: Caller,
) -> None:
    await with_complete_files(admin, 1)
    await database.execute("UPDATE tenants SET quota_objects = 1 WHERE id = $1", admin.tenant.id)
    assert await admin.refused(CREATE) == "QUOTA_EXCEEDED"
    assert await given(admin) == 0
    await urls(admin)
    assert await given(admin) == 1


async def test_mutation_gives_a_known_url_again_and_writes_new_ones_down(admin: Caller) -> None:
    await with_complete_files(admin, 2)
    await admin.execute(ONE)
    made: Any = await admin.execute(CREATE)
    assert len(made["createObjects"]["objects"][0]["batch"]["objects"]["nodes"]) == 3
    assert await given(admin) == 2
