"""A service that is killed in the middle of it has lost nothing that it had answered."""

import asyncio
import contextlib
import secrets
import signal
from pathlib import Path

import httpx
import orjson

from tests import processes
from tests.conftest import free_port
from tests.sync.conftest import KEY, Sender, notice

MOST = 4_000


async def test_every_201_is_a_row_though_the_service_is_killed_under_load(
    sender: Sender, database_url: str, tmp_path: Path
) -> None:
    port, run, accepted, broken = free_port(), secrets.token_hex(4), set[str](), 0
    environment = {"WAYBILL_DATABASE_URL": database_url, "WAYBILL_ENCRYPTION_KEYS": KEY}
    service = processes.running("serve", "--port", str(port), error=tmp_path / "log", **environment)
    process = await asyncio.to_thread(service.__enter__)
    limits = httpx.Limits(max_connections=32)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=30) as client:
            async with asyncio.timeout(60):
                while True:
                    with contextlib.suppress(httpx.TransportError):
                        if (await client.get("/readyz")).status_code == 200:
                            break
                    await asyncio.sleep(0.05)

            async def send(number: int) -> None:
                nonlocal broken
                given = notice(ref_id=f"{run}-{number}")
                body = orjson.dumps(given)
                try:
                    answer = await client.post(sender.path, content=body, headers=sender.signed(body))
                except httpx.TransportError:
                    broken += 1
                    return
                assert answer.status_code == 201
                accepted.add(given["ref_id"])
                if len(accepted) == 200:
                    processes.send(process, signal.SIGKILL)

            numbers = iter(range(MOST))

            async def sending() -> None:
                for number in numbers:
                    if broken > 100:
                        return
                    await send(number)

            await asyncio.gather(*(sending() for _ in range(32)))
    finally:
        await asyncio.to_thread(service.__exit__, None, None, None)
    assert broken > 0
    assert 200 <= len(accepted) < MOST
    assert accepted <= {row["object_id"] for row in await sender.rows()}
