"""Requests that reach no part of the service are refused as all others are: in JSON, named, and logged."""

import logging
from collections.abc import AsyncIterator

import httpx
import pytest

from waybill.app import create_app
from waybill.settings import Settings


@pytest.fixture
async def local(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An application that answers to some hosts only, as that of `waybill dev` does."""
    app = create_app(settings, graphiql_key="the key", hosts=["127.0.0.1", "[::1]", "localhost"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        yield client


def is_refused(answer: httpx.Response, status: int, says: str) -> None:
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["extensions"]) == (status, {"code": "BAD_REQUEST"})
    assert says in error["message"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/", "/graphq", "/graphiql/assets/nothing.js"])
async def test_path_of_nothing_says_where_the_api_is(http: httpx.AsyncClient, path: str) -> None:
    is_refused(await http.get(path), 404, "the API is at /graphql")


@pytest.mark.parametrize("path", ["/healthz", "/graphiql/assets/nothing.js"])
async def test_other_method_says_which_are_allowed(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.post(path)
    is_refused(answer, 405, "POST is not a method of this path: use one of ")
    assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:8000", "[::2]:8000", "[", ""])
async def test_other_host_gets_no_page_and_is_logged(
    local: httpx.AsyncClient, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "waybill.access"):
        answer = await local.get("/graphql", headers={"Host": host, "Accept": "text/html"})
    is_refused(answer, 400, "This service answers to the hosts 127.0.0.1, [::1], localhost only")
    assert [vars(record)["status"] for record in caplog.records if record.name == "waybill.access"] == [400]


@pytest.mark.parametrize("host", ["localhost", "LocalHost:8000", "127.0.0.1:8000", "[::1]", "[::1]:8000"])
async def test_own_hosts_get_the_page(local: httpx.AsyncClient, host: str) -> None:
    answer = await local.get("/graphql", headers={"Host": host, "Accept": "text/html"})
    assert answer.status_code == 200
    assert "the key" in answer.text
