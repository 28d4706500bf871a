"""graphql-core's own executor in the place of ours, to compare with: nothing is compiled, nothing is bounded."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import orjson
import pytest
from graphql.execution.executor import Executor
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph import documents, endpoint
from tests.conftest import Caller

_KNOWN = inspect.signature(Executor.__init__).parameters


class Stock(StrawberryGraphQLCoreExecutionContext):
    """For queries: what ours has to know of a mutation is left out."""

    has_guessed = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{name: one for name, one in options.items() if name in _KNOWN})


@contextmanager
def stock(monkeypatch: pytest.MonkeyPatch, executor: type[Stock] = Stock) -> Iterator[None]:
    """Documents that were read before are answered by what was made of them then."""
    with monkeypatch.context() as patch:
        patch.setattr(documents, "quick", lambda *_: None)
        patch.setattr(documents, "coercing", lambda *_: None)
        patch.setattr(endpoint, "Executor", executor)
        yield


async def both(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, query: str, variables: dict[str, Any]
) -> tuple[httpx.Response, httpx.Response]:
    """The answer as it is, and graphql-core's. Another text is another document."""
    answer = await caller.post(query, **variables)
    with stock(monkeypatch):
        return answer, await caller.post(f"{query} # {id(answer)}", **variables)


def same(answer: httpx.Response, stock: httpx.Response) -> None:
    """But for what is left of the points, the ids of the requests, and which error of two fields came first.

    The first of a field that may not be null ends the others, whose errors have come by then or never come.
    """
    assert answer.status_code == stock.status_code
    found, expected = answer.json(), stock.json()
    if "errors" in found or "errors" in expected:
        for content in (found, expected):
            content.pop("extensions", None)
            for error in content["errors"]:
                error["extensions"].pop("requestId", None)
            content["errors"].sort(key=orjson.dumps)
        if all("data" in content and content["data"] is None for content in (found, expected)):
            one, other = ({tuple(error["path"]): error for error in each["errors"]} for each in (found, expected))
            assert one
            assert other
            for path in one.keys() & other.keys():
                assert one[path] == other[path]
        else:
            assert found == expected, (found, expected)
    else:
        text, stocks = (each.text.partition(',"extensions":{"cost"')[0] for each in (answer, stock))
        assert text == stocks, (text, stocks)
