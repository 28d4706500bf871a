"""Rate limits as operators set them, with Redis and with Redis away, and what the commands make of them."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from access import buckets, key_form
from access.credentials import create_key
from tests.conftest import Caller, served, wait_for
from tests.redis_server import RedisServer, redis_running, redis_server
from tests.waybill.commands import Cli, batch, object_

__all__ = ["redis_server"]

QUERY = {"query": "{ objects(first: 50) { nodes { id } } }"}  # 5 points
BAD = [None, "", f"Bearer {key_form.new()}", "Bearer wb_0_0", f"Bearer wb_{'0' * 16}_{'0' * 64}", "Basic Zm9vOmJhcg=="]


async def ask(url: str, key: str | None, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=20) as client:
        given = headers if key is None else {**headers, "Authorization": key}
        return await client.post(f"{url}/graphql", json=QUERY, headers=given)


def requested(answer: httpx.Response) -> int:
    return int(answer.json()["extensions"]["cost"]["requested"])


def remaining(answer: httpx.Response) -> int:
    return int(answer.json()["extensions"]["cost"]["remaining"])


@pytest.fixture(scope="module")
def limited(database_url: str) -> Iterator[str]:
    with served(
        database_url,
        WAYBILL_RATE_LIMIT_KEY_POINTS="100",
        WAYBILL_RATE_LIMIT_TENANT_POINTS="150",
        WAYBILL_RATE_LIMIT_FAILED_LOGINS="12",
        WAYBILL_TRUSTED_PROXIES="127.0.0.0/8",
    ) as url:
        yield url


async def test_points_of_key_and_tenant_are_the_settings(limited: str, admin: Caller) -> None:
    other = replace(admin, key=await create_key(admin.user, "other"))
    answers = [await ask(limited, f"Bearer {caller.key}") for caller in [admin] * 21 + [other] * 11]
    assert [remaining(answer) for answer in answers] == [*range(95, -1, -5), 0, *range(45, -1, -5), 0]
    assert Counter(answer.status_code for answer in answers) == {200: 30, 429: 2}
    for refused in (answers[20], answers[31]):
        assert refused.json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert int(refused.headers["retry-after"]) > 0


async def test_what_costs_more_than_a_minute_has_is_too_complex(limited: str, admin: Caller) -> None:
    query = {"query": "{ batches(first: 100) { nodes { objects(first: 100) { nodes { id } } } } }"}
    async with httpx.AsyncClient() as client:
        answer = (await client.post(f"{limited}/graphql", json=query, headers=admin.headers)).json()
    assert answer["errors"][0]["extensions"] == {
        "code": "TOO_COMPLEX", "limit": "points", "maximum": 100, "amount": 1_010,
    }  # fmt: skip


async def test_failed_logins_are_limited_by_address_and_good_keys_are_not(limited: str, admin: Caller) -> None:
    address = {"X-Forwarded-For": "192.0.2.1"}
    answers = [await ask(limited, credential, **address) for credential in BAD * 3]
    assert [answer.status_code for answer in answers] == [401] * 12 + [429] * 6
    assert len({answer.content for answer in answers[:12]}) == 1
    assert len({tuple(answer.headers) for answer in answers[12:]}) == 1
    [error] = answers[-1].json()["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert answers[-1].headers["retry-after"] == str(error["extensions"]["retryAfter"])
    assert (await ask(limited, f"Bearer {admin.key}", **address)).status_code == 200
    assert (await ask(limited, None, **{"X-Forwarded-For": "192.0.2.2"})).status_code == 401


async def test_keys_for_tenants_that_they_do_not_open_are_failed_logins(limited: str, admin: Caller) -> None:
    headers = {"X-Forwarded-For": "192.0.2.3", "Waybill-Tenant": "another"}
    answers = [await ask(limited, f"Bearer {admin.key}", **headers) for _ in range(13)]
    codes = [answer.json()["errors"][0]["extensions"]["code"] for answer in answers]
    assert codes == ["FORBIDDEN"] * 12 + ["RATE_LIMITED"]
    assert answers[-1].status_code == 429
    assert (await ask(limited, f"Bearer {admin.key}", **{"X-Forwarded-For": "192.0.2.3"})).status_code == 200


@pytest.fixture(scope="module")
def without_redis(database_url: str) -> Iterator[str]:
    with served(database_url, WAYBILL_REDIS_URL="unix:///absent/redis.sock") as url:
        yield url


async def test_a_service_starts_without_its_redis(without_redis: str, admin: Caller) -> None:
    assert (await ask(without_redis, f"Bearer {admin.key}")).status_code == 200


async def test_nobody_is_believed_about_his_address_who_is_no_proxy(without_redis: str) -> None:
    answers = [await ask(without_redis, None, **{"X-Forwarded-For": f"192.0.2.{number}"}) for number in range(21)]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429]


async def test_processes_with_one_redis_count_together(
    database_url: str, admin: Caller, redis_server: RedisServer
) -> None:
    environment = {"WAYBILL_REDIS_URL": redis_server.url, "WAYBILL_RATE_LIMIT_KEY_POINTS": "100"}
    with served(database_url, **environment) as one, served(database_url, **environment) as other:
        answers = await asyncio.gather(*(ask(url, f"Bearer {admin.key}") for url in [one, other] * 15))
        assert {answer.status_code for answer in answers} == {200, 429}
        # Who was refused has spent a point, unless it was that one that he was refused.
        assert sum(5 if answer.status_code == 200 else requested(answer) == 5 for answer in answers) <= 100
        for url in [one, other] * 10:
            await ask(url, "Bearer wrong")
        assert [(await ask(url, "Bearer wrong")).status_code for url in (one, other)] == [429, 429]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_without_redis_each_process_counts_by_itself_and_nobody_waits(
    database_url: str, admin: Caller, tmp_path: Path, how: signal.Signals
) -> None:
    log = tmp_path / "log"

    def said(what: str) -> int:
        return log.read_text().count(what)

    with (
        redis_running() as redis,
        served(database_url, log=str(log), WAYBILL_REDIS_URL=redis.url, WAYBILL_RATE_LIMIT_KEY_POINTS="1000") as url,
    ):
        assert remaining(await ask(url, f"Bearer {admin.key}")) == 995
        redis.send(how)
        answers = await asyncio.gather(*(ask(url, f"Bearer {admin.key}") for _ in range(20)))
        answers += [await ask(url, f"Bearer {admin.key}") for _ in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        assert min(map(remaining, answers)) == 800
        assert said("Redis does not answer") == 1
        if how is signal.SIGSTOP:
            redis.send(signal.SIGCONT)
        else:
            redis.kill()
            redis.start()
        wait_for(lambda: said("Redis answers again") == 1, 40)
        left = remaining(await ask(url, f"Bearer {admin.key}"))
        # A new one knows nothing, but one that was frozen does, what nobody waited for included.
        assert left == 995 if how is signal.SIGKILL else 800 < left < 995


def minutes_of_two_seconds() -> None:
    buckets.MINUTE = 2


@pytest.fixture(scope="module")
def quick(database_url: str, with_files: dict[str, str]) -> Iterator[str]:
    few = {"WAYBILL_RATE_LIMIT_KEY_POINTS": "700"}
    with served(database_url, prepare=f"{__name__}:minutes_of_two_seconds", **with_files, **few) as url:
        yield url


def test_import_and_export_outlast_the_limit(quick: str, admin: Caller) -> None:
    cli = Cli(quick, admin.key)
    given = [batch(f"b{n}", *(object_(f"{n}-{i}", ("k", "v")) for i in range(1_000))) for n in range(8)]
    began = time.monotonic()
    made = cli.json("import", "-", given=given)
    assert (made["batches_made"], made["objects_made"], made["objects_failed"]) == (8, 8_000, 0)
    assert time.monotonic() - began > 2  # 1,600 points at 700 a minute
    assert orjson.loads(cli.output("export")) == given


def test_upload_outlasts_the_limit(quick: str, admin: Caller, tmp_path: Path) -> None:
    for number in range(700):
        (tmp_path / f"{number}.txt").write_text(str(number))
    made: Any = Cli(quick, admin.key).json("upload", str(tmp_path), "--batch", "files")
    assert (made["files_sent"], made["files_failed"]) == (700, 0)
