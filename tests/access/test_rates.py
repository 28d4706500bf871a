import asyncio
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.buckets import Memory
from access.policy import Caller, Operator
from access.rates import RateLimits, Rates
from models.errors import RateLimited
from tests.graph.tiny import VIEWER


async def refused(rates: Rates, address: str) -> bool:
    try:
        await rates.count_failed_login(address)
    except RateLimited:
        return True
    return False


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "", True),
        ("testclient", "192.0.2.1", False),
    ],
)
async def test_failed_logins_are_counted_by_address(one: str, other: str, together: bool) -> None:
    """And where addresses are plenty, by the smallest network that anybody has."""
    rates = Rates(Memory(), RateLimits(failed_logins=3))
    assert [await refused(rates, one) for _ in range(5)] == [False, False, False, True, True]
    assert await refused(rates, other) is together


async def test_refusal_says_when_to_come_back() -> None:
    rates = Rates(Memory(), RateLimits(failed_logins=1))
    await rates.count_failed_login("192.0.2.1")
    with pytest.raises(RateLimited, match=r"in \d+ seconds") as caught:
        await rates.count_failed_login("192.0.2.1")
    assert 60 <= int(str(caught.value.extensions["retryAfter"])) <= 120


async def test_an_operator_has_one_bucket_whomever_he_acts_as() -> None:
    rates = Rates(Memory(), RateLimits(key_points=10))
    stand_ins = [
        dataclasses.replace(VIEWER, key_id="a", user_id=tenant, tenant_id=tenant, operator_id=1) for tenant in (10, 11)
    ]
    callers: list[Caller] = [Operator("a", 1, "one"), *stand_ins, Operator("c", 2, "two"), VIEWER]
    assert [(await rates.reserve(caller, 3)).remaining for caller in callers] == [7, 4, 1, 7, 7]


def test_a_tenant_has_more_than_any_of_its_keys() -> None:
    assert RateLimits().tenant_points == 10 * RateLimits().key_points


asked = st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.integers(0, 3), st.integers(0, 1))


@given(each=st.lists(asked, max_size=20))
async def test_what_is_asked_in_one_turn_of_the_event_loop_is_spent_as_if_one_came_after_the_other(
    each: list[tuple[str, int, int, int]],
) -> None:
    limits = RateLimits(key_points=20, tenant_points=30)
    one, other = Rates(Memory(), limits), Rates(Memory(), limits)
    callers = {key: dataclasses.replace(VIEWER, key_id=key) for key in "ab"}
    each = [(key, max(points, spent), spent, least) for key, points, spent, least in each]
    together = await asyncio.gather(*(one.reserve(callers[key], *points) for key, *points in each))
    in_turn = [await other.reserve(callers[key], *points) for key, *points in each]
    for found, expected in zip(together, in_turn, strict=True):
        assert (found.requested, found.remaining) == (expected.requested, expected.remaining)
        assert type(found.refusal) is type(expected.refusal)
