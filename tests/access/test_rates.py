import dataclasses

import pytest

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
