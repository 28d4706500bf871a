"""Single objects that many ask for at once are read together, and each gets his own."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import pytest

from models import Role, database, reads, together
from models.pages import Row, Scope
from models.reads import Parts
from tests.conftest import Caller, NewCaller

OBJECT = "query ($id: String!) { object(objectId: $id) { objectId data { key value } } }"


class Lists:
    """How many objects each statement for several was about, the first one of each scope being held up.

    It waits until so many others do.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lengths: list[int] = []
        self.waiting = 0
        self._held: set[Scope] = set()
        self._one, self._several = reads.object_with_id, reads.objects_with_ids
        monkeypatch.setattr(reads, "object_with_id", self.one)
        monkeypatch.setattr(reads, "objects_with_ids", self.several)

    async def one(self, scope: Scope, object_id: str, *parts: Parts) -> Row | None:
        row = await self._one(scope, object_id, *parts)
        if scope not in self._held:
            self._held.add(scope)
            await until(
                lambda: sum(len(line) for key, line in together._lines.items() if key[1] == scope), self.waiting
            )
        return row

    async def several(self, scope: Scope, object_ids: Collection[str], parts: Parts) -> dict[str, Row]:
        self.lengths.append(len(object_ids))
        return await self._several(scope, object_ids, parts)


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Lists:
    return Lists(monkeypatch)


async def until(count: Callable[[], int], least: int) -> None:
    async with asyncio.timeout(20):
        while count() < least:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)


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


def waiting() -> int:
    return sum(map(len, together._lines.values()))


async def filled(admin: Caller, count: int = 20) -> list[str]:
    await admin.create_batch("b", {f"o{number}": [("k", f"v{number}")] for number in range(count)})
    return [f"o{number}" for number in range(count)]


async def test_objects_asked_for_at_once_take_two_statements(admin: Caller, lists: Lists) -> None:
    ids = await filled(admin)
    lists.waiting = 20
    assert await ask(admin, *ids, "absent") == [*([f"v{n}"] for n in range(20)), "NOT_FOUND"]
    assert lists.lengths == [20]
    assert not together._lines


async def test_one_that_is_asked_for_alone_is_read_alone(admin: Caller, lists: Lists) -> None:
    ids = await filled(admin, 2)
    assert [await ask(admin, one) for one in ids] == [[["v0"]], [["v1"]]]
    assert lists.lengths == []


async def test_nobody_gets_what_another_may_see(admin: Caller, new_caller: NewCaller, lists: Lists) -> None:
    ids = await filled(admin)
    lists.waiting = 19
    member, stranger = await new_caller(admin.tenant, Role.MEMBER), await new_caller()
    answers = await asyncio.gather(*(ask(one, *ids) for one in (admin, member, stranger)))
    assert answers == [[[f"v{n}"] for n in range(20)], ["NOT_FOUND"] * 20, ["NOT_FOUND"] * 20]
    assert lists.lengths == [19, 19, 19]


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

    monkeypatch.setattr(reads, "object_with_id", held)
    before = asyncio.create_task(ask(admin, "o0"))
    await under_way.wait()
    await database.execute("UPDATE objects SET data = '[]' WHERE object_id = 'o0' AND tenant_id = $1", admin.tenant.id)
    after = asyncio.create_task(ask(admin, "o0"))
    await until(waiting, 1)
    go_on.set()
    assert [await before, await after] == [[["v0"]], [[]]]


async def test_each_is_read_alone_where_the_common_statement_fails(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> dict[str, Row]:
        raise OSError

    ids = await filled(admin)
    monkeypatch.setattr(reads, "objects_with_ids", fail)
    assert await ask(admin, *ids) == [[f"v{n}"] for n in range(20)]
    assert not together._lines


async def test_who_goes_away_leaves_the_others_their_answers(admin: Caller) -> None:
    ids = await filled(admin)
    tasks = [asyncio.create_task(ask(admin, one)) for one in ids]
    await until(waiting, 1)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1::2] == [[[f"v{n}"]] for n in range(1, 20, 2)]
    assert not together._lines
