"""Documents are parsed and validated once, and take a bounded amount of memory."""

from graph.documents import Documents
from graph.limits import QueryLimits
from tests.graph.tiny import schema


def new_documents() -> Documents:
    return Documents(schema._schema, QueryLimits(), introspection=True)


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
        assert sum(map(len, documents._remembered)) == documents._characters <= 100_000
    assert len(documents._remembered) == 100
    assert await documents.read("{ hello }") is not first
