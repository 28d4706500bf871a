"""Many requests on one connection: each is what its own head says, and is answered in its turn."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graph.transport import GRAPHQL_RESPONSE
from tests.access.test_matrix import operator_key
from tests.conftest import Caller, NewCaller

JSON = "application/json"
VIEWER = "{ viewer { tenant { slug } } }"
MAKE = "mutation($id: String!) { createBatch(input: {batchId: $id}) { batch { id } } }"
WITHIN = "query($id: String!) { batch(batchId: $id) { batchId objects { totalCount } } }"


class Asked(NamedTuple):
    path: str  # /graphql, or one that nobody has to have a key for
    method: str
    makes: bool  # a batch, which is the same for all of a connection
    who: str | None
    tenant: str | None
    accept: str | None
    content_type: str | None
    request_id: str | None
    key: str | None
    chunks: Sequence[int]  # lengths of the first ones; none where the length is declared
    upper: bool  # how the names of headers are written


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: Any


class Connection:
    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()
        self._socket.close()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._socket.sendall(piece)

    def answer(self) -> Answer:
        _, status, _ = self._reader.readline().split(b" ", 2)
        headers: dict[str, str] = {}
        while line := self._reader.readline().strip():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return Answer(int(status), headers, orjson.loads(self._reader.read(int(headers["content-length"]))))

    def is_over(self) -> bool:
        return not self._reader.read(1)


def head(method: str, target: str, headers: Mapping[str, str | None], *, upper: bool = False) -> bytes:
    lines = [f"{name.upper() if upper else name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"{method} {target} HTTP/1.1", "Host: waybill.test", *lines, "", ""]).encode()


def posted(caller: Caller, query: str, **variables: object) -> bytes:
    body = orjson.dumps({"query": query, "variables": variables})
    return head("POST", "/graphql", caller.headers | {"Content-Type": JSON, "Content-Length": str(len(body))}) + body


class World(NamedTuple):
    keys: Mapping[str, str]
    slugs: Mapping[str, str]

    def request(self, asked: Asked, batch_id: str) -> bytes:
        operation = {"query": MAKE, "variables": {"id": batch_id}} if asked.makes else {"query": VIEWER}
        body = orjson.dumps(operation)
        headers = {
            "Authorization": asked.who and f"Bearer {self.keys[asked.who]}",
            "Accept": asked.accept,
            "Waybill-Tenant": asked.tenant and self.slugs[asked.tenant],
            "X-Request-Id": asked.request_id,
            "Idempotency-Key": asked.key and f"{asked.key} of {batch_id}",
        }
        if asked.method == "GET":
            target = f"/graphql?query={quote(VIEWER)}" if asked.path == "/graphql" else asked.path
            return head("GET", target, headers, upper=asked.upper)
        headers["Content-Type"] = asked.content_type
        if not asked.chunks:
            headers["Content-Length"] = str(len(body))
            return head("POST", asked.path, headers, upper=asked.upper) + body
        headers["Transfer-Encoding"] = "chunked"
        sent = head("POST", asked.path, headers, upper=asked.upper)
        for length in (*asked.chunks, len(body)):
            if chunk := body[:length]:
                sent += b"%x\r\n%b\r\n" % (len(chunk), chunk)
            body = body[length:]
        return sent + b"0\r\n\r\n"


class Expected:
    """What each request of a connection is answered, one after the other."""

    def __init__(self, slugs: Mapping[str, str]) -> None:
        self._slugs = slugs
        self._made: set[str] = set()  # by whom there is the batch: their tenants
        self._kept: dict[object, Any] = {}

    def check(self, asked: Asked, answer: Answer) -> None:
        media_type = asked.accept if asked.accept == GRAPHQL_RESPONSE else JSON
        status, expected = self._answer(asked, answer)
        if asked.path == "/graphql":
            assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"
        found = answer.content.get("data")
        if "errors" in answer.content:
            [error] = answer.content["errors"]
            found = error["extensions"]["code"]
        assert (answer.status, found) == (status, expected)
        if asked.request_id == "short" or asked.request_id is None:
            assert len(answer.headers["x-request-id"]) == 16
        else:
            assert answer.headers["x-request-id"] == asked.request_id

    def _answer(self, asked: Asked, answer: Answer) -> tuple[int, Any]:
        if asked.path == "/healthz":
            return (200, None) if asked.method == "GET" else (405, "BAD_REQUEST")
        if asked.path != "/graphql":
            return 404, "BAD_REQUEST"
        if asked.accept == "text/plain":
            return 406, "BAD_REQUEST"
        if asked.who in (None, "nobody"):
            return 401, "UNAUTHENTICATED"
        tenant = asked.who if asked.who != "operator" else asked.tenant
        if asked.tenant not in (None, tenant):
            return 400, "FORBIDDEN"
        if asked.method == "POST" and asked.content_type in (None, "text/plain"):
            return 415, "BAD_REQUEST"
        if tenant is None:
            return 200, "FORBIDDEN"
        if not asked.makes or asked.method == "GET":
            return 200, {"viewer": {"tenant": {"slug": self._slugs[tenant]}}}
        place = asked.who, tenant, asked.key
        if place in self._kept:
            return 200, self._kept[place]
        if tenant in self._made:
            return 200, "ALREADY_EXISTS"
        self._made.add(tenant)
        if asked.key is not None:
            self._kept[place] = answer.content["data"]
        return 200, answer.content["data"]


asking = st.builds(
    Asked,
    path=st.sampled_from(["/graphql"] * 8 + ["/healthz", "/nowhere"]),
    method=st.sampled_from(["POST", "POST", "POST", "GET"]),
    makes=st.booleans(),
    who=st.sampled_from(["alice", "alice", "bob", "bob", "operator", "nobody", None]),
    tenant=st.sampled_from([None, None, "alice", "bob"]),
    accept=st.sampled_from([None, JSON, GRAPHQL_RESPONSE, "text/plain"]),
    content_type=st.sampled_from([JSON, JSON, f"{JSON};charset=UTF-8", "text/plain", None]),
    request_id=st.sampled_from([None, "a-client.s_id", "another-client-s", "short"]),
    key=st.sampled_from([None, "k", "l"]),
    chunks=st.lists(st.integers(1, 60), max_size=3),
    upper=st.booleans(),
)


async def test_every_request_of_a_connection_is_read_by_its_own_head_however_it_arrives(
    service_url: str, new_caller: NewCaller
) -> None:
    alice, bob = await new_caller(), await new_caller()
    keys = {"alice": alice.key, "bob": bob.key, "operator": await operator_key(), "nobody": f"{alice.key[:-1]}x"}
    world = World(keys, {"alice": alice.tenant.slug, "bob": bob.tenant.slug})
    numbers = count()

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(asking, min_size=1, max_size=8), st.lists(st.integers(0, 3_000), max_size=6), st.booleans())
    def holds(each: list[Asked], cuts: list[int], pipelined: bool) -> None:
        batch_id = f"batch {next(numbers)}"
        expected, sent = Expected(world.slugs), [world.request(asked, batch_id) for asked in each]
        with Connection(service_url) as connection:
            if pipelined:
                whole, places = b"".join(sent), sorted({0, *cuts})
                ends = [*places[1:], len(whole)]
                connection.send(*(whole[begin:end] for begin, end in zip(places, ends, strict=True)))
            for asked, request in zip(each, sent, strict=True):
                if not pipelined:
                    connection.send(*(request[begin : begin + 40] for begin in range(0, len(request), 40)))
                expected.check(asked, connection.answer())
            connection.send(head("GET", "/healthz", {"Connection": "close"}))
            assert connection.answer().status == 200
            assert connection.is_over()

    await asyncio.to_thread(holds)


async def test_of_two_requests_sent_at_once_the_second_is_begun_when_the_first_is_done(
    service_url: str, admin: Caller
) -> None:
    objects = [{"objectId": f"o{number}"} for number in range(2_000)]
    make = MAKE.replace("$id: String!", "$id: String!, $objects: [ObjectInput!]")
    make = make.replace("batchId: $id", "batchId: $id, objects: $objects")

    def ask() -> list[Answer]:
        with Connection(service_url) as connection:
            connection.send(posted(admin, make, id="b", objects=objects) + posted(admin, WITHIN, id="b"))
            return [connection.answer(), connection.answer()]

    made, read = await asyncio.to_thread(ask)
    assert made.content["data"]["createBatch"]["batch"]["id"]
    assert read.content["data"]["batch"] == {"batchId": "b", "objects": {"totalCount": 2_000}}
