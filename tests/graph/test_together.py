"""What many ask at once is read together, and each gets his own."""

import asyncio
from typing import Any

import pytest

from access import remembered
from models import AccessLevel, Role, audit, database, reads, together
from models.pages import Row, Scope
from models.reads import Parts
from tests.access.test_audit import PAGE as URLS
from tests.access.test_audit import actions, with_complete_files
from tests.access.test_grants import GRANT, id_of
from tests.conftest import Caller, NewCaller

OBJECT = "query ($id: String!) { object(objectId: $id) { objectId data { key value } } }"
PAGE = "query ($n: Int) { objects(first: $n) { nodes { objectId data { value } } pageInfo { hasNextPage } } }"


@pytest.fixture(autouse=True)
def _let_in_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else they would come one by one, as each is looked up."""
    monkeypatch.setattr(remembered, "SECONDS", 60.0)


async def ask(caller: Caller, *ids: str) -> list[Any]:
    """The values of their pairs, or the code of what is wrong."""
    answers = await asyncio.gather(*(caller.post(OBJECT, id=one) for one in ids))
    shown = []
    for one, answer in zip(ids, answers, strict=True):
        content = answer.json()
        if "errors" in content:
            shown.append(content["errors"][0]["extensions"]["code"])
        else:
            assert content["data"]["object"]["objectId"] == one
            shown.append([pair["value"] for pair in content["data"]["object"]["data"]])
    return shown


async def filled(admin: Caller, count: int = 20) -> list[str]:
    await admin.create_batch("b", {f"o{number}": [("k", f"v{number}")] for number in range(count)})
    return [f"o{number}" for number in range(count)]


async def test_objects_asked_for_in_one_turn_take_three_statements(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    fetch = database.fetch

    async def spied(sql: str, *arguments: object) -> list[Row]:
        sent.append(sql)
        return await fetch(sql, *arguments)

    ids = [*await filled(admin), "absent"]
    monkeypatch.setattr(database, "fetch", spied)
    scope = Scope(admin.tenant.id)
    rows = await asyncio.gather(*(together.object_with_id(scope, one, Parts()) for one in ids))
    assert [row and row["object_id"] for row in rows] == [*ids[:-1], None]
    assert len(sent) == 3  # of the first one, of the first who is not alone, and of all others
    assert [await together.object_with_id(scope, one, Parts()) for one in ids] == rows
    assert len(sent) == 3 + len(ids)


async def test_each_gets_the_object_he_asked_for(admin: Caller) -> None:
    ids = await filled(admin)
    assert await ask(admin, *ids, "absent", "o3") == [*([f"v{n}"] for n in range(20)), "NOT_FOUND", ["v3"]]
    assert not together._kinds


async def test_each_gets_the_page_he_asked_for(admin: Caller) -> None:
    await filled(admin)
    sizes = [5, 3, 5, 20, 3, 5, 20] * 4
    answers = await asyncio.gather(*(admin.execute(PAGE, n=size) for size in sizes))
    for size, answer in zip(sizes, answers, strict=True):
        assert [node["objectId"] for node in answer["objects"]["nodes"]] == [f"o{19 - n}" for n in range(size)]
        assert answer["objects"]["pageInfo"]["hasNextPage"] is (size < 20)


async def test_nobody_gets_what_another_may_see(admin: Caller, new_caller: NewCaller) -> None:
    ids = await filled(admin)
    member, stranger = await new_caller(admin.tenant, Role.MEMBER), await new_caller()
    answers = await asyncio.gather(*(ask(one, *ids) for one in (admin, member, stranger)))
    assert answers == [[[f"v{n}"] for n in range(20)], ["NOT_FOUND"] * 20, ["NOT_FOUND"] * 20]
    callers = [admin, member, stranger] * 10
    pages = await asyncio.gather(*(one.execute(PAGE, n=20) for one in callers))
    assert [len(page["objects"]["nodes"]) for page in pages] == [20, 0, 0] * 10


async def test_who_asks_after_a_change_sees_it_whatever_is_under_way(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(admin, 1)
    read, under_way, go_on = reads.object_with_id, asyncio.Event(), asyncio.Event()

    async def held(*arguments: Any) -> Row | None:
        row = await read(*arguments)
        under_way.set()
        await go_on.wait()
        return row

    with monkeypatch.context() as patch:
        patch.setattr(reads, "object_with_id", held)
        before = asyncio.create_task(ask(admin, "o0"))
        await under_way.wait()
    await database.execute("UPDATE objects SET data = '[]' WHERE object_id = 'o0' AND tenant_id = $1", admin.tenant.id)
    assert await ask(admin, "o0") == [[]]
    go_on.set()
    assert await before == [["v0"]]


async def test_each_is_read_alone_where_the_common_statement_fails(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = 0

    async def fail(*_: Any) -> dict[str, Row]:
        nonlocal failed
        failed += 1
        raise OSError

    ids = await filled(admin)
    monkeypatch.setattr(reads, "objects_with_ids", fail)
    scope = Scope(admin.tenant.id)
    rows = await asyncio.gather(*(together.object_with_id(scope, one, Parts()) for one in ids))
    assert [row and row["object_id"] for row in rows] == ids
    assert failed == 1


async def test_who_goes_away_leaves_the_others_their_answers(admin: Caller) -> None:
    ids = await filled(admin)
    scope = Scope(admin.tenant.id)
    tasks = [asyncio.create_task(together.object_with_id(scope, one, Parts())) for one in ids]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in results] == [True, False] * 10
    assert [one["object_id"] for one in results[1::2]] == ids[1::2]
    assert not together._kinds


async def urls(callers: list[Caller]) -> list[list[str]]:
    """That each finds who asks for a page at the same time as the others."""
    pages = await asyncio.gather(*(one.execute(URLS) for one in callers))
    return [[node["file"]["access"]["url"] for node in page["objects"]["nodes"]] for page in pages]


async def test_pages_with_urls_are_read_together_and_each_person_is_written_down(
    admin: Caller, new_caller: NewCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_complete_files(admin, 3)
    other, member = await new_caller(admin.tenant), await new_caller(admin.tenant, Role.MEMBER)
    await admin.execute(GRANT, user=id_of(member), level=AccessLevel.VIEW, object="f1")
    count = 0
    fetch = reads.objects

    async def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return await fetch(*arguments)

    monkeypatch.setattr(reads, "objects", counted)
    shown = await urls([admin, other, member] * 8)
    assert [len(set(one)) for one in shown] == [3, 3, 1] * 8
    assert count < 20
    written = await database.fetch(
        "SELECT DISTINCT user_id, upload_pk FROM audit_log WHERE tenant_id = $1 AND action = 'READ_URL'",
        admin.tenant.id,
    )
    of = [row["user_id"] for row in written]
    assert [of.count(one.user.id) for one in (admin, other, member)] == [3, 3, 1]


async def test_nobody_sees_urls_that_could_not_be_written_down_for_all(
    admin: Caller, new_caller: NewCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_complete_files(admin, 2)
    callers = [admin, await new_caller(admin.tenant)] * 8

    async def fail(*_: Any) -> None:
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr(audit, "record_readings", fail)
        answers = await asyncio.gather(*(one.post(URLS) for one in callers))
        assert not any("X-Amz-Signature" in answer.text for answer in answers)
    assert "READ_URL" not in await actions(admin)
    assert len(await urls(callers)) == 16


async def test_each_is_told_which_file_is_not_complete(admin: Caller) -> None:
    await with_complete_files(admin, 3)
    await database.execute(
        "UPDATE uploads SET state = 'PENDING', completed_at = NULL WHERE tenant_id = $1 AND object_pk ="
        " (SELECT id FROM objects WHERE tenant_id = $1 AND object_id = 'f1')",
        admin.tenant.id,
    )
    for answer in await asyncio.gather(*(admin.post(URLS) for _ in range(8))):
        content = answer.json()
        assert [error["path"] for error in content["errors"]] == [["objects", "nodes", 1, "file", "access"]]
        access = [node["file"]["access"] for node in content["data"]["objects"]["nodes"]]
        assert [one is None for one in access] == [False, True, False]


async def test_who_asks_while_two_are_under_way_is_answered_by_the_next(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(admin, 4)
    read, go_on = reads.object_with_id, asyncio.Event()

    async def held(*arguments: Any) -> Row | None:
        await go_on.wait()
        return await read(*arguments)

    async def asked(one: str) -> asyncio.Task[Row | None]:
        task = asyncio.create_task(together.object_with_id(Scope(admin.tenant.id), one, Parts()))
        await asyncio.sleep(0)
        return task

    monkeypatch.setattr(reads, "object_with_id", held)
    tasks = [await asked("o0"), await asked("o1"), await asked("o2")]
    await database.execute("UPDATE objects SET data = '[]' WHERE object_id = 'o2' AND tenant_id = $1", admin.tenant.id)
    tasks.append(await asked("o3"))
    [line] = [kind.line for kind in together._kinds.values()]
    assert line is not None
    assert [question for question, _ in line.waiting] == ["o2", "o3"]
    go_on.set()
    rows = await asyncio.gather(*tasks)
    assert [row and row["object_id"] for row in rows] == ["o0", "o1", "o2", "o3"]
    assert rows[2] is not None
    assert rows[2]["data"] == "[]"
    assert not together._kinds


async def test_statement_that_nobody_waits_for_before_it_begins_is_not_sent() -> None:
    async def read(_: set[Any]) -> dict[Any, Any]:
        raise AssertionError

    kind = together._Kind("of")
    line, future = together._Line(kind, 1, read), asyncio.get_running_loop().create_future()
    line.waiting.append(("one", future))
    line.start()
    assert kind.under_way == 1
    future.cancel()
    line.left()
    await asyncio.sleep(0.01)
    assert kind.under_way == 0
    assert not together._tasks
