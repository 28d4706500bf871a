"""A server that `waybill dev`, admin commands and tests run on a data directory, together.

In the data directory, for a server of name N: ``N.log``, ``N.lock`` (held while somebody starts or stops the server)
and ``N.users`` (shared by all who use the server; the last one stops it). A user that was killed holds neither lock
any more, so a server without users is an orphan: the next start replaces it.
"""

import contextlib
import os
import shutil
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, ClassVar, Self

from waybill import locks
from waybill.server_user import ServerUser

START_SECONDS = 60
LOG_BYTES = 16 * 1024 * 1024


class ServerError(Exception):
    """An embedded server cannot be used; the message says what is wrong and what to do."""


class SharedServer(ABC):
    """A context manager around the server of ``data_dir``. Blocks: in async code use a thread."""

    name: ClassVar[str]
    product: ClassVar[str]
    error: ClassVar[type[ServerError]]
    turn_seconds: ClassVar[float] = 2 * START_SECONDS

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.log = self.data_dir / f"{self.name}.log"
        self._user = ServerUser()
        self._users: IO[bytes] | None = None
        self._is_in_use = False  # so that somebody knows its address, which must not change any more

    def __enter__(self) -> Self:
        try:
            self._check_place()
            self._check()
            self._user.make_directory(self.data_dir)
            with self._turn():
                self._users = locks.opened(self.data_dir / f"{self.name}.users")
                try:
                    self._is_in_use = not locks.lock(self._users)
                    if not self._is_in_use:
                        self._stop()
                    self._join_or_start()
                except BaseException:
                    self._users.close()
                    raise
                locks.share(self._users)
                self._is_in_use = True
        except OSError as error:
            raise self.error(f"{self.product} cannot run in {self.data_dir}: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._users is not None  # noqa: S101 - set by __enter__
        # Without its directory the server finds that out and stops by itself.
        with uninterrupted(), self._users, contextlib.suppress(FileNotFoundError), self._turn():
            if locks.lock(self._users):
                self._stop()

    @abstractmethod
    def alive(self) -> bool:
        """Whether the server's main process runs (it may still be recovering)."""

    def recover(self) -> None:
        """Starts the server again, at the same address, after it died."""
        try:
            with self._turn():
                self._join_or_start()
        except OSError as error:
            raise self.error(f"{self.product} cannot run in {self.data_dir}: {error}") from error

    def trim_log(self) -> None:
        """Moves a log of more than 16 MiB to ``N.log.1``; the server appends, so it may be running."""
        with locks.opened(self.log) as log, contextlib.ExitStack() as stack:
            if os.fstat(log.fileno()).st_size > LOG_BYTES:
                old = stack.enter_context(locks.opened(self.log.with_name(f"{self.log.name}.1")))
                old.truncate(0)
                log.seek(0)
                shutil.copyfileobj(log, old)
                log.truncate(0)

    def _check_place(self) -> None:
        parent = next(path for path in (self.data_dir, *self.data_dir.parents) if path.exists())
        if not parent.is_dir():
            raise self.error(f"{parent} is not a directory: pass another --data-dir")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise self.error(f"{parent} is not writable for you: pass another --data-dir")

    def _check_owner(self, own: Path) -> None:
        if own.exists() and os.geteuid() not in (0, own.stat().st_uid):
            raise self.error(f"{own} belongs to another user: run as that user, or pass another --data-dir")

    def _choose_user(self, own: Path) -> None:
        """Whoever has the server's directory ``own``, if there is one; makes root's when it is missing."""
        self._user = ServerUser.of(own)
        if blocker := self._user.blocker(self.data_dir):
            raise self.error(
                f"{self.product} does not run as root, and its own user cannot enter {blocker}: "
                "pass a --data-dir outside of it, such as --data-dir /var/lib/waybill"
            )

    @abstractmethod
    def _check(self) -> None:
        """Finds whatever can be wrong, before anything is changed."""

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        with locks.opened(self.data_dir / f"{self.name}.lock") as turn:
            if not wait(lambda: locks.lock(turn), self.turn_seconds):
                raise self.error(f"another process is starting or stopping {self.product} in {self.data_dir}")
            yield

    # The lock is held while these two run.

    @abstractmethod
    def _join_or_start(self) -> None: ...

    @abstractmethod
    def _stop(self) -> None: ...


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """While it lasts Ctrl-C and the like change nothing: what is being stopped would be left running."""
    if threading.current_thread() is not threading.main_thread():  # where no signal interrupts anything
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-15:])
