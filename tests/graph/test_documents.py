"""Documents are parsed and validated once, and take a bounded amount of memory, and so do their errors."""

import pytest

from graph.cost_levels import PageSizes
from graph.documents import Documents
from graph.limits import QueryLimits
from tests.graph.tiny import schema


def new_documents() -> Documents:
    return Documents(schema._schema, QueryLimits(), PageSizes(), introspection=True)


async def test_document_is_read_once() -> None:
    documents = new_documents()
    assert await documents.read("{ hello }") is await documents.read("{ hello }")


async def test_refused_document_is_read_once() -> None:
    documents = new_documents()
    assert await documents.read("{ nothing }") is await documents.read("{ nothing }")


async def test_large_document_is_read_again() -> None:
    documents = new_documents()
    text = "{ hello " + "#" * 10_000 + "\n}"
    assert await documents.read(text) is not await documents.read(text)


async def test_what_is_remembered_is_bounded_by_its_characters() -> None:
    documents = new_documents()
    first = await documents.read("{ hello }")
    often = await documents.read("{ often: hello }")
    for number in range(200):
        text = f"{{ hello }} # {number} " + "#" * 990
        assert await documents.read(text) is await documents.read(text)
        assert await documents.read("{ often: hello }") is often
        assert sum(len(each) + 20 for each in documents._remembered) == documents._characters <= 100_000
    assert 90 < len(documents._remembered) < 100
    assert await documents.read("{ hello }") is not first


async def test_documents_of_a_character_count_for_more() -> None:
    documents = new_documents()
    for number in range(10_000):
        await documents.read(chr(0x4E00 + number))
    assert len(documents._remembered) < 5_000


LONG = "x" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        LONG + "{}",
        f"{{ {LONG} }}",
        f'{{ nodes(count: "{LONG}") {{ name }} }}',
        f"query(${LONG}: Int) {{ hello }}",
        f'{{ describe(thing: {{name: "{LONG}", a: 1, b: 2}}) }}',
        f'{{ describe(thing: {{name: "x", {LONG}: 1}}) }}',
    ],
)
async def test_errors_quote_little_of_the_document(text: str) -> None:
    document = await new_documents().read(text)
    assert document.errors
    for error in document.errors:
        assert len(error["message"]) < 1_000


async def test_document_whose_errors_could_fill_the_memory_is_too_large() -> None:
    unknown = ", ".join(f"a{number}: 1" for number in range(60))
    document = await new_documents().read(f'{{ describe(thing: {{name: "{LONG * 6}", {unknown}}}) }}')
    [error] = document.errors
    assert error["extensions"]["code"] == "TOO_COMPLEX"
    assert "variables" in error["message"]


async def test_last_of_too_many_errors_says_that_the_rest_is_not_shown() -> None:
    document = await new_documents().read("{ node {" + " ".join(f"f{number}" for number in range(100)) + "} }")
    assert len(document.errors) == 50
    last = document.errors[-1]
    assert last["message"] == "More than 49 errors: the rest are not shown; correct these first."
    assert last["extensions"] == {"code": "GRAPHQL_VALIDATION_FAILED"}
    document = await new_documents().read("{ node {" + " ".join(f"f{number}" for number in range(49)) + "} }")
    assert [error for error in document.errors if "not shown" in error["message"]] == []
