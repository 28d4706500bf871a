"""Canary keys open nothing, look like wrong keys from outside, and tell of whoever uses them."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

import pytest
from starlette.datastructures import Secret

from access import canaries as watching
from access import webhook
from access.credentials import create_key, new_secret
from access.key_form import with_checksum
from models import ApiKey, CanaryAlert, CanaryKey, canaries, database
from tests.access.conftest import Door
from tests.access.test_credentials import QUERY, post, without_request_id
from tests.conftest import Caller
from tests.models.conftest import until
from tests.statements import AccessLog

SECRET = "between us and the receiver"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LATER_SECONDS", (0, 0.01))


async def new_canary(note: str = "") -> str:
    whole, secret = new_secret()
    await CanaryKey.create(public_id=secret.public_id, note=note)
    return whole


def public(key: str) -> str:
    return key.split("_")[1]


async def alerts_of(key: str, count: int = 1) -> list[CanaryAlert]:
    """As soon as there are so many."""

    async def there() -> bool:
        return await CanaryAlert.filter(canary__public_id=public(key)).count() >= count

    await until(there)
    return await CanaryAlert.filter(canary__public_id=public(key)).order_by("id")


@contextlib.contextmanager
def logged(name: str) -> Iterator[AccessLog]:
    logger, log = logging.getLogger(name), AccessLog()
    level = logger.level
    logger.addHandler(log)
    logger.setLevel(logging.INFO)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.setLevel(level)


async def test_canary_gets_the_401_of_every_refused_key_with_as_many_statements(admin: Caller) -> None:
    wrong, unknown = with_checksum(admin.key[:-64] + "0" * 56), new_secret()[0]
    over, revoked = await create_key(admin.user, "over"), await create_key(admin.user, "revoked")
    await ApiKey.filter(public_id=public(over)).update(expires_at=datetime.now(UTC))
    await ApiKey.filter(public_id=public(revoked)).update(revoked_at=datetime.now(UTC))
    with logged("waybill.access") as log:
        answers = [
            await post(admin.http, f"Bearer {key}") for key in (await new_canary(), wrong, unknown, over, revoked)
        ]
    assert [line.__dict__["statements"] for line in log.lines] == [2] * 5
    assert [line.__dict__["key_id"] for line in log.lines] == [None] * 5
    expected = without_request_id(await post(admin.http, None))
    assert [without_request_id(answer) for answer in answers] == [expected] * 5


async def test_canary_is_compared_like_a_wrong_key(admin: Caller) -> None:
    compared: list[tuple[int, int]] = []

    def compare(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return False

    with patch("access.credentials.hmac.compare_digest", compare):
        for key in (await new_canary(), admin.key):
            assert (await post(admin.http, f"Bearer {key}")).status_code == 401
    assert compared == [(32, 32)] * 2 * 2  # with what a user's key would have, and what an operator's


async def test_who_used_a_canary_is_kept_and_said_loudly(admin: Caller) -> None:
    key = await new_canary("in the wiki")
    before = datetime.now(UTC)
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "curl/8", "X-Request-Id": "the-request"}
    with logged("access.canaries") as log:
        await admin.http.post("/graphql", json=QUERY, headers=headers)
        [alert] = await alerts_of(key)
    assert (alert.address, alert.agent, alert.path) == ("127.0.0.1", "curl/8", "/graphql")
    assert before <= alert.seen_at <= datetime.now(UTC)
    [line] = [line for line in log.lines if line.__dict__["key_id"] == public(key)]
    assert (line.levelname, line.getMessage()) == ("CRITICAL", "a canary key was used")
    said = {name: line.__dict__[name] for name in ("key_id", "address", "agent", "path", "request_id")}
    assert said == {
        "key_id": public(key),
        "address": "127.0.0.1",
        "agent": "curl/8",
        "path": "/graphql",
        "request_id": "the-request",
    }
    assert key.split("_")[2] not in str(line.__dict__)


async def test_canary_with_another_secret_tells_too(admin: Caller) -> None:
    key = await new_canary()
    assert (await post(admin.http, f"Bearer {with_checksum(key[:-64] + '0' * 56)}")).status_code == 401
    assert len(await alerts_of(key)) == 1


async def test_odd_agents_are_kept_as_far_as_they_can_be(admin: Caller) -> None:
    key = await new_canary()
    headers: dict[bytes, bytes] = {b"authorization": f"Bearer {key}".encode(), b"user-agent": b"\0\xff" + b"x" * 9_000}
    await admin.http.post("/graphql", json=QUERY, headers=headers)
    [alert] = await alerts_of(key)
    assert alert.agent == "\N{REPLACEMENT CHARACTER}\xff" + "x" * (canaries.MOST_CHARACTERS - 2)


async def test_revoked_canary_is_silent(admin: Caller) -> None:
    silent, loud = await new_canary(), await new_canary()
    await CanaryKey.filter(public_id=public(silent)).update(revoked_at=datetime.now(UTC))
    for key in (silent, loud):
        assert (await post(admin.http, f"Bearer {key}")).status_code == 401
    await alerts_of(loud)
    assert await CanaryAlert.filter(canary__public_id=public(silent)).count() == 0


async def test_alerts_of_one_key_are_bounded(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries, "MOST_ALERTS", 3)
    key, after = await new_canary(), await new_canary()
    for one in (key, key, key, key, key, after):
        assert (await post(admin.http, f"Bearer {one}")).status_code == 401
    await alerts_of(after)
    assert await CanaryAlert.filter(canary__public_id=public(key)).count() == 3


@pytest.mark.usefixtures("http")
async def test_alerts_of_one_moment_are_bounded_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canaries, "MOST_ALERTS", 3)
    one, other = await new_canary("one"), await new_canary("other")
    seen = [(public(key), datetime.now(UTC), str(nth), "", "") for nth, key in enumerate([one, other, one, one, one])]
    for _ in range(2):
        assert await canaries.add_alerts(seen) == {public(one): "one", public(other): "other"}
    assert [alert.address for alert in await alerts_of(one)] == ["0", "2", "3"]
    assert [alert.address for alert in await alerts_of(other)] == ["1", "1"]


@pytest.mark.usefixtures("http")
async def test_nothing_is_done_about_a_canary_close_to_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what waits is not lost at the end."""
    monkeypatch.setattr(watching, "_LATER_SECONDS", (1_000, 1_000))
    key = await new_canary()
    with logged("access.canaries") as log:
        async with watching.watching(None) as watch:
            for _ in range(3):
                watch.saw(public(key), "", "", "", None)
                await asyncio.sleep(0.05)
            assert log.lines == []
            assert await CanaryAlert.filter(canary__public_id=public(key)).count() == 0
    assert [line.levelname for line in log.lines] == ["CRITICAL"] * 3
    assert await CanaryAlert.filter(canary__public_id=public(key)).count() == 3


@pytest.mark.usefixtures("http")
async def test_what_waits_is_bounded_and_the_number_of_the_rest_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_MOST_WAITING", 2)
    key = await new_canary()
    with logged("access.canaries") as log:
        async with watching.watching(None) as watch:
            for _ in range(5):
                watch.saw(public(key), "", "", "", None)
    assert len(log.lines) == 3
    assert log.lines[-1].__dict__["more"] == 3


async def test_alert_is_kept_when_the_database_is_back(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_PAUSES_SECONDS", (0, 0))
    key, fails = await new_canary(), [ConnectionRefusedError(), TimeoutError()]
    add = canaries.add_alerts

    async def failing(*arguments: Any) -> Any:
        if fails:
            raise fails.pop()
        return await add(*arguments)

    monkeypatch.setattr(canaries, "add_alerts", failing)
    await post(admin.http, f"Bearer {key}")
    assert len(await alerts_of(key)) == 1


# -- the webhook -----------------------------------------------------------------------------------------------------


@dataclass
class Receiver:
    url: str = ""
    refuses: int = 0  # so many times before it accepts
    hold: threading.Event = field(default_factory=threading.Event)  # it answers once this is set
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            receiver.hold.wait(20)
            receiver.refuses -= 1
            self.send_response(500 if receiver.refuses >= 0 else 204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.hold.set()
            server.shutdown()
            thread.join()


@contextlib.asynccontextmanager
async def telling(door: Door, receiver: Receiver) -> Any:
    async with door(canary_webhook_url=Secret(receiver.url), canary_webhook_secret=Secret(SECRET)) as http:
        yield http


async def heard(receiver: Receiver, count: int) -> None:
    async def enough() -> bool:
        return len(receiver.got) >= count

    await until(enough)


async def test_webhook_is_told_in_signed_words(door: Door, receiver: Receiver) -> None:
    key = await new_canary("in the wiki")
    async with telling(door, receiver) as http:
        headers = {"Authorization": f"Bearer {key}", "User-Agent": "curl/8", "X-Request-Id": "the-request"}
        await http.post("/graphql", json=QUERY, headers=headers)
        await heard(receiver, 1)
    [(headers, body)] = receiver.got
    said = json.loads(body)
    assert datetime.fromisoformat(said.pop("seenAt")).tzinfo is not None
    assert said == {
        "event": "canary",
        "key": public(key),
        "note": "in the wiki",
        "address": "127.0.0.1",
        "agent": "curl/8",
        "path": "/graphql",
        "requestId": "the-request",
    }
    at, digest = (part.split("=")[1] for part in headers["waybill-signature"].split(","))
    assert abs(int(at) - time.time()) < 60
    assert digest == hmac.new(SECRET.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["content-type"] == "application/json"
    assert key.split("_")[2].encode() not in body


async def test_webhook_is_told_again_until_it_accepts(
    door: Door, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_PAUSES_SECONDS", (0, 0, 0))
    receiver.refuses = 2
    async with telling(door, receiver) as http:
        await post(http, f"Bearer {await new_canary()}")
        await heard(receiver, 3)
    assert len(receiver.got) == 3
    assert len({body for _, body in receiver.got}) == 1


async def test_webhook_that_refuses_is_given_up_which_the_log_says(
    door: Door, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_PAUSES_SECONDS", (0,))
    receiver.refuses = 100
    with logged("access.webhook") as log:
        async with telling(door, receiver) as http:
            await post(http, f"Bearer {await new_canary()}")
            await heard(receiver, 2)
    assert [(line.levelname, line.__dict__["cause"]) for line in log.lines] == [("ERROR", "it answers with 500")]
    assert receiver.url not in str([line.__dict__ for line in log.lines])


async def test_webhook_that_is_slow_keeps_no_answer_and_no_alert_waiting(
    door: Door, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "_MOST_WAITING", 2)
    receiver.hold.clear()
    key = await new_canary()
    with logged("access.webhook") as log:
        async with telling(door, receiver) as http:
            for _ in range(6):
                assert (await post(http, f"Bearer {key}")).status_code == 401
            assert len(await alerts_of(key, 6)) == 6
            assert len(receiver.got) <= 1
            receiver.hold.set()
    assert len([line for line in log.lines if line.getMessage() == "the webhook was not told: too much waits"]) >= 3
    assert len(receiver.got) <= 3


async def test_alerts_that_wait_at_the_end_are_kept_and_told(door: Door, receiver: Receiver) -> None:
    key = await new_canary()
    async with telling(door, receiver) as http:
        await asyncio.gather(*(post(http, f"Bearer {key}") for _ in range(5)))
    [row] = await database.fetch(
        "SELECT count(*) FROM canary_alerts a JOIN canary_keys k ON k.id = a.canary_id WHERE public_id = $1",
        public(key),
    )
    assert row["count"] == len(receiver.got) == 5
