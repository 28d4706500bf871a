"""What mutations answer and do is what graphql-core's own executor answers and does, whatever is asked of them.

Tenants that have the same are sent the same documents (``drawn.py``): two of them at once, by our executor, and one
by graphql-core's. That a mutation is a transaction with all that is selected of its payload is ours, and so are its
keys: here they are written down a second time, as simply as can be.
"""

import asyncio
import random
import re
import secrets
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, NamedTuple

import httpx
import orjson
import pytest
from graphql import GraphQLObjectType, print_ast
from graphql.execution.collect_fields import FieldDetailsList, GroupedFieldSet
from graphql.execution.values import get_argument_values
from graphql.pyutils import Path

from access.credentials import create_key
from graph.idempotency import checked
from graph.types.node import global_id
from models import Role, Tenant, User, database
from models.errors import IdempotencyConflict, WaybillError
from tests.access.test_matrix import failed_sync
from tests.conftest import BUCKETS, Caller
from tests.graph.blurred import blurred, rows_of
from tests.graph.drawn import MUTATION, Drawn
from tests.graph.test_stock import Known, written
from tests.stock import Stock, stock
from tests.uploads import announced, put, stored

ROUNDS, DOCUMENTS = 5, 32
SIGNS = ("$v", "fragment", "@skip", "@include", "null")
CODES = (
    "FILE_NOT_COMPLETE",
    "NOT_FOUND",
    "FORBIDDEN",
    "BAD_INPUT",
    "ALREADY_EXISTS",
    "QUOTA_EXCEEDED",
    "IDEMPOTENCY_CONFLICT",
)
KINDS = (*SIGNS, *CODES, "again")
OF_OPERATORS = ["createTenant", "suspendTenant", "resumeTenant", "setQuotas"]
FIELDS = MUTATION.fields
MUTATIONS = [name for name in FIELDS if name not in OF_OPERATORS]


class _UndoneError(Exception):
    pass


class StockOfMutations(Stock):
    kept: ClassVar[dict[object, tuple[object, Any]]] = {}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._record, self._caller, self._key = (options[name] for name in ("record", "caller", "idempotency_key"))

    async def execute_fields_serially(  # type: ignore[override]  # as ours
        self, parent_type: GraphQLObjectType, source: Any, path: Path | None, grouped: GroupedFieldSet, position: Any
    ) -> dict[str, Any] | None:
        results: dict[str, Any] = {}
        for number, (name, details) in enumerate(grouped.items()):
            place = Path(path, name, parent_type.name)
            try:
                results[name] = await self._one((number, len(grouped)), parent_type, source, details, place, position)
            except _UndoneError:
                return None
            except WaybillError as error:
                self.handle_field_error(error, FIELDS[details[0].node.name.value].type, details, place)
        return results

    async def _one(self, part: tuple[int, int], parent_type: GraphQLObjectType, *arguments: Any) -> Any:
        _, details, *_ = arguments
        place, asked = self._asked(part, parent_type, details)
        if place in self.kept:
            before, answer = self.kept[place]
            if before != asked:
                raise IdempotencyConflict
            return answer
        async with database.one_transaction(self._nothing):
            value = self.execute_field(parent_type, *arguments)
            if self.is_awaitable(value):
                value = await value
            if self.collected_errors.errors:
                raise _UndoneError
            await self._record(self.context_value)
        if place is not None:
            self.kept[place] = asked, value
        return value

    def _asked(
        self, part: tuple[int, int], parent_type: GraphQLObjectType, details: FieldDetailsList
    ) -> tuple[Any, Any]:
        """Where the answer is kept, if there is a key, and what for."""
        node = details[0].node
        field = self.schema.get_field(parent_type, node.name.value)
        assert field is not None
        try:
            given = get_argument_values(field, node, self.variable_values)
        except Exception:  # noqa: BLE001 - the field says so
            return None, None
        key = given.pop("idempotencyKey", None)
        if key is not None:
            checked(key)
            part = 0, 1
        elif self._key is None or not field.args:
            return None, None
        selected = "".join(print_ast(one.node.selection_set) for one in details if one.node.selection_set)
        for _ in self.fragment_definitions:  # which may spread one another
            spread = [one for one in self.fragment_definitions.values() if f"...{one.name.value}\n" in selected]
            selected += "".join(text for one in spread if (text := print_ast(one)) not in selected)
        used = {
            name: value for name, value in self.variable_values.coerced.items() if re.search(rf"\${name}\b", selected)
        }
        asked = repr((part, node.name.value, given, selected, used))
        return (self._caller.key_id, key or self._key, part[0]), asked

    async def _nothing(self) -> None:
        pass


@dataclass
class Side:
    """One of two tenants that have the same, with what stands for its ids in what both are sent."""

    tenant: Tenant
    callers: Mapping[str, Caller]
    ids: Mapping[str, str]

    async def send(self, document: "Document") -> httpx.Response:
        body = orjson.dumps({"query": document.query, "variables": document.variables}).decode()
        for name, id_ in self.ids.items():
            body = body.replace(f"<{name}>", id_)
        caller = self.callers[document.caller]
        headers = {**caller.headers, **document.headers, "Content-Type": "application/json"}
        return await caller.http.post("/graphql", content=body, headers=headers)

    def comparable(self, answer: httpx.Response) -> str:
        content, _, _ = answer.text.partition(',"extensions":{"cost"')
        found = answer.json()
        if "errors" in found:
            found.pop("extensions", None)
            for error in found["errors"]:
                error["extensions"].pop("requestId", None)
            found["errors"].sort(key=orjson.dumps)
            content = orjson.dumps(found).decode()
        return f"{answer.status_code} {blurred(content, self.tenant.slug)}"

    async def rows(self) -> list[str]:
        return blurred(await rows_of(self.tenant), self.tenant.slug).split("\n")

    async def forget(self) -> None:
        """What a worker would try to end."""
        for table in ("uploads", "syncs", "drift_reports", "deletions"):
            await database.execute(f"DELETE FROM {table} WHERE tenant_id = $1", self.tenant.id)


async def side(http: httpx.AsyncClient) -> Side:
    tenant = await Tenant.create(slug=f"t-{secrets.token_hex(6)}", quota_objects=9, quota_bytes=10_000_000)
    callers, first = {}, 10**17 + secrets.randbelow(10**17)  # whose places in a text are as long
    for number, name in enumerate(("admin", "editor", "target")):
        user = await User.create(
            id=first + number, tenant=tenant, name=name, role=Role.ADMIN if name == "admin" else Role.MEMBER
        )
        callers[name] = Caller(http, tenant, user, await create_key(user, name))
    admin = callers["admin"]
    made = await admin.create_batch("b", {"o": [("k", "v"), ("k", "2")], "p": [("k", "v")], "q": [], "r": [("l", "v")]})
    await admin.create_batch("empty")
    await admin.create_batch("sealed", {"s": []})
    await stored(admin, b"bytes", "done")
    due, waiting = await announced(admin, b"other", "due"), await announced(admin, b"never", "waiting")
    assert await put(due, b"other") == 200
    failed = await failed_sync(admin)
    users = {name: global_id("User", one.user.id) for name, one in callers.items()}
    await admin.execute(
        """mutation($editor: ID!, $target: ID!) {
          a: grantAccess(input: {userId: $editor, level: EDIT, batchId: "b"}) { grant { id } }
          b: grantAccess(input: {userId: $target, level: VIEW, objectId: "done"}) { grant { id } }
          sealBatch(input: {batchId: "sealed"}) { batch { id } } }""",
        editor=users["editor"],
        target=users["target"],
    )
    ids = {f"user {name}": id_ for name, id_ in users.items()} | {
        f"object {one['objectId']}": one["id"] for one in made["objects"]
    }
    ids |= {"due": due["id"], "waiting": waiting["id"], "failed": global_id("Sync", failed)}
    ids |= {"version": made["objects"][0]["updatedAt"], "key": callers["target"].key.split("_")[1], "slug": tenant.slug}
    return Side(tenant, callers, ids)


BATCHES = ['"b"', '"empty"', '"b"', '"batch of due"', '"batch of waiting"', '"new1"', '"sealed"']
OBJECTS = ['"o"', '"p"', '"q"', '"r"', '"due"', '"waiting"', '"done"', '"new1"', '"s"', '"missing"']
USERS = ['"<user target>"', '"<user editor>"', '"<user target>"', '"<user admin>"', '"<object o>"']
UPLOADS = ['"<due>"', '"<waiting>"', '"<user target>"']
KNOWN: Known = {  # the last of each is seldom right, and seldom taken
    "batchId": BATCHES,
    "objectId": OBJECTS,
    "objectIds": OBJECTS,
    "CreateBatchInput.batchId": ['"new1"', '"new2"', '"new3"', '"new4"', '"b"'],
    "ObjectInput.objectId": ['"new1"', '"new2"', '"new3"', '"new4"', '"new5"', '"new6"', '"o"'],
    "userId": USERS,
    "userName": ['"target"', '"editor"', '"missing"'],
    "uploadId": UPLOADS,
    "uploadIds": UPLOADS,
    "syncIds": ['"<failed>"', '"<user target>"'],
    "keyId": ['"<key>"', '"missing"'],
    "slug": ['"<slug>"', '"missing"'],
    "SyncFileInput.batchId": ['"b"', '"b"', '"missing"'],
    "SyncFileInput.objectId": ['"o"', '"p"', '"new7"', '"new8"', '"done"'],
    "SyncLocationInput.role": ["null", "null", '"x"'],
    "source": ['"photos"', '"missing"'],
    "name": ['"photos"', '"photos"', '"other"', '"a/b"'],
    "bucket": [f'"{BUCKETS[0]}"', '"hidden"'],
    "prefix": ['"{oeid}/"', '""', '"{wrong}"'],
    "endpoint": ["null", '"http://127.0.0.1:1"'],
    "region": ["null", '"us-east-1"', '""'],
    "profile": ["null", '"none"'],
    "directory": ['"photos"', '"other"', '"../x"'],
    "fileName": ['"a.jpg"', '"b.jpg"', '"a/b"'],
    "fileType": ['"image/jpeg"', '"wrong"'],
    "contentType": ['"text/plain"', '"image/png"', '"wrong"'],
    "sha256": [f'"{"0f" * 32}"', "null", '"0f"'],
    "size": ["5", "0", '"6000000"', "5000000", "1000000000000000"],
    "key": ['"k"', '"l"', '""'],
    "value": ['"v"', '"2"', '"w"'],
    "unset": ['"m"', '"l"', '"k"'],
    "ifUpdatedAt": ['"<version>"', '"2026-01-01T00:00:00Z"', '"yesterday"'],
    "number": ["1", "2", "0"],
    "expiresIn": ["60", "600", "0"],
    "overlap": ["0", "60", "-1"],
    "formerValidFor": ["0", "60", "-1"],
    "concurrency": ["1", "2", "0"],
    "first": ["1", "2", "0"],
    "last": ["1", "2", "0"],
    "after": ["null", '"x"'],
    "before": ["null", '"x"'],
    "width": ["64", "128", "1"],
    "ObjectWhere": ['{data: [{key: "k", value: {eq: "v"}}]}', '{not: {batchId: "b"}}', "{}", "{data: [{}]}"],
    "idempotencyKey": ["null", "null", '"again"', '""'],
}


class Document(NamedTuple):
    caller: str
    query: str
    variables: dict[str, Any]
    headers: dict[str, str]
    fields: dict[str, str]  # by their names in the answer


def said(query: str, **headers: str) -> Document:
    fields = dict(re.findall(r"(m\d): (\w+)", query))
    return Document("admin", query, {}, headers, fields)


FILE = '{name: "a", contentType: "a/b", size: 1}'
CHANGE = (
    'mutation { m0: updateObjectData(input: {objectId: "p", set: {key: "k", value: "%s"}}) { object { objectId } } }'
)
SAID = [
    # An error that leaves the payload standing undoes the mutation; those before it stay, those after it are not begun.
    said(
        """mutation { m0: createUser(input: {name: "below"}) { user { name } }
        m1: createObjects(input: {batchId: "b", objects: [{objectId: "below", file: FILE}]}) { objects { file {
        access { url } } } } m2: revokeKey(input: {keyId: "<key>"}) { key { id } } }""".replace("FILE", FILE)
    ),
    # What is given out is written down.
    said(
        f'mutation {{ m0: createUploads(input: {{files: {{objectId: "p", file: {FILE}}}}}) {{ uploads {{ url }} }} }}'
    ),
    # The same key, for the same and for something else.
    said(CHANGE % "one", **{"Idempotency-Key": "said"}),
    said(CHANGE % "one", **{"Idempotency-Key": "said"}),
    said(CHANGE % "two", **{"Idempotency-Key": "said"}),
]


def documents(chance: random.Random, seen: Container[str]) -> Iterator[Document]:
    """Endless; some are sent twice, and those that were not ``seen`` to succeed are tried more often."""
    drawn, left = Drawn(chance, KNOWN), list[str]()
    while True:
        fields = {}
        for number in range(chance.choice([1, 1, 1, 2, 3, 5])):
            if not left:
                left = [*MUTATIONS, chance.choice(OF_OPERATORS), *(one for one in MUTATIONS if one not in seen)]
                chance.shuffle(left)
            fields[f"m{number}"] = left.pop()
        query, variables = written(drawn.operation(fields), chance, {})
        caller = chance.choice(["admin", "admin", "admin", "admin", "editor"])
        headers = {"Idempotency-Key": str(chance.randrange(20))} if chance.random() < 0.4 else {}
        document = Document(caller, query, variables, headers, fields)
        yield document
        if chance.random() < 0.3:
            yield document
        if headers and chance.random() < 0.3:
            yield document._replace(query=other(query), variables=orjson.loads(other(orjson.dumps(variables).decode())))


def other(text: str) -> str:
    """The same of other things."""
    for one, another in ((BATCHES[0], BATCHES[1]), (OBJECTS[0], OBJECTS[1]), ('"new1"', '"new4"'), ('"v"', '"w"')):
        text = text.replace(one, another)
    return text


async def test_any_mutations_are_answered_and_done_as_by_graphql_core(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(1)
    seen: Counter[str] = Counter()
    for _ in range(ROUNDS):
        *ours, theirs = sides = [await side(http) for _ in range(3)]
        before = None
        for document in (*SAID, *islice(documents(chance, seen), DOCUMENTS)):
            answers = await asyncio.gather(*(one.send(document) for one in ours))
            with stock(monkeypatch, StockOfMutations):
                answer = await theirs.send(document._replace(query=f"{document.query} # stock"))
            expected, rows = theirs.comparable(answer), await theirs.rows()
            for one, other in zip(ours, answers, strict=True):
                assert one.comparable(other) == expected, document
                assert await one.rows() == rows, document
            errors, data = answer.json().get("errors", []), answer.json().get("data") or {}
            seen.update(document.fields[name] for name in data if name in document.fields)
            seen.update(error["extensions"]["code"] for error in errors)
            seen.update(sign for sign in SIGNS if sign in document.query)
            seen["again"] += document == before and bool(document.headers) and not errors and bool(data)
            before = document
        for one in sides:
            await one.forget()
    # Lest one of these be tried no more.
    assert min(seen[kind] for kind in KINDS) > 0, seen
    assert len(set(MUTATIONS) - set(seen)) < len(MUTATIONS) / 4, seen
