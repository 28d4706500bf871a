"""What the commands that talk to a service share: options, calls that are repeated, failures with their exit codes."""

import asyncio
import errno
import functools
import random
import re
import signal
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import click
import orjson

from access import key_form
from storage.loopback import is_loopback
from waybill.cli import data_dir

if TYPE_CHECKING:
    import httpx

PAGE = 100  # nodes of one page, the most that a service allows unless it is set otherwise

_PAUSES_SECONDS = (0.2, 0.5, 1, 2, 4, 8)
_LONGEST_PAUSE_SECONDS = 60
_LONGEST_LIMIT_SECONDS = 120  # a bucket is full again by then
_TIMEOUT_SECONDS = 90  # longer than the service's own time-out, so that its answer is heard
_TRANSIENT_STATUS = (429, 502, 503)
# The database is away, or had to end one of two transactions, or S3 is away, or an earlier attempt is still under way.
_TRANSIENT_CODES = ("UNAVAILABLE", "CONFLICT", "STORAGE_UNAVAILABLE", "IN_PROGRESS")
_DENIED = ("UNAUTHENTICATED", "FORBIDDEN")

QUOTA_EXCEEDED = "QUOTA_EXCEEDED"

_EXIT_CODES = """\b
Exit codes:
  0  done; after an import, everything is there as in the file
  1  the service refused it or it failed; in an import, some objects differ
  2  wrong usage, or a malformed file
  3  the service, or S3, cannot be reached or does not work
  4  not authenticated, or not allowed

The service must allow pages of 100 and 2,000 objects a call: by default it
does, see WAYBILL_MAX_PAGE_SIZE and WAYBILL_MAX_OBJECTS_PER_CALL.
"""


class ServiceError(click.ClickException):
    """A call that failed for good. ``code`` is the answer's ``extensions.code``; empty if there was no such answer."""

    def __init__(
        self, message: str, code: str = "", *, transient: bool = False, retry_after_seconds: float = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.transient = transient
        self.retry_after_seconds = retry_after_seconds

    @property
    def concerns_all(self) -> bool:
        """Whether it is no use to try the rest: the service is away, the key not good for it, or the tenant full."""
        return self.exit_code != ServiceError.exit_code or self.code == QUOTA_EXCEEDED


@contextmanager
def of_batch(batch_id: str) -> Iterator[None]:
    """A batch that is not there is named, with how to find those that are."""
    try:
        yield
    except ServiceError as error:
        if error.code != "NOT_FOUND":
            raise
        raise ServiceError(f'There is no batch "{batch_id}": `waybill batches` lists those that there are.') from error


class Unreachable(ServiceError):
    """Nobody answers there, or not as Waybill does."""

    exit_code = 3


class Denied(ServiceError):
    """Not authenticated, or not allowed."""

    exit_code = 4


class Service:
    """A Waybill service over HTTP; to be entered with ``async with``."""

    _http: "httpx.AsyncClient"

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._has_answered = False

    async def __aenter__(self) -> Self:
        import httpx  # noqa: PLC0415 - takes longer than all the rest together, and --help does without

        self._http = httpx.AsyncClient(
            headers={
                "Authorization": f"Bearer {self._key}",
                "Accept": "application/graphql-response+json",
                "Content-Type": "application/json",
                "User-Agent": "waybill-cli",
            },
            timeout=httpx.Timeout(_TIMEOUT_SECONDS, connect=5),
            trust_env=not is_loopback(self._url),  # a proxy of the environment does not lead to this machine
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def call(self, operation: str, **variables: object) -> Any:
        """``data`` of an answer without errors. Raises ServiceError.

        What may go away by itself is repeated for about 16 seconds; where nobody has answered yet, not even once. What
        costs more than is left of this minute's points waits for them, for as long as that takes. A mutation has a key:
        it is done once, also where only its answer was lost.
        """
        try:
            body = orjson.dumps({"query": operation, "variables": variables})
        except orjson.JSONEncodeError as error:
            raise click.UsageError("An argument is not valid Unicode: pass text in UTF-8.") from error
        headers = {"Idempotency-Key": str(uuid.uuid4())} if operation.startswith("mutation") else {}
        pauses = iter(_PAUSES_SECONDS)
        while True:
            try:
                return await self._attempt(body, headers)
            except ServiceError as error:
                limited = error.code == "RATE_LIMITED"
                pause = 1 if limited else next(pauses, None)
                most = _LONGEST_LIMIT_SECONDS if limited else _LONGEST_PAUSE_SECONDS
                if pause is None or not error.transient or error.retry_after_seconds > most:
                    raise
                # More than was asked for, so that not all who wait come back at the same moment.
                seconds = error.retry_after_seconds + pause * random.uniform(0.5, 1)  # noqa: S311 - no secret
            await asyncio.sleep(seconds)

    async def page(self, operation: str, sizes: dict[str, int], **variables: object) -> Any:
        """As ``call``, with half of the sizes, and half of that, as long as more is too much for one answer."""
        while True:
            try:
                return await self.call(operation, **sizes, **variables)
            except ServiceError as error:
                if error.code != "TOO_COMPLEX" or max(sizes.values()) == 1:
                    raise
            sizes = {name: max(1, size // 2) for name, size in sizes.items()}

    async def _attempt(self, body: bytes, headers: Mapping[str, str]) -> Any:
        import httpx  # noqa: PLC0415 - see above

        try:
            response = await self._http.post(self._url, content=body, headers=headers)
        except httpx.RequestError as error:
            raise Unreachable(
                f"{self._url} cannot be reached: {str(error) or type(error).__name__}.\n"
                "Start the service with `waybill dev`, or say where it is with --url or WAYBILL_URL.",
                transient=self._has_answered,
            ) from error
        self._has_answered = True
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        retry_after = response.headers.get("retry-after", "")
        wait_seconds = float(retry_after) if re.fullmatch(r"\d{1,9}", retry_after) else 0
        transient = response.status_code in _TRANSIENT_STATUS
        match answer:
            case {"errors": [{"message": str(message), "extensions": {"code": str(code)} as extensions}, *_]}:
                transient = transient or code in _TRANSIENT_CODES
                elsewhere = response.status_code in (404, 405)
                kind = Denied if code in _DENIED else Unreachable if transient or elsewhere else ServiceError
                message = _for_people(message, code, extensions)
                raise kind(message, code, transient=transient, retry_after_seconds=wait_seconds)
            case {"data": dict(data), **rest} if "errors" not in rest:
                return data
        raise Unreachable(
            f"{self._url} answered {response.status_code}, and not as Waybill does.\n"
            + ("Try again in a moment." if transient else "Check the address given by --url or WAYBILL_URL."),
            transient=transient,
            retry_after_seconds=wait_seconds,
        )


def _for_people(message: str, code: str, extensions: dict[str, Any]) -> str:
    """The service speaks to programs; this adds what somebody at a terminal can do."""
    if code == "UNAUTHENTICATED":
        return (
            "The service does not accept this API key.\n"
            "Pass a valid one with --key or WAYBILL_API_KEY; `waybill key create TENANT USER` makes one."
        )
    if code == "FORBIDDEN":
        return f"{message}\nUse the key of a user who may, or ask an admin of the tenant."
    return f"{message} ({extensions['requestId']})" if "requestId" in extensions else message


def client_command(name: str) -> Callable[[Callable[..., Awaitable[None]]], click.Command]:
    """A command from ``async def command(service, as_json, ...)``, with the options that all of them have."""

    def make(function: Callable[..., Awaitable[None]]) -> click.Command:
        @functools.wraps(function)
        def run(url: str, key: str | None, **given: object) -> None:
            service = Service(url, _key(url, key))

            async def inside() -> None:
                _end_by_signals()
                async with service:
                    await function(service, **given)

            try:
                asyncio.run(inside())
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None
            except OSError as error:
                if error.errno == errno.EPIPE:  # the reader of our output has seen enough, which click knows
                    raise
                raise click.ClickException(str(error)) from error

        command = click.command(name, epilog=_EXIT_CODES)(run)
        command.params += _options()
        return command

    return make


def _end_by_signals() -> None:
    """A closed terminal and SIGTERM unwind the present task, so that it leaves nothing half done; as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - for mypy
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as it is under nohup
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--url"],
            envvar="WAYBILL_URL",
            show_envvar=True,
            default="http://127.0.0.1:8000/graphql",
            show_default=True,
            callback=lambda _context, _option, value: _endpoint(value),
            help="The service, with or without /graphql.",
        ),
        click.Option(
            ["--key"],
            envvar="WAYBILL_API_KEY",
            show_envvar=True,
            help="The API key. On this machine, the one that `waybill dev` keeps in its data directory will do.",
        ),
        click.Option(["--json", "as_json"], is_flag=True, help="Output for programs."),
    ]


def _endpoint(url: str) -> str:
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        valid = False
    if not valid:
        raise click.BadParameter(f"{url!r} is not an address: write it like http://127.0.0.1:8000.")
    path = parts.path.rstrip("/").removesuffix("/graphql")
    return f"{parts.scheme}://{parts.netloc}{path}/graphql"


def _key(url: str, given: str | None) -> str:
    """Raises Denied when there is none. The file's key is never sent to another machine."""
    key = (given or "").strip()
    if not key and is_loopback(url):
        try:
            key = (data_dir.chosen() / "api-key").read_text().strip()
        except OSError:
            key = ""
    if not key:
        raise Denied("An API key is needed: pass it with --key or WAYBILL_API_KEY.")
    if not re.fullmatch("[!-~]+", key):
        raise Denied("The API key has characters that no key has: copy it again.")
    if key.startswith("wb_") and key_form.parts(key) is None:
        raise Denied("The API key is mistyped or cut off: copy it again.")
    return key
