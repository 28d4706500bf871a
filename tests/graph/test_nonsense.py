"""Whatever is sent to the endpoint, it answers, and never by an error of ours."""

import json
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.graph.test_endpoint import QUERY, RESPONSE
from tests.graph.tiny import Tiny

tiny = Tiny()

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
almost = st.fixed_dictionaries(
    {"query": anything | st.sampled_from(["{ hello }", "query($name: String!) { hello(name: $name) }"])},
    optional={"variables": anything | st.dictionaries(st.just("name"), anything), "operationName": anything},
)
bodies = st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | almost.map(json.dumps).map(str.encode)


@settings(max_examples=300, deadline=None)
@given(bodies)
async def test_no_body_is_an_error_of_ours(body: bytes) -> None:
    assert (await tiny.post(body, accept=RESPONSE)).status_code in (200, 400)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('{}()[]:$!.@"\\#, \n\0\ud7ffabhello…fragmentqueryon12'), max_size=60))
async def test_no_document_is_an_error_of_ours(text: str) -> None:
    assert (await tiny.query(text)).status_code in (200, 400)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.sampled_from(["variables=", "extensions="]).flatmap(lambda name: st.binary().map(name.encode().__add__))
)
async def test_no_query_string_is_an_error_of_ours(query_string: bytes) -> None:
    async with tiny.client() as client:
        answer = await client.get("/graphql?query=%7Bhello%7D&" + quote(query_string, safe="=&%+"))
    assert answer.status_code in (200, 400)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
async def test_no_header_is_an_error_of_ours(value: str) -> None:
    answer = await tiny.post(QUERY, accept=value, content_type=value, content_encoding=value)
    assert answer.status_code in (200, 406, 415)
