"""Pages over HTTP: Waybill beside PostGraphile, the idiomatic Python stack and the bare limit, on the same rows.

    make bench

One process each, one PostgreSQL, the load from wrk; the peers take turns within each round. Medians of all rounds.

The same page is asked for again and again, so that its URLs are those that were given before; "cold" is Waybill that
remembers none of them, so that each is signed, and written down in the audit log, each time.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import orjson

from bench import data
from bench.load import Load, Request, measure
from waybill import postgres

_HERE = Path(__file__).parent
_NODE = _HERE / "peers" / "postgraphile"
_START_SECONDS = 60


def _page(field: str, node: str) -> str:
    info = "hasNextPage hasPreviousPage startCursor endCursor"
    return f"{field} {{ edges {{ cursor node {{ {node} }} }} pageInfo {{ {info} }} }}"


_OWN = "id objectId createdAt data { key value }"
_THEIRS = "id objectId updatedAt data"
_FILE = "file { access { url } }"
_ALL = "allObjects(first: $n, condition: {tenantId: $t}, orderBy: ROW_ID_DESC)"
_BY_ID = "objectByTenantIdAndObjectId(objectId: $n, tenantId: $t)"
WAYBILL = {
    "page": f"query ($n: Int!) {{ {_page('objects(first: $n)', _OWN)} }}",
    "batch": f"query ($n: Int!) {{ {_page('objects(first: $n)', f'{_OWN} batch {{ batchId }} {_FILE}')} }}",
    "one": f"query ($n: String!) {{ object(objectId: $n) {{ {_OWN} }} }}",
}
STOCK = WAYBILL | {"batch": WAYBILL["batch"].replace(_FILE, "")}
POSTGRAPHILE = {
    "page": f"query ($n: Int!, $t: BigInt!) {{ {_page(_ALL, _THEIRS)} }}",
    "batch": f"query ($n: Int!, $t: BigInt!) {{ {_page(_ALL, f'{_THEIRS} batchByTenantIdAndBatchPk {{ batchId }}')} }}",
    "one": f"query ($n: String!, $t: BigInt!) {{ {_BY_ID} {{ {_THEIRS} }} }}",
}


class Case(NamedTuple):
    what: str
    value: int | str
    connections: int

    def __str__(self) -> str:
        return f"{self.what} {self.value}, {self.connections} at once"


CASES = [Case(what, n, c) for what in ("page", "batch") for n in (10, 100) for c in (1, 16)] + [
    Case("one", "object 4711", c) for c in (1, 16)
]


class Peer(NamedTuple):
    name: str
    command: list[str]
    directory: Path
    environment: dict[str, str]
    path: str
    queries: dict[str, str]  # none: what is asked for is named
    headers: dict[str, str]
    variables: dict[str, object]
    cases: tuple[str, ...] = ("page", "batch", "one")

    def request(self, port: int, case: Case) -> Request:
        url = f"http://127.0.0.1:{port}{self.path}"
        if not self.queries:
            return Request(url, {"what": case.what, "value": case.value}, {})
        body = {"query": self.queries[case.what], "variables": {"n": case.value, **self.variables}}
        return Request(url, body, self.headers)


def peers(url: str, key: str, tenant_id: int) -> list[Peer]:
    python, root = sys.executable, _HERE.parent
    database = {"DATABASE_URL": url}
    own = {
        "WAYBILL_DATABASE_URL": url,
        "WAYBILL_RATE_LIMIT_KEY_POINTS": "2000000000",
        "WAYBILL_RATE_LIMIT_TENANT_POINTS": "2000000000",
        "WAYBILL_LOG_LEVEL": "WARNING",
        "WAYBILL_S3_BUCKETS": "bench",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
    }
    node = [str(_NODE / "node_modules" / ".bin" / "node"), "server.mjs"]
    limit, stock = [python, "-m", "bench.peers.limit"], [python, "-W", "ignore", "-m", "bench.peers.stock"]
    waybill = [str(Path(python).with_name("waybill")), "serve"]
    headers = {"Authorization": f"Bearer {key}"}
    return [
        Peer("waybill", waybill, root, own, "/graphql", WAYBILL, headers, {}),
        Peer("cold", [python, "-m", "bench.peers.forgetful"], root, own, "/graphql", WAYBILL, headers, {}, ("batch",)),
        Peer("limit", limit, root, database, "/graphql", {}, {}, {}),
        Peer("postgraphile", node, _NODE, database, "/graphql", POSTGRAPHILE, {}, {"t": str(tenant_id)}),
        Peer("stock", stock, root, database, "/graphql/", STOCK, {}, {}),
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
    results: Results = {case: {peer.name: [] for peer in found} for case in cases}
    with contextlib.ExitStack() as stack:
        ports = {peer.name: stack.enter_context(running(peer)) for peer in found}
        for peer in found:
            for case in [case for case in cases if case.what in peer.cases]:
                measure(peer.request(ports[peer.name], case), case.connections, 1)  # warms up
        for number in range(count):
            for case in cases:
                turn = number % len(found)
                for peer in [one for one in found[turn:] + found[:turn] if case.what in one.cases]:
                    load = measure(peer.request(ports[peer.name], case), case.connections, seconds)
                    results[case][peer.name].append(load)
                shown = {name: round(loads[-1].per_second) for name, loads in results[case].items() if loads}
                print(f"round {number + 1}: {case}: {shown}", flush=True)
    return results


def table(results: Results) -> str:
    names = list(next(iter(results.values())))
    lines = [f"| work | {' | '.join(names)} | to PostGraphile | to the limit |", f"|{' --- |' * (len(names) + 3)}"]
    for case, of in results.items():
        middle = {name: statistics.median(load.per_second for load in loads) for name, loads in of.items() if loads}
        cells = [f"{middle[name]:,.0f}" if name in middle else "" for name in names]
        ratios = [
            f"{middle['waybill'] / middle[name]:.2f}" if name in middle else "" for name in ("postgraphile", "limit")
        ]
        lines.append(f"| {case} | {' | '.join(cells + ratios)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--only", default="", help="peers, comma separated")
    parser.add_argument("--cases", default="", help="page, batch, one")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with postgres.running(chosen.data_dir) as url:
        key, tenant_id = asyncio.run(data.prepare(url, chosen.objects))
        wanted = [one for one in peers(url, key, tenant_id) if not chosen.only or one.name in chosen.only.split(",")]
        cases = [case for case in CASES if not chosen.cases or case.what in chosen.cases.split(",")]
        results = rounds(wanted, cases, chosen.rounds, chosen.seconds)
    if "waybill" in chosen.only or not chosen.only:
        print(table(results))
    if chosen.json:
        chosen.json.write_bytes(orjson.dumps({str(case): of for case, of in results.items()}))


if __name__ == "__main__":
    main()
