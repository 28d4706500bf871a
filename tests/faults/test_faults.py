"""The four claims about uploads hold whatever breaks, as far as a few seconds can tell; `make faults` goes on.

The claims: (1) no COMPLETE file lacks its exact bytes, (2) no byte in the bucket lacks a row that knows it, (3) no
tenant is charged for what is not there, (4) no answered mutation is undone.
"""

import asyncio
import sys

from waybill import seaweedfs

MUTANTS = ("complete-without-proof", "reserve-not-given-back")  # found by the first run; the others take dozens


async def test_no_claim_breaks_with_processes_connections_and_s3_but_with_faults_of_ours(
    seaweed: seaweedfs.Server,  # noqa: ARG001 - which the process joins
) -> None:
    """One test, because the start of the process is the most of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults", "--seed", "2", "--seconds", "4", "--random", "--prove", *MUTANTS),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    for mutant in MUTANTS:
        assert f"\n{mutant}: found by seed" in output
    assert "ok  drawn\n" in output
