"""A mutation that is sent again with its key: done once, answered each time with the same."""

import re
from dataclasses import replace
from typing import Any

import httpx
import pytest
from tortoise.backends.base.client import TransactionalDBClient

from access.credentials import create_key
from graph import idempotency
from models import KeyScope, database
from storage.client import Storage
from storage.proof import examine
from tests.access.test_audit import log
from tests.access.test_matrix import CALLERS, TABLE, fields, operator_key, world
from tests.conftest import Caller, NewCaller
from tests.graph.test_mutations import contents
from tests.graph.test_quotas import usage
from tests.statements import statements_of
from tests.uploads import COMPLETE, CREATE_BATCH, announced, file_of
from worker import work

CREATE = """mutation($id: String!, $objects: [ObjectInput!], $key: String) {
  createBatch(input: {batchId: $id, objects: $objects}, idempotencyKey: $key) { batch { id batchId } } }"""
CREATE_KEY = 'mutation { createKey(input: {name: "k", scope: READ}) { secret key { keyId } } }'


async def send(caller: Caller, key: str | None, query: str, /, **variables: object) -> httpx.Response:
    """With the key in the header."""
    headers: dict[bytes, bytes] = {name.encode(): value.encode() for name, value in caller.headers.items()}
    if key is not None:
        headers[b"Idempotency-Key"] = key.encode()
    return await caller.http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)


def said(answer: httpx.Response) -> bytes:
    """To the byte, but what each request costs."""
    return answer.content.partition(b',"extensions":{"cost"')[0]


def code(answer: httpx.Response) -> str | None:
    errors = answer.json().get("errors")
    return str(errors[0]["extensions"]["code"]) if errors else None


async def batch_ids(caller: Caller) -> list[str]:
    data = await caller.execute("{ batches(first: 100) { nodes { batchId } } }")
    return sorted(node["batchId"] for node in data["batches"]["nodes"])


async def rows(caller: Caller) -> list[Any]:
    return await database.fetch("SELECT * FROM idempotent_answers WHERE tenant_id = $1", caller.tenant.id)


async def test_repeated_request_gets_the_same_answer_and_nothing_is_done_twice(admin: Caller) -> None:
    """Neither rows, nor what is reserved of the quota, nor entries of the audit log; and it costs as much again."""
    given = {"batchId": "b", "objects": [{"objectId": "o", "file": file_of(b"hello")}]}
    first = await send(admin, "key", CREATE_BATCH, input=given)
    after = await contents(admin), await usage(admin), await log(admin)
    assert code(first) is None
    again = await send(admin, "key", CREATE_BATCH, input=given)
    assert (again.status_code, said(again)) == (first.status_code, said(first))
    assert (await contents(admin), await usage(admin), await log(admin)) == after
    assert [entry["action"] for entry in after[2]].count("WRITE_URL") == 1
    costs = [one.json()["extensions"]["cost"]["requested"] for one in (first, again)]
    assert costs[0] == costs[1]
    assert code(await send(admin, None, CREATE_BATCH, input=given)) == "ALREADY_EXISTS"


async def test_argument_does_the_same_and_counts_before_the_header(admin: Caller) -> None:
    first = await send(admin, None, CREATE, id="b", key="key")
    for header in (None, "key", "other"):
        assert said(await send(admin, header, CREATE, id="b", key="key")) == said(first)
    # Without it the header is the key; the argument itself is no part of what is asked.
    assert said(await send(admin, "key", CREATE, id="b")) == said(first)
    assert code(await send(admin, "other", CREATE, id="b")) == "ALREADY_EXISTS"


def with_argument(call: str) -> str:
    return re.sub(r"}\) {", '}, idempotencyKey: "key") {', call)


@pytest.mark.parametrize("field", fields("Mutation"))
async def test_every_mutation_heeds_its_key(new_caller: NewCaller, field: str) -> None:
    """The example of the matrix, by whoever may: repeated it is answered alike, and changed it is refused."""
    one = await world(new_caller)
    name = next(name for name in ("admin", "operator") if TABLE[field]["gets"].split()[CALLERS.index(name)] == "ok")
    call, caller = TABLE[field]["call"], one.callers[name]
    variables = {name: value for name, value in one.variables.items() if f"${name}:" in call}
    first = await send(caller, "key", call, **variables)
    assert code(first) is None
    assert said(await send(caller, None, with_argument(call), **variables)) == said(first)
    other = re.sub(r"}\) {", "}) { __typename", call)
    assert code(await send(caller, "key", other, **variables)) == "IDEMPOTENCY_CONFLICT"


OBJECTS = """mutation Make($id: String!, $n: Int = 5) { made: createBatch(input: {batchId: $id}) {
  batch { ...some objects(first: $n) { nodes { objectId } } } } } fragment some on Batch { id batchId }"""
SAME = [
    # Variables and fragments have other names, literals stand for variables, and all is written otherwise.
    """mutation($b: String!, $size: Int = 5) { made: createBatch(input: {batchId: $b, objects: null}) { batch {
      ...part objects(first: $size) { nodes { objectId } } } } }
      fragment part on Batch { id, batchId: batchId }""",
    """fragment some on Batch { id batchId } mutation { made: createBatch(input: {batchId: "b"}) {
      # a comment
      batch { ...some objects(first: 5) { nodes { objectId } } } } }""",
]
OTHER = [
    OBJECTS.replace("= 5", "= 6"),
    OBJECTS.replace("id batchId }", "batchId id }"),
    OBJECTS.replace("nodes { objectId }", "nodes { objectId @skip(if: true) id }"),
    OBJECTS.replace("...some", "...some ... on Batch { id batchId }"),
    OBJECTS.replace("batchId: $id}", "batchId: $id, objects: []}"),
    OBJECTS.replace("createBatch(input: {batchId: $id})", "createObjects(input: {batchId: $id, objects: []})"),
]


@pytest.mark.parametrize("query", SAME)
async def test_request_is_the_same_however_it_is_written(admin: Caller, query: str) -> None:
    first = await send(admin, "key", OBJECTS, id="b")
    assert code(first) is None
    variables = {"b": "b"} if "$b:" in query else {}
    assert said(await send(admin, "key", query, **variables)) == said(first)


DELETE = 'deleteBatch(input: {batchId: "other"}) { deletedBatchId }'


async def test_another_request_with_the_same_key_is_refused_and_does_nothing(admin: Caller) -> None:
    await admin.create_batch("other")
    await send(admin, "key", OBJECTS, id="b")
    before = await contents(admin)
    more = [OBJECTS.replace("made:", f"{DELETE} made:"), OBJECTS.replace("} fragment", f"{DELETE} }} fragment")]
    for query in (*OTHER, *more):
        assert code(await send(admin, "key", query, id="b")) == "IDEMPOTENCY_CONFLICT", query
    assert code(await send(admin, "key", OBJECTS, id="c")) == "IDEMPOTENCY_CONFLICT"
    assert code(await send(admin, "key", f"mutation {{ {DELETE} }}")) == "IDEMPOTENCY_CONFLICT"
    assert await contents(admin) == before


FAULTS = {  # in the mutation itself, and in what is selected of its payload
    "ALREADY_EXISTS": 'mutation { createBatch(input: {batchId: "b", objects: [{objectId: "o"}]}) { batch { id } } }',
    "BAD_CURSOR": """mutation($after: String) { createBatch(input: {batchId: "b"}) {
      batch { objects(after: $after) { totalCount } } } }""",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_mutation_that_failed_leaves_nothing_and_runs_again(admin: Caller, fault: str) -> None:
    await admin.create_batch("other", {"o": []})
    given = {"after": "x"} if fault == "BAD_CURSOR" else {}
    assert code(await send(admin, "key", FAULTS[fault], **given)) == fault
    assert await rows(admin) == []
    await admin.execute('mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }')
    assert code(await send(admin, "key", FAULTS[fault])) is None
    assert await batch_ids(admin) == ["b", "other"]


async def test_of_several_mutations_of_a_request_those_are_done_that_were_not_yet(admin: Caller) -> None:
    query = "mutation { __typename " + " ".join(
        f'{name}: createBatch(input: {{batchId: "{name}"}}) {{ batch {{ id }} }}' for name in "abc"
    )
    await admin.create_batch("b")
    first = await send(admin, "key", query + "}")
    assert (code(first), first.json()["data"]) == ("ALREADY_EXISTS", None)
    a = await admin.execute('{ batch(batchId: "a") { id } }')
    await admin.execute('mutation { deleteBatch(input: {batchId: "b"}) { deletedBatchId } }')
    again = (await send(admin, "key", query + "}")).json()["data"]
    assert again["a"] == a
    assert await batch_ids(admin) == ["a", "b", "c"]


async def test_keys_are_each_callers_own(admin: Caller, new_caller: NewCaller) -> None:
    """Of a user with all keys of the same scope: what one was shown is not for another, nor for a key of less scope."""
    colleague, stranger = await new_caller(admin.tenant), await new_caller()
    other_key = replace(admin, key=await create_key(admin.user, "other"))
    less = replace(admin, key=await create_key(admin.user, "less", KeyScope.WRITE))
    operator = replace(admin, key=await operator_key())
    first = said(await send(admin, "key", CREATE_KEY))
    assert said(await send(other_key, "key", CREATE_KEY)) == first
    for one in (colleague, stranger, less):
        answer = await send(one, "key", CREATE_KEY)
        assert (code(answer), said(answer) != first) == (None, True)
    assert code(await send(operator, "key", CREATE_KEY)) == "FORBIDDEN"
    await database.execute("UPDATE users SET revoked_at = now() WHERE id = $1", colleague.user.id)
    assert (await send(colleague, "key", CREATE_KEY)).status_code == 401


@pytest.mark.parametrize("key", ["", "k" * 256, "two\nlines", "schlüssel"])
async def test_key_that_is_none_is_refused(admin: Caller, key: str) -> None:
    assert code(await send(admin, None, CREATE, id="b", key=key)) == "BAD_INPUT"
    if "\n" not in key:
        refused = await send(admin, key, CREATE, id="b")
        assert (refused.status_code, code(refused)) == (400, "BAD_INPUT")
        assert code(await send(admin, key, "{ viewer { user { id } } }")) is None  # says nothing there
    assert await batch_ids(admin) == []
    assert code(await send(admin, " ~" + "k" * 251 + "!a", CREATE, id="b")) is None


async def test_table_gives_neither_answers_nor_keys_away(admin: Caller) -> None:
    secret = (await send(admin, "a key of mine", CREATE_KEY)).json()["data"]["createKey"]["secret"]
    [row] = await rows(admin)
    text = b"".join(bytes(value) for value in row.values() if isinstance(value, bytes))
    for one in (secret, secret.split("_")[2], "createKey", "secret", "a key of mine"):
        assert one.encode() not in text
    same = await send(admin, "another key", CREATE_KEY)
    assert code(same) is None
    assert len({bytes(row["answer"]) for row in await rows(admin)}) == 2


async def test_answer_too_large_to_be_kept_undoes_the_mutation(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "_MOST_BYTES", 20)
    refused = await send(admin, "key", CREATE, id="b")
    assert refused.json()["errors"][0]["extensions"] == {
        "code": "TOO_COMPLEX",
        "limit": "answer_bytes",
        "maximum": 20,
    }
    assert await batch_ids(admin) == []
    assert code(await send(admin, None, CREATE, id="b")) is None


async def test_large_answer_is_kept_and_given_again(admin: Caller) -> None:
    given = [{"objectId": f"o{n}"} for n in range(3_000)]
    query = CREATE.replace("batch { id batchId }", "objects { id objectId createdAt }")
    first = await send(admin, "key", query, id="b", objects=given)
    assert len(said(first)) > 200_000
    assert said(await send(admin, "key", query, id="b", objects=given)) == said(first)
    [row] = await rows(admin)
    assert len(row["answer"]) < len(said(first)) / 2


async def test_key_takes_three_statements_more_and_an_answer_from_before_one(admin: Caller) -> None:
    counts = []
    for key, batch_id in ((None, "a"), ("key", "b"), ("key", "b")):
        answer, count = await statements_of(lambda: send(admin, key, CREATE, id=batch_id))  # noqa: B023
        assert code(answer) is None
        counts.append(count)
    plain, first, again = counts
    assert (first - plain, again) == (3, 2)  # of which one authenticates


async def test_nothing_is_claimed_and_no_connection_held_while_s3_is_asked(
    admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = await announced(admin, b"hello")
    held: list[bool] = []

    async def asked(*arguments: Any, **options: Any) -> Any:
        held.append(isinstance(database.client(), TransactionalDBClient))
        return await examine(*arguments, **options)

    monkeypatch.setattr("graph.context.examine", asked)
    first = await send(admin, "key", COMPLETE, ids=[upload["id"]])
    assert code(first) is None
    assert said(await send(admin, "key", COMPLETE, ids=[upload["id"]])) == said(first)
    assert held == [False]


async def test_request_that_cannot_be_compared_is_bad_input(admin: Caller) -> None:
    where: dict[str, Any] = {}
    for _ in range(260):
        where = {"not": where}
    query = """mutation($where: ObjectWhere) { createBatch(input: {batchId: "b"}) {
      batch { objects(where: $where) { totalCount } } } }"""
    for key in (None, "key"):
        assert code(await send(admin, key, query, where=where)) == "BAD_INPUT"


async def test_answers_are_forgotten_after_a_day(admin: Caller, storage: Storage) -> None:
    for key in ("old", "new"):
        await send(admin, key, CREATE, id=key)
    await database.execute(
        "UPDATE idempotent_answers SET created_at = now() - interval '24 hours 1 second'"
        " WHERE tenant_id = $1 AND created_at = (SELECT min(created_at) FROM idempotent_answers WHERE tenant_id = $1)",
        admin.tenant.id,
    )
    await work.drain(storage)
    assert code(await send(admin, "old", CREATE, id="old")) == "ALREADY_EXISTS"
    assert code(await send(admin, "new", CREATE, id="new")) is None


async def test_operators_mutations_have_keys_too(admin: Caller) -> None:
    one, other = replace(admin, key=await operator_key()), replace(admin, key=await operator_key())
    query = 'mutation($slug: String!) { createTenant(input: {slug: $slug, adminName: "ada"}) { key } }'
    slug = f"{admin.tenant.slug}-2"
    first = await send(one, "key", query, slug=slug)
    assert code(first) is None
    assert said(await send(one, "key", query, slug=slug)) == said(first)
    assert code(await send(other, "key", query, slug=slug)) == "ALREADY_EXISTS"


async def test_read_key_is_not_given_what_a_key_of_more_scope_was(admin: Caller) -> None:
    reader = replace(admin, key=await create_key(admin.user, "r", KeyScope.READ))
    await send(admin, "key", CREATE, id="b")
    assert code(await send(reader, "key", CREATE, id="b")) == "FORBIDDEN"
