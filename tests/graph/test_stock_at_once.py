"""What many ask at once is answered to each as graphql-core's own executor answers it to him alone, and again and again
the same: no answer is another's, nor another field's, nor one of before.
"""

import asyncio
import gc
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any, TypeAlias

import httpx
import pytest

from graph.types import files
from graph.types.node import global_id
from models import Role
from tests.conftest import Caller, NewCaller
from tests.graph.asked import Asked
from tests.graph.test_stock import Known, filled
from tests.stock import same, stock

DOCUMENTS = range(45, 63)
SPREADS = ("...F0", "...F1")
KINDS = ("plain", "placed", "many", "several", "shared", "variables")
Question: TypeAlias = tuple[Caller, str | None, dict[str, Any]]


async def callers_of(admin: Caller, new_caller: NewCaller) -> tuple[list[Caller], Known]:
    """Who sees different things under the same names: two admins, a member who is given some, and another tenant."""
    known = await filled(admin)
    member = await new_caller(admin.tenant, Role.MEMBER)
    for thing in ('batchId: "b"', 'objectId: "with file"'):
        user = f'userId: "{global_id("User", member.user.id)}"'
        await admin.execute(f"mutation {{ grantAccess(input: {{{user}, {thing}, level: VIEW}}) {{ grant {{ id }} }} }}")
    other = await new_caller()
    await other.create_batch("b", {"o1": [("k", "w")], "o3": [("l", "v")]})
    return [admin, await new_caller(admin.tenant), member, other], known


async def together(text: str, questions: list[Question]) -> list[httpx.Response]:
    return await asyncio.gather(*(ask(text, *one) for one in questions))


async def ask(text: str, caller: Caller, name: str | None, variables: dict[str, Any]) -> httpx.Response:
    body = {"query": text, "variables": variables} | ({"operationName": name} if name else {})
    return await caller.http.post("/graphql", json=body, headers=caller.headers)


async def check(
    chance: random.Random, callers: list[Caller], known: Known, monkeypatch: pytest.MonkeyPatch, kinds: Counter[str]
) -> None:
    document = Asked(chance, known)
    questions = [
        (caller, operation.name, operation.some(chance))
        for operation in document.operations
        for caller in chance.sample(callers, 2)
        for _ in range(1 + bool(operation.variables))
    ]
    rounds = [await together(document.text, questions) for _ in range(2)]
    with stock(monkeypatch):
        expected = [await ask(f"{document.text} # stock", *one) for one in questions]
    rounds.append([await ask(document.text, *questions[0])])
    for answers in rounds:
        for question, answer, other in zip(questions, answers, expected, strict=False):
            try:
                same(answer, other)
            except AssertionError as error:
                raise AssertionError(document.text, question) from error
    for answer in expected:
        content = answer.json()
        kinds["plain"] += "errors" not in content
        kinds["placed"] += any("path" in error for error in content.get("errors", []))
        kinds["refused"] += "data" not in content
        kinds["many"] += len(content.get("data") or {}) > 10
    kinds["several"] += len(document.operations) > 1
    kinds["shared"] += max(map(document.text.count, SPREADS)) > 1
    kinds["variables"] += len(questions) > 2


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")  # of graphql-core, beside an error
async def test_what_many_ask_at_once_is_answered_to_each_as_if_he_were_alone(
    admin: Caller, new_caller: NewCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr(files, "_now", lambda: now)
    callers, known = await callers_of(admin, new_caller)
    kinds: Counter[str] = Counter()
    for number in DOCUMENTS:
        await check(random.Random(number), callers, known, monkeypatch, kinds)
    gc.collect()  # what is not awaited, as long as it is ignored
    # Lest one of these be tried no more, or hardly anything be executed.
    assert min(kinds[kind] for kind in KINDS) > 0, kinds
    assert kinds["refused"] < kinds["plain"], kinds
