"""Starts processes of the command line by forking one that has imported everything: 0.1 s instead of 2.

It is a server, forked too: it reads what to start from a pipe, a line of JSON for each, and writes to another who was
started and who has ended. It ends when its pipe does, and everybody whom it has started with it.
"""

import asyncio
import gc
import importlib
import itertools
import json
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from tests.faults.plans import Plan

# That commands import when they start: it takes them 1.5 s of a processor.
_EVERYTHING = (
    *("tests.faults.hooks", "tests.faults.mutants", "waybill.app", "waybill.background", "waybill.cli", "waybill.logs"),
    *("waybill.metrics", "waybill.reaping", "waybill.server", "uvicorn.lifespan.on", "uvicorn.loops.auto"),
    *("uvicorn.protocols.http.auto", "uvicorn.protocols.websockets.auto"),
)


class Process:
    """One that was started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def ended(self) -> int:
        """Its exit code, or -signal."""
        return await asyncio.shield(self.code)

    async def kill(self) -> None:
        if not self.code.done():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        await self.ended()


class Forks:
    """A context manager around the server, which is to be made before there are threads, event loops and open files."""

    def __init__(self) -> None:
        orders, self._orders = os.pipe()
        self._news, news = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._orders)
            os.close(self._news)
            _serve(orders, news)
        os.close(orders)
        os.close(news)

    async def __aenter__(self) -> "Forks":
        self._numbers = itertools.count()
        self._starting: dict[int, asyncio.Future[Process]] = {}
        self._running: dict[int, Process] = {}
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._orders)
        await self._reading
        await asyncio.to_thread(os.waitpid, self._pid, 0)

    async def start(
        self, *arguments: str, environment: Mapping[str, str], plan: Plan, log: Path, boundaries: Path, **other: object
    ) -> Process:
        """``waybill`` with the arguments; ``log`` gets what it prints, ``boundaries`` what it passes."""
        number = next(self._numbers)
        self._starting[number] = asyncio.get_running_loop().create_future()
        order = {
            "number": number,
            "arguments": arguments,
            "environment": dict(environment),
            "plan": plan.to_json(),
            "log": str(log),
            "boundaries": str(boundaries),
            **other,
        }
        os.write(self._orders, json.dumps(order).encode() + b"\n")
        return await self._starting[number]

    async def _read(self) -> None:
        reader = asyncio.StreamReader()
        pipe = os.fdopen(self._news, "rb")
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        async for line in reader:
            news = json.loads(line)
            if "pid" in news:
                self._running[news["pid"]] = process = Process(news["pid"])
                if (starting := self._starting.pop(news["number"])).done():  # who waited was cancelled
                    os.kill(process.pid, signal.SIGKILL)
                else:
                    starting.set_result(process)
            else:
                self._running.pop(news["ended"]).code.set_result(news["code"])


class _Server:
    def __init__(self, orders: int, news: int) -> None:
        self._orders = orders
        self._news = news
        self._children: set[int] = set()
        self._buffer = b""

    def serve(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        selector = selectors.DefaultSelector()
        selector.register(self._orders, selectors.EVENT_READ)
        selector.register(reader, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == reader:
                    os.read(reader, 4096)
                    self._reap()
                elif not self._take_orders():
                    self._end()
                    return

    def _take_orders(self) -> bool:
        data = os.read(self._orders, 1 << 20)
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if (pid := os.fork()) == 0:
                _become(order)
            self._children.add(pid)
            self._say(number=order["number"], pid=pid)
        return bool(data)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._children.discard(pid)
            self._say(ended=pid, code=os.waitstatus_to_exitcode(status))

    def _end(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _say(self, **news: int) -> None:
        os.write(self._news, json.dumps(news).encode() + b"\n")


def _become(order: dict[str, Any]) -> NoReturn:
    """In the child: a process as the command line would have started it."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.closerange(3, log)  # the server's own
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.clear()
        os.environ.update(order["environment"])
        code = _run(order)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - nothing of it may go on in the server's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run(order: dict[str, Any]) -> int:
    from tests.faults import hooks, mutants
    from waybill.cli import main

    boundaries = os.open(order["boundaries"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    plan, reaps = Plan.of_json(order["plan"]), order["arguments"][0] == "reap"
    hooks.install(plan, boundaries, keeps_checksums=order["keeps_checksums"], reaps=reaps)
    if order["mutant"]:
        mutants.MUTANTS[order["mutant"]]()
    main(order["arguments"])
    return 0


def _import_everything() -> None:
    """What every process would do for itself at its start; no thread and no event loop is left of it."""
    from botocore.loaders import JSONFileLoader, Loader

    from storage.client import Config, connected
    from storage.signing import Credentials

    for name in _EVERYTHING:
        importlib.import_module(name)
    for kind, name in ((JSONFileLoader, "load_file"), (Loader, "list_available_services")):
        setattr(kind, name, _once(getattr(kind, name)))

    async def warm() -> None:
        config = Config(["none"], "us-east-1", "http://127.0.0.1:1", path_style=True, credentials=Credentials("a", "b"))
        async with connected(config):
            pass

    asyncio.run(warm())
    gc.collect()
    gc.freeze()


def _once(method: Any) -> Any:
    """Of the SDK's files, which take most of the time that a client takes to be made."""
    known: dict[str, Any] = {}

    def read(self: Any, *args: Any, **options: Any) -> Any:
        asked = repr((args, options))
        if asked not in known:
            known[asked] = method(self, *args, **options)
        return known[asked]

    return read


def _serve(orders: int, news: int) -> NoReturn:
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
        _import_everything()
        _Server(orders, news).serve()
    finally:
        os._exit(0)
