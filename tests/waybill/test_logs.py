"""What the log holds of a request, and what it never holds."""

import io
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from models.trace import current
from tests.conftest import Caller
from tests.graph.tiny import Tiny, code
from waybill import logs
from waybill.logs import RequestLog, redact

KEY = "wb_0123456789abcdef_" + "5ec2e7" * 10 + "abcd"


class Lines:
    """What was logged, line by line."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(json.loads, self.stream.getvalue().splitlines())

    def of(self, logger: str) -> list[dict[str, Any]]:
        return [line for line in self if line["logger"] == logger]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Everything is logged as in the service, into a string."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    written = Lines()
    logs.configure("debug")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the tests' client, which logs its URLs
    for handler in root.handlers:
        assert isinstance(handler, logging.StreamHandler)
        handler.setStream(written.stream)
    try:
        yield written
    finally:
        root.handlers = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        for name in ("tortoise", "asyncpg", "httpx", "botocore", "aiobotocore"):
            logging.getLogger(name).setLevel(logging.NOTSET)


async def fails(request: Request) -> PlainTextResponse:
    raise RuntimeError(f"cannot use {request.headers['authorization']} at postgresql://waybill:hunter2@db:5432/waybill")


@asynccontextmanager
async def failing() -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Route("/fails", fails)], middleware=[Middleware(RequestLog)])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x.test") as client:
        yield client


async def test_request_is_one_line(lines: Lines) -> None:
    await Tiny().post({"query": "query Greet { hello }"}, x_request_id="my-request.1")
    [line] = lines.of("waybill.access")
    assert line.pop("time").endswith("+00:00")
    assert line.pop("duration_ms") > 0
    assert line == {
        "level": "INFO",
        "logger": "waybill.access",
        "message": "request",
        "request_id": "my-request.1",
        "method": "POST",
        "path": "/graphql",
        "status": 200,
        "operation": "Greet",
        "key_id": "0123456789abcdef",
        "points": 1,
        "statements": 0,
    }


async def test_query_string_and_body_are_not_logged(lines: Lines) -> None:
    tiny = Tiny()
    await tiny.get(query='{ hello(name: "private one") }')
    await tiny.query("query($name: String!) { hello(name: $name) }", name="private two")
    await tiny.query('{ hello(name: "private three" }')
    access = lines.of("waybill.access")
    assert [line["path"] for line in access] == ["/graphql"] * 3
    assert "private" not in lines.stream.getvalue()


async def test_statements_of_the_request_are_counted(admin: Caller, lines: Lines) -> None:
    await admin.execute("query Who { __typename }")
    await admin.execute("query Batches { batches { nodes { batchId } } }")
    who, batches = lines.of("waybill.access")
    assert (who["operation"], who["key_id"]) == ("Who", admin.key.split("_")[1])
    assert batches["statements"] == who["statements"] + 1


@pytest.mark.parametrize("given", [None, "short", "x" * 65, "has space in it", "slash/slash", ""])
async def test_request_without_a_well_formed_id_gets_one(given: str | None, lines: Lines) -> None:
    answer = await Tiny().post({"query": "{ requestId }"}, x_request_id=given)
    name = answer.headers["x-request-id"]
    assert name != given
    assert len(name) == 16
    assert answer.json()["data"]["requestId"] == name
    assert lines.of("waybill.access")[0]["request_id"] == name


async def test_every_answer_names_its_request() -> None:
    async with Tiny().client() as client:
        for path in ("/graphql", "/nowhere"):
            answer = await client.get(path, headers={"x-request-id": "my-request"})
            assert answer.headers["x-request-id"] == "my-request"
    assert current.get() is None


async def test_client_that_went_away_is_status_499(lines: Lines) -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None: ...

    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"",
             "headers": [(b"content-type", b"application/json")]}  # fmt: skip
    await Tiny().app(scope, gone, send)
    assert lines.of("waybill.access")[0]["status"] == 499


async def test_what_nobody_foresaw_is_masked_and_logged_with_its_trace(lines: Lines) -> None:
    async with failing() as client:
        answer = await client.get("/fails", headers={"authorization": f"Bearer {KEY}"})
    assert (answer.status_code, code(answer)) == (500, "INTERNAL")
    assert answer.json()["errors"][0]["extensions"]["requestId"] == answer.headers["x-request-id"]
    [error] = [line for line in lines if line["level"] == "ERROR"]
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "in fails" in error["trace"]
    assert "RuntimeError: cannot use Bearer wb_0123456789abcdef_***" in error["trace"]


async def test_no_secret_is_in_the_log(lines: Lines) -> None:
    async with failing() as client:
        await client.get("/fails", headers={"authorization": f"Bearer {KEY}"})
    log = logging.getLogger("anything")
    log.warning("key %s", KEY, extra={"header": f"Bearer {KEY}", "nested": {"keys": [KEY]}})
    log.warning("\n%s", KEY)
    log.warning("connecting to postgresql://waybill:hunter2@db/waybill and postgres://db/x?password=hunter2&y=1")
    log.error("%r", {"password": "hunter2", "user": "x"}, stack_info=True)
    log.warning("Authorization: Bearer something.else.5ec2e7")
    log.warning("token eyJhbGciOiJIUzI1NiJ9.5ec2e7-_A.5ec2e7-_A", extra={"cause": "eyJhbGciOiJIUzI1NiJ9.5ec2e7."})
    assert "5ec2e7" not in lines.stream.getvalue()
    assert "hunter2" not in lines.stream.getvalue()
    assert lines.stream.getvalue().count("wb_0123456789abcdef_***") >= 5


async def test_no_secret_of_a_request_is_in_the_log(admin: Caller, lines: Lines) -> None:
    secret = admin.key.split("_")[2]
    await admin.post("{ viewer { user { name } } }")
    await admin.http.post(
        "/graphql", json={"query": "{ viewer { user { name } } }"}, headers={"authorization": admin.key}
    )
    await admin.http.get(
        "/graphql", params={"query": f'{{ object(objectId: "{admin.key}") {{ id }} }}'}, headers=admin.headers
    )
    assert lines.of("waybill.access")
    assert secret not in lines.stream.getvalue()


@pytest.mark.parametrize(
    "harmless",
    [
        'password authentication failed for user "x"',
        "http://host:8000/path?mail=a@b.example",
        "wb_0123456789abcdef",
        'send the header "Authorization: Bearer wb_..."',
    ],
)
def test_what_is_no_secret_stays(harmless: str) -> None:
    assert redact(harmless) == harmless


def test_anything_can_be_logged() -> None:
    # Not through a logger: pytest would carry half a character to its report, and xdist cannot send that.
    odd = {"msg": "half a pair \ud800", "huge": 2**70, "object": object(), "bytes": b"x", 5: "number as a name"}
    half = json.loads(logs.JsonFormatter().format(logging.makeLogRecord(odd)))  # type: ignore[arg-type]
    broken = json.loads(logs.JsonFormatter().format(logging.makeLogRecord({"msg": "line\nbreak %d%%", "args": (5,)})))
    assert half["message"].startswith("half a pair ")
    assert half["huge"] == 2**70
    assert broken["message"] == "line\nbreak 5%"


def test_users_data_is_not_logged_by_the_drivers(lines: Lines) -> None:
    logging.getLogger("tortoise.db_client").debug("%s: %s", "SELECT $1", ["private"])
    assert "private" not in lines.stream.getvalue()


def test_unknown_level_is_refused() -> None:
    handlers = logging.getLogger().handlers
    with pytest.raises(ValueError, match="LOUD"):
        logs.configure("loud")
    assert logging.getLogger().handlers is handlers


def test_redacting_is_linear_and_leaves_json_whole() -> None:
    long = "://" + "a" * 200_000  # quadratic, it takes minutes
    assert redact(long) == long
    assert redact("eyJ" * 100_000) == "eyJ" * 100_000
    line = logs.JsonFormatter().format(logging.makeLogRecord({"msg": 'bearer x"y'}))
    assert json.loads(line)["message"].startswith("bearer ***")
