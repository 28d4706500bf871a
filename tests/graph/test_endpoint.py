"""GraphQL over HTTP, as https://graphql.github.io/graphql-over-http/draft/ and its audits (npm: graphql-http) say."""

import asyncio
import dataclasses
from typing import Any

import orjson
import pytest
from graphql import get_introspection_query

from access import requests
from access.credentials import Attempt
from access.policy import Viewer
from tests.conftest import without_cost
from tests.graph.tiny import VIEWER, Tiny, code, message, only_with_key, schema

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
QUERY = {"query": "{ __typename }"}
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"

tiny = Tiny()


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (RESPONSE, RESPONSE),
        (JSON, JSON),
        ("*/*", JSON),
        (None, JSON),
        ("", JSON),
        ("application/*", JSON),
        (f"{RESPONSE}, {JSON}", RESPONSE),
        (f"{RESPONSE}; charset=utf-8, {JSON}; charset=utf-8", RESPONSE),
        (f"{JSON}, {RESPONSE}", JSON),
        (f"{JSON};q=0.5, {RESPONSE};q=0.9", RESPONSE),
        (f"{JSON};q=0, */*", RESPONSE),
        (f"{JSON.upper()}", JSON),
        (f"text/plain, {RESPONSE};q=0.1", RESPONSE),
        (f"{RESPONSE};q=nonsense, {JSON}", JSON),
        (f"{RESPONSE};q=7, {JSON};q=0.1", JSON),
        (f"{RESPONSE};charset=utf-16, {JSON};q=0.1", JSON),
    ],
)
async def test_answer_has_the_media_type_that_is_asked_for_most(accept: str | None, expected: str) -> None:
    answer = await tiny.post(QUERY, accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, f"{expected}; charset=utf-8")
    assert without_cost(answer) == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    "accept", ["text/plain", f"{JSON};q=0", f"*/*;q=0, {JSON};q=0", "nonsense", f"{JSON};charset=latin-1"]
)
async def test_no_acceptable_media_type_is_not_acceptable(accept: str) -> None:
    answer = await tiny.post(QUERY, accept=accept)
    assert (answer.status_code, code(answer)) == (406, "BAD_REQUEST")


@pytest.mark.parametrize("content_type", [JSON, f"{JSON}; charset=utf-8", f'{JSON};charset="UTF-8"', JSON.upper()])
async def test_json_in_utf_8_is_taken(content_type: str) -> None:
    answer = await tiny.post({"query": '{ __type(name: "Run🏃Swim🏊") { name } }'}, content_type=content_type)
    assert (answer.status_code, without_cost(answer)) == (200, {"data": {"__type": None}})


@pytest.mark.parametrize(
    "content_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", RESPONSE,
     "application/graphql", f"{JSON}; charset=utf-16", f"{JSON}; charset=latin-1"],
)  # fmt: skip
async def test_other_content_is_an_unsupported_media_type(content_type: str | None) -> None:
    answer = await tiny.post(QUERY, content_type=content_type)
    assert (answer.status_code, code(answer), answer.headers["accept"]) == (415, "BAD_REQUEST", JSON)


async def test_compressed_content_is_an_unsupported_media_type() -> None:
    answer = await tiny.post(QUERY, content_encoding="gzip")
    assert (answer.status_code, code(answer)) == (415, "BAD_REQUEST")


NOT_WELL_FORMED: list[Any] = [
    b"", b"{", b'{ "not a JSON', b"null", b"1", b'"{ hello }"', b"[]", orjson.dumps([QUERY]),
    b"\xff\xfe", b'{"query": "\xff"}', b'{"query": "\\ud800"}', b'{"query": "\0"}',
    b'{"query": NaN}', b'{"query": "{hello}", "variables": {"x": Infinity}}',
    b"[" * 200_000, b'{"a":' * 100_000, b'{"query": 1e999}', b"\xef\xbb\xbf{}", b"{} {}",
    {}, {"qeury": "{ __typename }"}, {"notquery": "{ __typename }"}, {"query": None},
    *[{"query": wrong} for wrong in ({"obj": "ect"}, 0, False, ["array"])],
    *[{**QUERY, "operationName": wrong} for wrong in ({"obj": "ect"}, 0, False, ["array"])],
    *[{**QUERY, "variables": wrong} for wrong in ("string", 0, False, ["array"])],
    *[{**QUERY, "extensions": wrong} for wrong in ("string", 0, False, ["array"])],
]  # fmt: skip


@pytest.mark.parametrize("accept", [JSON, RESPONSE])
@pytest.mark.parametrize("content", NOT_WELL_FORMED, ids=lambda content: str(content)[:30])
async def test_what_is_not_a_well_formed_request_is_a_bad_request(content: Any, accept: str) -> None:
    answer = await tiny.post(content, accept=accept)
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert "data" not in answer.json()
    assert len(answer.content) < 500


@pytest.mark.parametrize("accept", [JSON, RESPONSE])
@pytest.mark.parametrize(
    "extra",
    [{"variables": None}, {"operationName": None}, {"extensions": None}, {"extensions": {"some": "value"}},
     {"variables": {"unused": 1}}, {"unknown": {"member": 1}}, {"operationName": ""}],
)  # fmt: skip
async def test_optional_parameters_may_be_null_and_others_are_ignored(extra: dict[str, Any], accept: str) -> None:
    answer = await tiny.post(QUERY | extra, accept=accept)
    assert (answer.status_code, without_cost(answer)) == (200, {"data": {"__typename": "Query"}})


@pytest.mark.parametrize("accept", [JSON, RESPONSE])
async def test_operation_is_chosen_by_name(accept: str) -> None:
    document = "query A { hello } query B { __typename }"
    answer = await tiny.post({"query": document, "operationName": "B"}, accept=accept)
    assert (answer.status_code, without_cost(answer)) == (200, {"data": {"__typename": "Query"}})


@pytest.mark.parametrize(("accept", "status"), [(JSON, 200), (RESPONSE, 400)])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": ""}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ \0 }"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{" * 5000}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ 8f31403dfe404bccbb0e835f2629c6a7 }"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nothing }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "fragment F on Query { hello }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "{ choose(choice: {word: null}) }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "type Query { hello: String }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query A { hello } query B { hello }"}, "BAD_REQUEST"),
        ({"query": "query A { hello }", "operationName": "B"}, "BAD_REQUEST"),
        ({"query": "{ hello }", "operationName": "B"}, "BAD_REQUEST"),
        ({"query": "subscription { ticks }"}, "BAD_REQUEST"),
        ({"query": "query($id: ID!) { __typename hello(name: $id) }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query($name: String!) { hello(name: $name) }", "variables": {"name": None}}, "BAD_INPUT"),
        ({"query": "query($name: String!) { hello(name: $name) }"}, "BAD_INPUT"),
        ({"query": "query($c: Choice!) { choose(choice: $c) }", "variables": {"c": {}}}, "BAD_INPUT"),
    ],
)
async def test_request_error_has_no_data_and_the_status_of_its_media_type(
    body: dict[str, Any], expected: str, accept: str, status: int
) -> None:
    answer = await tiny.post(body, accept=accept)
    assert answer.status_code == status
    assert {error["extensions"]["code"] for error in answer.json()["errors"]} == {expected}
    assert "data" not in answer.json()


async def test_query_by_get() -> None:
    answer = await tiny.get(query="query($name: String!) { hello(name: $name) }", variables='{"name": "Zoë"}')
    assert (answer.status_code, without_cost(answer)) == (200, {"data": {"hello": "hello Zoë"}})
    named = await tiny.get(
        RESPONSE, query="query A { hello } query B { __typename }", operationName="B", extensions="{}"
    )
    assert (named.status_code, without_cost(named)) == (200, {"data": {"__typename": "Query"}})


@pytest.mark.parametrize("accept", [JSON, RESPONSE])
async def test_mutation_by_get_is_not_allowed(accept: str) -> None:
    for operation in ("mutation { change }", "mutation { __typename }"):
        answer = await tiny.get(accept, query=operation)
        assert (answer.status_code, answer.headers["allow"], code(answer)) == (405, "POST", "BAD_REQUEST")
    both = await tiny.get(accept, query="query A { hello } mutation B { change }", operationName="B")
    assert both.status_code == 405
    assert without_cost(await tiny.post({"query": "mutation { change }"}, accept=accept)) == {
        "data": {"change": "changed"}
    }


@pytest.mark.parametrize(
    "parameters", [{}, {"query": "{hello}", "variables": "{"}, {"query": "{hello}", "variables": "[]"}]
)
async def test_get_that_is_not_well_formed_is_a_bad_request(parameters: dict[str, str]) -> None:
    answer = await tiny.get(RESPONSE, **parameters)
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("wrong", ["%FF", "%C3", "%ED%A0%80"])
async def test_get_that_is_not_utf_8_is_a_bad_request_that_says_so(wrong: str) -> None:
    async with tiny.client() as client:
        answer = await client.get(f"/graphql?query=%7Bhello(name:%22{wrong}%22)%7D")
    assert (answer.status_code, code(answer)) == (400, "BAD_REQUEST")
    assert "UTF-8" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
async def test_other_methods_are_not_allowed(method: str) -> None:
    async with tiny.client() as client:
        answer = await client.request(method, "/graphql", json=QUERY)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


async def test_browser_gets_the_page_without_a_credential() -> None:
    guarded = Tiny(authenticate=only_with_key)
    page = await guarded.get(BROWSER)
    assert (page.status_code, page.text) == (200, "<p>the page")
    with_tab = await guarded.get(BROWSER, tab="1", notquery="x")
    assert with_tab.text == "<p>the page"
    assert (await guarded.get(BROWSER, query="{ hello }")).status_code == 401
    assert (await guarded.get("*/*")).status_code == 401


@pytest.mark.parametrize("accept", [JSON, RESPONSE])
async def test_without_credential_nothing_is_looked_at(accept: str) -> None:
    guarded = Tiny(authenticate=only_with_key)
    for body in (QUERY, b"not JSON", {"query": "{"}):
        answer = await guarded.post(body, accept=accept)
        assert (answer.status_code, code(answer)) == (401, "UNAUTHENTICATED")
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "data" not in answer.json()
    assert (await guarded.post(QUERY, authorization="Bearer key")).status_code == 200


async def test_too_long_body_is_told_in_json() -> None:
    small = Tiny(max_body_bytes=100)
    body = orjson.dumps({"query": "{ hello }" + " " * 100})
    declared = await small.post(body)
    assert (declared.status_code, code(declared)) == (413, "BAD_REQUEST")

    async def chunks() -> Any:
        for start in range(0, len(body), 10):
            yield body[start : start + 10]

    async with small.client() as client:
        chunked = await client.post("/graphql", content=chunks(), headers={"content-type": JSON})
    assert (chunked.status_code, code(chunked)) == (413, "BAD_REQUEST")
    assert "more than 100 bytes" in message(chunked)


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("{ hello }", {}),
        ("query($name: String!) { hello(name: $name) there: hello }", {"name": "x"}),
        ("{ node { ...F ... on Node { node { name } } } } fragment F on Node { name __typename }", {}),
        ("query($no: Boolean!) { hello @skip(if: $no) nodes(count: 2) { name } }", {"no": True}),
        ('{ describe(thing: {name: "x", pairs: {key: "k"}}) }', {}),
        ('{ hello raises(error: "known") }', {}),
        ("mutation { change again: change }", {}),
        ("{ nothing }", {}),
        ("query($name: String!) { hello(name: $name) }", {"name": 1}),
        (get_introspection_query(), {}),
    ],
)
async def test_answer_is_that_of_strawberry_itself(query: str, variables: dict[str, Any]) -> None:
    expected = await schema.execute(query, variables)
    found = (await tiny.query(query, **variables)).json()
    assert found.get("data") == expected.data
    assert [error.message for error in expected.errors or ()] == [each["message"] for each in found.get("errors", ())]
    assert [error.path for error in expected.errors or ()] == [each.get("path") for each in found.get("errors", ())]


async def test_no_answer_is_kept_by_a_cache() -> None:
    assert (await tiny.get(query="{ hello }")).headers["cache-control"] == "no-store"


async def test_large_bodies_wait_for_room_of_their_tenants_and_of_all() -> None:
    """Room is for two of the largest (here 2 MB), one tenant's half of it."""
    tenants = iter(range(1_000))

    async def anybody(_: Attempt) -> Viewer:
        return dataclasses.replace(VIEWER, tenant_id=next(tenants))

    async def most_at_once(endpoint: Tiny, size: int) -> int:
        body = {"query": "mutation { company }", "extensions": {"padding": "x" * size}}
        async with endpoint.client() as client:
            asked = (client.post("/graphql", json=body, headers={"content-type": JSON}) for _ in range(8))
            return max(int(answer.json()["data"]["company"]) for answer in await asyncio.gather(*asked))

    one, several = Tiny(max_body_bytes=2_000_000), Tiny(max_body_bytes=2_000_000, authenticate=anybody)
    assert await most_at_once(one, 900_000) == 2
    assert await most_at_once(several, 900_000) == 4
    assert await most_at_once(one, 1_500_000) == 1
    assert await most_at_once(one, 1) == 8


async def test_query_is_small_and_a_large_body_says_its_length() -> None:
    body = orjson.dumps({"query": "{ hello }", "extensions": {"padding": "x" * 600_000}})
    large = await tiny.post(body)
    assert (large.status_code, code(large)) == (413, "BAD_REQUEST")
    assert "mutations may have more" in message(large)

    async def chunks() -> Any:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    async with tiny.client() as client:
        chunked = await client.post("/graphql", content=chunks(), headers={"content-type": JSON})
    assert (chunked.status_code, code(chunked)) == (411, "BAD_REQUEST")


async def test_body_that_does_not_arrive_is_a_time_out_of_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_BODY_SECONDS", 0.05)

    async def body() -> Any:
        yield b"{"
        await asyncio.sleep(60)

    async with tiny.client() as client:
        answer = await client.post("/graphql", content=body(), headers={"content-type": JSON})
    assert (answer.status_code, code(answer)) == (408, "BAD_REQUEST")
