"""Notices that come at once: one statement for many, and none suffers for another."""

import asyncio
import random
from collections import Counter

import pytest

from models import Tenant, database, jobs, notices
from models.errors import QuotaExceeded
from models.notices import Answer, Notice, Outcome
from sync import queue as queues
from sync.queue import Crowded, DeletedMeanwhile, Queue
from tests.sync.conftest import NewSender, Sender, notice


async def send(queue: Queue, sender: Sender, *ref_ids: str) -> list[Outcome | BaseException]:
    """All at once."""
    asked = [queue.request(sender.tenant.id, sender.row["id"], Notice("batch", one, "a", "a/b")) for one in ref_ids]
    return await asyncio.gather(*asked, return_exceptions=True)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many went together, statement by statement."""
    sizes: list[int] = []
    original = notices.request

    async def counted(tenant_id: int, source_id: int, given: list[Notice]) -> list[Answer]:
        sizes.append(len(given))
        return await original(tenant_id, source_id, given)

    monkeypatch.setattr(notices, "request", counted)
    return sizes


async def test_notices_that_come_at_once_go_together(sender: Sender, groups: list[int]) -> None:
    queue = Queue()
    assert await send(queue, sender, *numbers(250)) == [Outcome.QUEUED] * 250
    await queue.close()
    assert sum(groups) == 250
    assert len(groups) <= 4
    assert max(groups) <= queues.MOST_AT_ONCE
    assert len(await sender.rows()) == 250


async def test_same_file_at_once_is_queued_once(sender: Sender) -> None:
    body = notice()
    answers = await asyncio.gather(*(sender.send(body) for _ in range(20)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}
    assert len(await sender.rows()) == 1


async def test_processes_that_are_told_the_same_accept_it_once_and_do_not_fail(sender: Sender) -> None:
    """Whatever the order; each has a queue."""
    known = [Notice(f"b{number % 7}", str(number), "a", "a/b") for number in range(150)]
    queues_ = [Queue() for _ in range(3)]
    asked = [
        queue.request(sender.tenant.id, sender.row["id"], one)
        for queue in queues_
        for one in random.sample(known, len(known))
    ]
    outcomes = await asyncio.gather(*asked)
    for queue in queues_:
        await queue.close()
    assert Counter(outcomes) == {Outcome.QUEUED: 150, Outcome.ALREADY: 300}
    assert len(await sender.rows()) == 150


async def test_one_that_the_quota_refuses_takes_no_other_with_it(sender: Sender, groups: list[int]) -> None:
    await Tenant.filter(id=sender.tenant.id).update(quota_objects=3)
    queue = Queue()
    outcomes = await send(queue, sender, *numbers(10))
    await queue.close()
    assert [one if isinstance(one, Outcome) else type(one) for one in outcomes] == [Outcome.QUEUED] * 3 + [
        QuotaExceeded
    ] * 7
    assert groups == [10, *[1] * 10]
    assert len(await sender.rows()) == 3


async def test_sources_do_not_wait_for_one_another(
    sender: Sender, new_sender: NewSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, queue, original, held = await new_sender(), Queue(), notices.request, asyncio.Event()

    async def holding(tenant_id: int, source_id: int, given: list[Notice]) -> list[Answer]:
        if source_id == sender.row["id"]:
            await held.wait()
        return await original(tenant_id, source_id, given)

    monkeypatch.setattr(notices, "request", holding)
    waiting = asyncio.create_task(send(queue, sender, "a"))
    assert await send(queue, other, "a") == [Outcome.QUEUED]
    assert not waiting.done()
    held.set()
    assert await waiting == [Outcome.QUEUED]
    await queue.close()


async def test_what_waits_is_bounded(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "MOST_WAITING", 5)
    queue = Queue()
    outcomes = await send(queue, sender, *numbers(8))
    await queue.close()
    assert outcomes[:5] == [Outcome.QUEUED] * 5
    assert [type(one) for one in outcomes[5:]] == [Crowded] * 3
    assert len(await sender.rows()) == 5


async def test_what_goes_meanwhile_is_tried_again_and_not_for_ever(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, gone = notices.request, [True, False]

    async def deleting(tenant_id: int, source_id: int, given: list[Notice]) -> list[Answer]:
        if gone and not gone.pop(0):
            return await original(tenant_id, source_id, given)
        return [Answer(Outcome.GONE, None)] * len(given)

    monkeypatch.setattr(notices, "request", deleting)
    queue = Queue()
    assert await send(queue, sender, "a") == [Outcome.QUEUED]
    [outcome] = await send(queue, sender, "b")
    assert isinstance(outcome, DeletedMeanwhile)
    await queue.close()


async def test_worker_is_woken_after_the_commit_and_seldom(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[int] = []

    async def add(kind: str) -> None:
        assert kind == jobs.SYNC
        woken.append(len(await sender.rows()))

    monkeypatch.setattr(jobs, "add", add)
    monkeypatch.setattr(queues, "WAKE_SECONDS", 60)
    queue = Queue()
    for number in range(20):
        assert await send(queue, sender, str(number)) == [Outcome.QUEUED]
    assert len(woken) == 1
    assert woken[0] >= 1
    for task in queue._tasks:
        task.cancel()
    await queue.close()


async def test_nobody_is_woken_where_nothing_is_new(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []

    async def add(kind: str) -> None:
        woken.append(kind)

    queue = Queue()
    await send(queue, sender, "a")
    await queue.close()
    monkeypatch.setattr(jobs, "add", add)
    assert await send(queue, sender, "a") == [Outcome.ALREADY]
    await queue.close()
    assert woken == []


async def test_whoever_does_not_wait_any_longer_hinders_nobody(sender: Sender) -> None:
    queue = Queue()
    tasks = [asyncio.create_task(send(queue, sender, one)) for one in numbers(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    await queue.close()
    assert [one for one in done if isinstance(one, list)] == [[Outcome.QUEUED]] * 4
    [row] = await database.fetch("SELECT count(*) FROM syncs WHERE tenant_id = $1", sender.tenant.id)
    assert row["count"] >= 4
