"""Items of lists that are completed the short way are what graphql-core makes of them, and so is what is said of wrong
ones.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from graph import documents
from graph.bounded import BoundedExecutor
from graph.executor import Executor
from graph.types import files
from models import Role
from tests.conftest import Caller, NewCaller
from tests.graph.tiny import Tiny
from tests.uploads import file_of

CREATE = "mutation($input: CreateBatchInput!) { createBatch(input: $input) { %s } }"
UPLOADS = [
    "id url headers { name value } expiresAt",
    "a: url b: headers { n: name ... { name v: value } __typename } ...F __typename",
    "state method size sha256 partSize partCount object { id objectId createdAt data { value key } file { name } }",
    "...on Node { id } object { batch { batchId createdAt } access }",
]
FRAGMENT = "fragment F on Upload { expiresAt headers { value } object { ... on Object { objectId } } }"


@pytest.fixture(autouse=True)
def _one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr(files, "_now", lambda: now)


@pytest.fixture
def fields(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The types of the fields that went graphql-core's way."""
    found: list[str] = []
    original = Executor.execute_field

    def spied(self: Executor, parent_type: Any, *arguments: Any) -> Any:
        found.append(parent_type.name)
        return original(self, parent_type, *arguments)

    monkeypatch.setattr(Executor, "execute_field", spied)
    return found


def without_id(error: Any) -> Any:
    error["extensions"].pop("requestId", None)
    return error


async def made(caller: Caller, selection: str) -> Any:
    odd: dict[str, Any] = {"name": 'a "b" é.txt', "proved": False}
    objects = [
        {"objectId": f"o{n}", "data": [{"key": "k", "value": '"'}], "file": file_of(b"x" * n, **(odd if n % 2 else {}))}
        for n in range(12)
    ]
    query = CREATE % f"uploads {{ {selection} }}" + (FRAGMENT if "...F" in selection else "")
    data = await caller.execute(query, input={"batchId": "b", "objects": objects})
    return data["createBatch"]["uploads"]


@pytest.mark.parametrize("selection", UPLOADS)
async def test_uploads_of_a_payload_are_those_that_graphql_core_makes(
    admin: Caller, monkeypatch: pytest.MonkeyPatch, fields: list[str], selection: str
) -> None:
    found = await made(admin, f"{selection} again: id")
    assert not {"Upload", "Header", "Object", "Batch"} & set(fields)
    monkeypatch.setattr(documents, "item", lambda *_: None)
    query = f"query($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on Upload {{ {selection} again: id }} }} }}"
    query += FRAGMENT if "...F" in selection else ""
    stock = await admin.execute(query, ids=[one["again"] for one in found])
    assert "Upload" in fields
    assert found == stock["nodes"]
    assert [list(one) for one in found] == [list(one) for one in stock["nodes"]]


async def test_each_url_of_a_payload_is_written_down(admin: Caller) -> None:
    await made(admin, "url")
    log = await admin.execute("{ auditLog(first: 100, where: {actions: [WRITE_URL]}) { nodes { objectId } } }")
    assert [one["objectId"] for one in log["auditLog"]["nodes"]] == [f"o{n}" for n in reversed(range(12))]


async def test_what_has_to_be_waited_for_is_left_to_graphql_core(
    admin: Caller, new_caller: NewCaller, fields: list[str]
) -> None:
    """A member's access to each batch is looked up."""
    await admin.create_batch("a")
    await admin.create_batch("b")
    await admin.execute("mutation { updateTenant(input: {memberAccess: VIEW}) { tenant { slug } } }")
    member = await new_caller(admin.tenant, Role.MEMBER)
    data = await member.execute("{ batches { nodes { batchId access } } }")
    assert data["batches"]["nodes"] == [{"batchId": one, "access": "VIEW"} for one in "ba"]
    assert "Batch" in fields


WRONG = [
    "{ nodes(count: 3) { name fails } }",
    "{ nodes(count: 3) { node { fails } name } }",
    "{ nodes(count: 3) { name @skip(if: true) fails } }",
]


@pytest.mark.parametrize("query", WRONG)
async def test_errors_of_items_stand_where_graphql_core_puts_them(monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    found = (await Tiny().query(query)).json()
    monkeypatch.setattr(documents, "item", lambda *_: None)
    stock = (await Tiny().query(query)).json()
    assert len(found["errors"]) == 3
    assert [without_id(one) for one in found["errors"]] == [without_id(one) for one in stock["errors"]]
    assert found["data"] == stock["data"]


async def test_items_count_as_much_as_graphql_core_makes_them_count(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[int, int]] = []
    original = BoundedExecutor.execute_operation

    def spied(self: BoundedExecutor, *arguments: Any) -> Any:
        result = original(self, *arguments)
        counted.append((self._values, self._characters))
        return result

    monkeypatch.setattr(BoundedExecutor, "execute_operation", spied)
    for query in ("{ nodes(count: 7) { name node { name a: name } } }", WRONG[0]):
        await Tiny().query(query)
        with monkeypatch.context() as patch:
            patch.setattr(documents, "item", lambda *_: None)
            await Tiny().query(query)
        assert counted[-1] == counted[-2]
