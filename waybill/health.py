"""What orchestrators and load balancers ask. No credential is needed, so nothing is told but yes or no."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse

from models import probe

_DATABASE_SECONDS = 1.5

_running: asyncio.Task[bool] | None = None


async def healthz(_: Request) -> JSONResponse:
    """200 as long as the process turns its event loop."""
    return _answer(200, "ok")


async def readyz(_: Request) -> JSONResponse:
    """200 if the database answers, 503 within two seconds if it does not."""
    ready = await _database_answers()
    return _answer(200, "ok") if ready else _answer(503, "database unavailable")


async def _database_answers() -> bool:
    """Whoever asks meanwhile gets the same answer, so that asking often cannot wear the database out."""
    global _running  # noqa: PLW0603 - one question at a time in the whole process
    if _running is None or _running.done():
        _running = asyncio.create_task(probe.answers(_DATABASE_SECONDS))
    return await asyncio.shield(_running)


def _answer(status: int, text: str) -> JSONResponse:
    return JSONResponse({"status": text}, status, {"cache-control": "no-store"})
