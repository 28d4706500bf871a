"""What is answered when points run out; each operation of the small schema costs one."""

import asyncio
import dataclasses
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from access.credentials import Attempt
from access.policy import Viewer
from access.rates import RateLimits
from tests.graph.tiny import VIEWER, Tiny, code, message

JSON = "application/json"


def cost(answer: httpx.Response) -> Any:
    """Points; the moment is looked at apart."""
    shown = answer.json()["extensions"]["cost"]
    assert list(shown) == ["requested", "remaining", "resetAt"]
    until_full = datetime.fromisoformat(shown["resetAt"]) - datetime.now(UTC)
    assert timedelta(0) < until_full <= timedelta(minutes=2)
    return shown["requested"], shown["remaining"]


async def test_every_answer_says_what_it_cost_and_the_numbers_add_up() -> None:
    tiny = Tiny(rates=RateLimits(key_points=10, tenant_points=100))
    answers = [
        await tiny.query("{ hello }"),
        await tiny.query("mutation { change }"),
        await tiny.query('{ raises(error: "known") }'),
        await tiny.query('{ raises(error: "unavailable") }'),
        await tiny.query("{ absent }"),
        await tiny.query("{"),
        await tiny.query("query($n: Int!) { nodes(count: $n) { name } }", n="not a number"),
        await tiny.post({"query": "query A { hello } query B { hello }"}),
        await tiny.get(query="{ hello }"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503, 400, 400, 400, 200, 200]
    assert [cost(answer) for answer in answers] == [(1, 9 - spent) for spent in range(9)]


@pytest.mark.parametrize("accept", [JSON, "application/graphql-response+json"])
async def test_without_points_the_whole_request_is_refused_and_costs_nothing(accept: str) -> None:
    tiny = Tiny(rates=RateLimits(key_points=2))
    body = {"query": "mutation { change }"}
    assert [(await tiny.post(body, accept=accept)).status_code for _ in range(2)] == [200, 200]
    for _ in range(3):
        answer = await tiny.post(body, accept=accept)
        assert (answer.status_code, code(answer), cost(answer)) == (429, "RATE_LIMITED", (1, 0))
        assert set(answer.json()) == {"errors", "extensions"}
        seconds = answer.json()["errors"][0]["extensions"]["retryAfter"]
        assert answer.headers["retry-after"] == str(seconds)
        assert 60 <= seconds <= 120
        assert f"in {seconds} seconds" in message(answer)
        assert answer.headers["content-type"].startswith(accept)


async def test_what_could_never_be_paid_is_too_complex_and_costs_one_point() -> None:
    tiny = Tiny(rates=RateLimits(key_points=100, tenant_points=3))
    mutation = "mutation { a: change b: change c: change d: change }"
    answer = await tiny.query(mutation)
    assert (answer.status_code, code(answer)) == (400, "TOO_COMPLEX")
    expected = {"code": "TOO_COMPLEX", "limit": "points", "maximum": 3, "amount": 4}
    assert answer.json()["errors"][0]["extensions"] == expected
    assert answer.json()["extensions"]["cost"].items() >= {"requested": 4, "remaining": 2}.items()
    assert cost(await tiny.query("mutation { a: change b: change }")) == (2, 0)


async def test_what_does_not_fit_costs_one_point_and_says_when_all_of_it_will() -> None:
    tiny = Tiny(rates=RateLimits(key_points=10))
    mutation = "mutation { a: change b: change c: change d: change e: change f: change }"
    answers = [await tiny.query(mutation) for _ in range(3)]
    assert [(answer.status_code, cost(answer)) for answer in answers] == [(200, (6, 4)), (429, (6, 3)), (429, (6, 2))]
    assert answers[-1].json()["errors"][0]["extensions"]["retryAfter"] > 60


async def test_refusals_before_there_is_an_operation_cost_what_was_sent() -> None:
    tiny = Tiny(rates=RateLimits(key_points=20))
    answers = [
        await tiny.post(b"{"),
        await tiny.post(b"{}"),
        await tiny.post(b""),
        await tiny.post(b"{}", content_type="text/plain"),
        await tiny.post(b"x" * 2_000_000),
        await tiny.post(b"x" * 250_000),
        await tiny.get(query="{ hello }", variables="["),
        await tiny.post({"query": "mutation { a: change b: change }", "extensions": {"x": "x" * 300_000}}),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 415, 413, 400, 400, 200]
    assert [cost(answer) for answer in answers] == [
        (1, 19), (1, 18), (1, 17), (1, 16), (1, 15), (3, 12), (1, 11), (5, 6),
    ]  # fmt: skip
    for _ in range(6):
        await tiny.post(b"{")
    assert (await tiny.post(b"{")).status_code == 429


async def test_many_at_once_never_get_more_than_there_is() -> None:
    tiny = Tiny(rates=RateLimits(key_points=20))
    answers = await asyncio.gather(*(tiny.query("mutation { company }") for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {200: 20, 429: 30}
    assert sorted(cost(answer)[1] for answer in answers if answer.status_code == 200) == list(range(20))


async def test_keys_have_points_of_their_own_and_their_tenant_has_them_together() -> None:
    async def by_name(attempt: Attempt) -> Viewer:
        key, user, tenant = str(attempt.authorization).split("/")
        return dataclasses.replace(VIEWER, key_id=key, user_id=int(user), tenant_id=int(tenant))

    tiny = Tiny(authenticate=by_name, rates=RateLimits(key_points=3, tenant_points=5))

    async def ask(who: str) -> tuple[int, int]:
        answer = await tiny.post({"query": "{ hello }"}, authorization=who)
        return answer.status_code, cost(answer)[1]

    assert [await ask("a/1/1") for _ in range(4)] == [(200, 2), (200, 1), (200, 0), (429, 0)]
    assert await ask("b/1/1") == (200, 1)  # another key of the same user
    assert [await ask("c/2/1") for _ in range(2)] == [(200, 0), (429, 0)]
    assert await ask("d/3/2") == (200, 2)


async def test_who_is_not_let_in_is_told_no_cost() -> None:
    async def nobody(_: Attempt) -> Viewer:
        raise RuntimeError

    assert "extensions" not in (await Tiny(authenticate=nobody).query("{ hello }")).json()
