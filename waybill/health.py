"""What orchestrators and load balancers ask. No credential is needed, so little is told: what of it is not there."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from models import probe

_SECONDS = 1.5

_running: dict[str, asyncio.Task[bool]] = {}


async def healthz(_: Request) -> JSONResponse:
    """200 as long as the process turns its event loop."""
    return _answer(200, "ok")


async def readyz(request: Request) -> JSONResponse:
    """200 if the database answers, and S3 where it is configured; 503 within two seconds if one does not."""
    questions: dict[str, Callable[[float], Coroutine[Any, Any, bool]]] = {"database": probe.answers}
    if storage := request.app.state.storage:
        questions["storage"] = storage.answers
    answers = await asyncio.gather(*(_shared(name, question) for name, question in questions.items()))
    missing = [name for name, answers in zip(questions, answers, strict=True) if not answers]
    return _answer(503, f"{' and '.join(missing)} unavailable") if missing else _answer(200, "ok")


async def _shared(name: str, question: Callable[[float], Coroutine[Any, Any, bool]]) -> bool:
    """Whoever asks meanwhile gets the same answer, so that asking often cannot wear anything out."""
    if name not in _running or _running[name].done():
        _running[name] = asyncio.create_task(question(_SECONDS))
    return await asyncio.shield(_running[name])


def _answer(status: int, text: str) -> JSONResponse:
    return JSONResponse({"status": text}, status, {"cache-control": "no-store"})
