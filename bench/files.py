"""Files up and down: `waybill upload` and `download` beside `aws s3 cp --recursive`, on one S3 server in one run.

    .venv/bin/python bench/files.py [ROUNDS] [DIRECTORY]

needs `aws` (pip install awscli, in an environment of its own). The directory is Python's standard library without
site-packages unless another is given. Everything is compared afterwards with `diff -r`.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from waybill import seaweedfs

WAYBILL = str(Path(sys.executable).with_name("waybill"))
DELETE = 'mutation { deleteBatch(input: {batchId: "bench", cascade: true}) { deletedObjectCount } }'


def timed(*command: str, **environment: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=os.environ | environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main(rounds: int, source: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="waybill-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        data = directory / "data"
        command = [WAYBILL, "dev", "--data-dir", str(data), "--port", "0"]
        dev = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert dev.stdout is not None
        url = dev.stdout.readline().split()[-1]
        key = dev.stdout.readline().split()[2]
        mine = {"WAYBILL_URL": url, "WAYBILL_API_KEY": key}
        results: dict[str, list[float]] = {}
        try:
            with seaweedfs.Server(data) as s3:
                aws = {
                    "AWS_ACCESS_KEY_ID": s3.credentials.access_key,
                    "AWS_SECRET_ACCESS_KEY": s3.credentials.secret_key,
                    "AWS_DEFAULT_REGION": seaweedfs.REGION,
                }
                copy = ["aws", "--endpoint-url", s3.url, "s3", "cp", "--recursive", "--quiet"]
                for number in range(rounds):
                    place = f"s3://{seaweedfs.BUCKET}/bench{number}/"
                    down = {who: directory / f"{who}{number}" for who in ("waybill", "aws")}
                    steps = {
                        "waybill up": ([WAYBILL, "upload", str(source), "--batch", "bench"], mine),
                        "aws up": ([*copy, str(source), place], aws),
                        "waybill down": ([WAYBILL, "download", "--batch", "bench", str(down["waybill"])], mine),
                        "aws down": ([*copy, place, str(down["aws"])], aws),
                    }
                    for what, (command, environment) in steps.items():
                        results.setdefault(what, []).append(timed(*command, **environment))
                        print(f"{what}: {results[what][-1]:.1f} s", flush=True)
                    subprocess.run(["diff", "-r", str(source), str(down["waybill"])], check=True)
                    shutil.rmtree(down["waybill"])
                    headers = {"Authorization": f"Bearer {key}"}
                    httpx.post(url, json={"query": DELETE}, headers=headers, timeout=60).raise_for_status()
        finally:
            dev.terminate()
            dev.wait()
    medians = {what: statistics.median(times) for what, times in results.items()}
    for way in ("up", "down"):
        ours, theirs = medians[f"waybill {way}"], medians[f"aws {way}"]
        print(f"{way}: waybill {ours:.1f} s, aws {theirs:.1f} s, {theirs / ours:.2f} x as long")


if __name__ == "__main__":
    chosen = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as copied:
        if chosen is None:
            chosen = Path(copied) / "stdlib"
            shutil.copytree(Path(os.__file__).parent, chosen, ignore=shutil.ignore_patterns("site-packages"))
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, chosen)
