"""`waybill serve` from its start to the first answer, and the memory that it holds then.

    make bench

PostgreSQL runs already; the first answer is to a query with a key, so that it has read from it. Medians of all rounds.
"""

import argparse
import asyncio
import statistics
import time
from pathlib import Path

import orjson

from bench.serving import member, processor_seconds, serving
from models import database
from waybill import postgres

_QUERY = orjson.dumps({"query": "{ viewer { tenant { slug } } objects(first: 1) { nodes { objectId } } }"})
_IDLE_SECONDS = 5


def resident_mb(process: int) -> float:
    [line] = [one for one in Path(f"/proc/{process}/status").read_text().splitlines() if one.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024 / 1e6


def main(url: str, rounds: int) -> str:
    key = asyncio.run(_prepared(url))
    figures: dict[str, list[float]] = {}
    for _ in range(rounds):
        with serving(url, key, _QUERY) as service:
            taken = {
                "first answer, s": service.answered_after,
                "of which processor, s": processor_seconds(service.process),
                "resident then, MB": resident_mb(service.process),
            }
            time.sleep(_IDLE_SECONDS)
            taken[f"after {_IDLE_SECONDS} s of nothing, MB"] = resident_mb(service.process)
        for name, value in taken.items():
            figures.setdefault(name, []).append(value)
        print(taken, flush=True)
    lines = ["| what | median | from | to |", "| --- | --- | --- | --- |"]
    for name, values in figures.items():
        cells = [f"{one:.2f}" for one in (statistics.median(values), min(values), max(values))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


async def _prepared(url: str) -> str:
    await database.migrate(url)
    return (await member(url, "bench-start")).key


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with postgres.running(chosen.data_dir) as found:
        print(main(found, chosen.rounds))
