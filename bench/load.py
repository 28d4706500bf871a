"""Requests sent again and again by wrk, which is faster than anything it measures."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson

_SCRIPT = """
wrk.method = "POST"
wrk.body = [==[{body}]==]
{headers}
local others = {{{others}}}
if #others > 0 then
  request = function() return wrk.format(nil, nil, nil, others[math.random(#others)]) end
end
done = function(summary, latency, requests)
  io.write(string.format("requests %d seconds %f p50 %f p99 %f errors %d\\n", summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
    + summary.errors.timeout))
end
"""


class Request(NamedTuple):
    url: str
    body: Mapping[str, object]
    headers: dict[str, str]
    others: Sequence[Mapping[str, object]] = ()  # bodies, of which each request has any instead


class Load(NamedTuple):
    per_second: float
    p50_ms: float
    p99_ms: float


def measure(request: Request, connections: int, seconds: int) -> Load:
    """Raises RuntimeError where a request failed, for then nothing was measured."""
    if (wrk := shutil.which("wrk")) is None:
        raise SystemExit("this needs wrk: apt-get install wrk")
    headers = {"Content-Type": "application/json", **request.headers}
    lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "request.lua"
        body, *others = (orjson.dumps(one).decode() for one in (request.body, *request.others))
        listed = ",".join(f"[==[{one}]==]" for one in others)
        script.write_text(_SCRIPT.format(body=body, headers=lines, others=listed))
        command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script), request.url]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"requests (\d+) seconds (\S+) p50 (\S+) p99 (\S+) errors (\d+)", said)
    if found is None or found[5] != "0":
        raise RuntimeError(f"{request.url}: {said}")
    return Load(int(found[1]) / float(found[2]), float(found[3]), float(found[4]))
