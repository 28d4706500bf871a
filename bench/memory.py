"""Whether the memory of a service stays flat: 100,000 requests of all kinds over HTTP, and what it takes meanwhile.

    .venv/bin/python -m bench.memory

One `waybill serve` on a PostgreSQL of its own. Its resident memory is looked at every 5,000 requests; where it grows by
more than 7 MB from the 40,000th, when its caches are full, to the last, this ends with 1. Linux only.
"""

import argparse
import asyncio
import contextlib
import os
import random
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import NamedTuple

import orjson

from bench import data, pages
from bench.pages import WAYBILL, Peer
from waybill import postgres

_OBJECTS = 20_000
_EVERY = 5_000
_FULL = 40_000  # requests after which caches are full
_MOST_GROWTH_MB = 7
_AT_ONCE = 8

_CREATE = """mutation ($input: CreateBatchInput!) { createBatch(input: $input) { batch { id } objects { id } } }"""
_UPDATE = """mutation ($id: String!, $set: [DatumInput!]!) {
  updateObjectData(input: {objectId: $id, set: $set}) { object { id data { key value } } } }"""
_DELETE = """mutation ($id: String!) { deleteBatch(input: {batchId: $id, cascade: true}) { deletedBatchId } }"""
_FILTERED = """query ($where: ObjectWhere!) { objects(first: 10, where: $where) {
  edges { cursor node { id data { key value } } } } }"""


class Sent(NamedTuple):
    kind: str
    body: bytes
    key: str | None = None  # instead of the right one


def _operation(kind: str, query: str, **variables: object) -> Sent:
    return Sent(kind, orjson.dumps({"query": query, "variables": variables}))


def _word(some: random.Random) -> str:
    return "".join(some.choices(string.ascii_lowercase, k=12))


def _filter(some: random.Random) -> dict[str, object]:
    number = some.randrange(_OBJECTS)
    pair = some.choice(
        (
            {"key": "shelf", "value": {"eq": f"shelf {number % 1000}"}},
            {"key": "number", "value": {"gte": number}},
            {"key": "number", "value": {"startsWith": str(number)}},
            {"key": "colour", "value": {"in": [f"colour {number % 10}", _word(some)]}},
            {"value": {"eq": _word(some)}},
        )
    )
    return {"data": [pair]} if number % 3 else {"or": [{"data": [pair]}, {"objectIds": [f"object {number}"]}]}


def _bad(some: random.Random) -> Sent:
    word = _word(some)
    return some.choice(
        (
            Sent("bad", word.encode()),
            Sent(
                "bad", orjson.dumps({"query": "{ viewer { access } }"}), key=f"wb_{some.getrandbits(64):016x}_{0:064x}"
            ),
            _operation("bad", f"{{ {word} }}"),
            _operation("bad", f"{{ objects(first: {word}"),
            _operation("bad", WAYBILL["page"], n=word),
            _operation("bad", WAYBILL["page"], n=1_000_000),
            _operation("bad", WAYBILL["one"], n=word),
            _operation("bad", _DELETE, id=word),
        )
    )


def request(number: int) -> Sent:
    """The one of this number, the same in each run."""
    some = random.Random(number)  # noqa: S311 - for no secrets
    match some.choices(
        ("page", "one", "filter", "document", "create", "update", "delete", "bad"), (5, 5, 4, 2, 2, 1, 1, 1)
    ):
        case ["page"]:
            return _operation("page", WAYBILL["page"], n=some.randint(1, 100))
        case ["one"]:
            return _operation("one", WAYBILL["one"], n=f"object {some.randrange(_OBJECTS)}")
        case ["filter"]:
            return _operation("filter", _FILTERED, where=_filter(some))
        case ["document"]:
            page = f"objects(first: {some.randint(1, 20)}) {{ nodes {{ objectId }} }}"
            query = f"query {_word(some)} {{ {_word(some)}: {page} }}"
            return _operation("document", query)
        case ["create"]:
            objects = [
                {"objectId": f"new {number} {n}", "data": [{"key": _word(some), "value": "v"}]} for n in range(3)
            ]
            return _operation("create", _CREATE, input={"batchId": f"new {number}", "objects": objects})
        case ["update"]:
            pair = {"key": "note", "value": _word(some)}
            return _operation("update", _UPDATE, id=f"object {some.randrange(_OBJECTS)}", set=[pair])
        case ["delete"]:
            return _operation("delete", _DELETE, id=f"new {some.randrange(max(1, number - 1_000), number + 1)}")
        case _:
            return _bad(some)


class Client:
    """Sends from a few threads, each over a connection of its own."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._own = threading.local()

    def send(self, number: int) -> None:
        """Raises RuntimeError where it is not answered as requests are."""
        sent = request(number)
        connection: HTTPConnection = vars(self._own).setdefault("connection", HTTPConnection("127.0.0.1", self._port))
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {sent.key or self._key}"}
        connection.request("POST", "/graphql", sent.body, headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 500 or (sent.kind in WAYBILL and (answer.status != 200 or b'"errors"' in content)):
            raise RuntimeError(f"{answer.status} for {sent}: {content[:500]!r}")


@contextlib.contextmanager
def _served(peer: Peer) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The process and its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | peer.environment | {"WAYBILL_RATE_LIMIT_FAILED_LOGINS": "1000000"}
    process = subprocess.Popen([*peer.command, "--port", str(port)], cwd=peer.directory, env=environment)
    try:
        _wait(port)
        yield process, port
    finally:
        process.terminate()
        process.wait()


def _wait(port: int) -> None:
    for _ in range(600):
        with contextlib.suppress(OSError):
            connection = HTTPConnection("127.0.0.1", port)
            connection.request("GET", "/readyz")
            if connection.getresponse().status in (200, 503):  # S3 is not there
                return
        time.sleep(0.1)
    raise SystemExit("the service did not start")


def _resident_mb(process: int) -> float:
    [line] = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


def measured(requests: int) -> dict[int, float]:
    """MB by the number of requests."""
    found: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)  # PostgreSQL's user, where this is root, has to enter it
        with postgres.running(Path(directory, "data"), durable=False) as url:
            key, tenant_id = asyncio.run(data.prepare(url, _OBJECTS))
            peer = pages.peers(url, key, tenant_id)[0]
            with _served(peer) as (process, port), ThreadPoolExecutor(_AT_ONCE) as threads:
                client = Client(port, key)
                for first in range(0, requests, _EVERY):
                    for _ in threads.map(client.send, range(first, first + _EVERY)):
                        pass
                    found[first + _EVERY] = _resident_mb(process.pid)
                    print(f"{first + _EVERY:,} requests: {found[first + _EVERY]:.1f} MB", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    found = measured(chosen.requests)
    growth = found[chosen.requests] - found[_FULL]
    print(f"{growth:+.1f} MB from {_FULL:,} to {chosen.requests:,} requests")
    if chosen.json:
        figures = {f"after {number:,} requests": mb for number, mb in found.items()} | {"growth": growth}
        listed = [
            {"work": work, "peer": "waybill", "figure": mb, "unit": "MB", "spread": [mb, mb]}
            for work, mb in figures.items()
        ]
        chosen.json.write_bytes(orjson.dumps(listed))
    sys.exit(growth > _MOST_GROWTH_MB)


if __name__ == "__main__":
    main()
