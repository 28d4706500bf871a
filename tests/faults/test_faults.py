"""The four claims about uploads hold whatever breaks, as far as a few seconds can tell; `make faults` goes on.

The claims: (1) no COMPLETE file lacks its exact bytes, (2) no byte in the bucket lacks a row that knows it, (3) no
tenant is charged for what is not there, (4) no answered mutation is undone.
"""

import asyncio
import sys

import pytest

from waybill import seaweedfs

MUTANTS = ("complete-without-proof", "reserve-not-given-back")  # found by the first run; the others take dozens


@pytest.fixture(scope="module")
async def printed(seaweed: seaweedfs.Server) -> str:  # noqa: ARG001 - which it joins
    """By one process, whose start is the most of it, for all tests of this module."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults", "--seconds", "9", "--jobs", "2", "--random", "--prove", *MUTANTS),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    print(output.decode())  # noqa: T201 - pytest shows it where a test fails
    return output.decode() + f"\nended with {process.returncode}"


async def test_no_claim_breaks_with_the_service_the_worker_the_database_and_s3(printed: str) -> None:
    assert printed.endswith("ended with 0"), printed
    assert "ok  drawn" in printed


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_fault_of_ours_is_found(printed: str, mutant: str) -> None:
    assert f"{mutant}: found by seed" in printed
