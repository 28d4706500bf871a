"""Requests with one key that come at once, or whose clients or connections go away: what they ask for is done once."""

import asyncio
import random
from collections import defaultdict
from contextlib import suppress
from typing import Any

import pytest

from models import answers, database
from models.asyncpg_client import Transaction
from tests.conftest import Caller
from tests.graph.test_idempotency import CREATE, CREATE_KEY, OBJECTS, batch_ids, code, rows, said, send
from tests.models.conftest import until


@pytest.mark.parametrize("query", [CREATE_KEY, CREATE % (), OBJECTS])
async def test_many_at_once_with_one_key_do_it_once_and_all_get_the_same_answer(admin: Caller, query: str) -> None:
    variables = {"id": "b"} if "$id" in query else {}
    found = await asyncio.gather(*(send(admin, "key", query, **variables) for _ in range(12)))
    assert {code(one) for one in found} == {None}
    assert len({said(one) for one in found}) == 1
    assert len(await rows(admin)) == 1
    keys = await admin.execute("{ viewer { keys { totalCount } } }")
    assert (keys["viewer"]["keys"]["totalCount"] - 1) + len(await batch_ids(admin)) == 1


async def test_each_of_several_mutations_keeps_its_own_answer_however_many_ask_at_once(admin: Caller) -> None:
    """Whichever requests do which of them, and with payloads of several fields."""
    fields = "secret key { name scope user { name } } again: key { name }"
    several = " ".join(f'm{n}: createKey(input: {{name: "key {n}", scope: READ}}) {{ {fields} }}' for n in range(5))
    query = f"mutation {{ before: __typename {several} after: __typename }}"
    found = await asyncio.gather(*(send(admin, "key", query) for _ in range(8)))
    assert len({said(one) for one in found}) == 1
    data = found[0].json()["data"]
    assert (data.pop("before"), data.pop("after")) == ("Mutation", "Mutation")
    assert [(one["key"]["name"], one["again"]["name"]) for one in data.values()] == [
        (f"key {n}",) * 2 for n in range(5)
    ]
    assert {(one["key"]["scope"], one["key"]["user"]["name"]) for one in data.values()} == {("READ", admin.user.name)}
    assert len({one["secret"] for one in data.values()}) == len(await rows(admin)) == 5


@pytest.mark.parametrize("seed", range(3))
async def test_each_key_does_one_thing_however_often_it_is_sent_and_given_up(admin: Caller, seed: int) -> None:
    chance = random.Random(seed)
    answers_of: dict[str, set[bytes]] = defaultdict(set)

    async def once(key: str, turns: int | None) -> None:
        """Its client goes away after so many turns of the event loop."""
        sent = asyncio.create_task(send(admin, key, CREATE_KEY))
        if turns is not None:
            for _ in range(turns):
                await asyncio.sleep(0)
            sent.cancel()
        with suppress(asyncio.CancelledError):
            answer = await sent
            assert code(answer) is None
            answers_of[key].add(said(answer))

    keys = [f"key {number}" for number in range(5)]
    await asyncio.gather(
        *(once(key, chance.choice([None, chance.randrange(200)])) for key in chance.choices(keys, k=30))
    )
    for key in keys:
        await once(key, None)
    assert [len(answers_of[key]) for key in keys] == [1] * 5
    made = await admin.execute("{ viewer { keys { totalCount } } }")
    assert made["viewer"]["keys"]["totalCount"] == 1 + 5


class Held:
    """Mutations with a key, held when all is done but to keep the answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrived = asyncio.Event()
        self.go_on = asyncio.Event()
        original = answers.keep

        async def keep(*arguments: Any) -> None:
            self.arrived.set()
            await self.go_on.wait()
            await original(*arguments)

        monkeypatch.setattr(answers, "keep", keep)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


async def test_request_that_comes_while_the_first_is_under_way_waits_for_its_answer(admin: Caller, held: Held) -> None:
    first = asyncio.create_task(send(admin, "key", CREATE_KEY))
    await held.arrived.wait()
    second = asyncio.create_task(send(admin, "key", CREATE_KEY))
    another = asyncio.create_task(send(admin, "key", CREATE_KEY.replace("READ", "WRITE")))
    await until(waits_for_a_lock)
    held.go_on.set()
    assert said(await second) == said(await first)
    assert code(await another) == "IDEMPOTENCY_CONFLICT"


async def waits_for_a_lock() -> bool:
    return bool(
        await database.fetch(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE 'INSERT INTO idempotent_answers%'"
        )
    )


async def test_request_that_would_wait_for_long_is_told_so(
    admin: Caller, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asyncio.create_task(send(admin, "key", CREATE_KEY))
    await held.arrived.wait()
    monkeypatch.setattr(answers, "_WAIT_SECONDS", 0.05)
    second = await send(admin, "key", CREATE_KEY)
    assert second.json()["errors"][0]["extensions"] == {"code": "IN_PROGRESS", "retryAfter": 1}
    held.go_on.set()
    assert code(await first) is None
    assert said(await send(admin, "key", CREATE_KEY)) == said(await first)


async def test_when_the_first_is_undone_the_one_that_waits_does_it(admin: Caller, held: Held) -> None:
    first = asyncio.create_task(send(admin, "key", CREATE_KEY))
    await held.arrived.wait()
    second = asyncio.create_task(send(admin, "key", CREATE_KEY))
    await until(waits_for_a_lock)
    first.cancel()  # as when its process dies
    held.go_on.set()
    assert code(await second) is None
    keys = await admin.execute("{ viewer { keys { totalCount } } }")
    assert keys["viewer"]["keys"]["totalCount"] == 2


async def test_commit_whose_confirmation_is_lost_is_found_to_be_done(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Transaction.__aexit__

    async def lost(self: Transaction, kind: Any, error: Any, trace: Any) -> None:
        await original(self, kind, error, trace)
        if error is None:
            raise ConnectionResetError

    monkeypatch.setattr(Transaction, "__aexit__", lost)
    first = await send(admin, "key", CREATE_KEY)
    assert code(first) is None
    assert said(await send(admin, "key", CREATE_KEY)) == said(first)
