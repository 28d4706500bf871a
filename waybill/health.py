"""What orchestrators and load balancers ask. No credential is needed, so little is told: what of it is not there."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from models import probe
from storage.client import Storage

if TYPE_CHECKING:  # takes 0.5 s, which those that do not work do without
    from worker.copies import Copies

_SECONDS = 1.5

_running: dict[str, asyncio.Task[bool]] = {}


async def healthz(_: Request) -> JSONResponse:
    """200 as long as the process turns its event loop."""
    return _answer(200, "ok")


async def readyz(request: Request) -> JSONResponse:
    """200 if nothing is missing; 503 within two seconds if something is."""
    lacks = await missing(request.app.state.storage, request.app.state.copies)
    return _answer(503, lacking(lacks)) if lacks else _answer(200, "ok")


async def missing(storage: Storage | None, copies: "Copies | None") -> list[str]:
    """What does not answer: the database, S3 where it is configured, and where copies are made the room for them."""
    questions: dict[str, Callable[[float], Coroutine[Any, Any, bool]]] = {"database": probe.answers}
    if storage:
        questions["storage"] = storage.answers
    answers = await asyncio.gather(*(_shared(name, question) for name, question in questions.items()))
    lacks = [name for name, answers in zip(questions, answers, strict=True) if not answers]
    return [*lacks, "room for copies"] if copies and copies.problem else lacks


def lacking(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} unavailable"


async def _shared(name: str, question: Callable[[float], Coroutine[Any, Any, bool]]) -> bool:
    """Whoever asks meanwhile gets the same answer, so that asking often cannot wear anything out."""
    if name not in _running or _running[name].done():
        _running[name] = asyncio.create_task(question(_SECONDS))
    return await asyncio.shield(_running[name])


def _answer(status: int, text: str) -> JSONResponse:
    return JSONResponse({"status": text}, status, {"cache-control": "no-store"})
