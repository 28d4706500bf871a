"""The commands as somebody at a terminal runs them, against a real service."""

import contextlib
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import orjson
from click.testing import CliRunner, Result

from waybill.cli import main

WAYBILL = [sys.executable, "-m", "waybill"]


@dataclass
class Cli:
    """For the user of one key, who has said so in the environment."""

    url: str
    key: str

    @property
    def variables(self) -> dict[str, str]:
        return {"WAYBILL_URL": self.url, "WAYBILL_API_KEY": self.key}

    def run(self, *arguments: str, given: bytes | None = None, **environment: str) -> Result:
        """In this process, which spares the start; its outputs are no terminal."""
        result = CliRunner(env=self.variables | environment).invoke(main, arguments, input=given)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def output(self, *arguments: str, given: bytes | None = None) -> str:
        """Of a run that ends well."""
        result = self.run(*arguments, given=given)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *arguments: str, given: object = None) -> Any:
        return orjson.loads(self.output(*arguments, "--json", given=orjson.dumps(given)))

    def post(self, query: str, **variables: object) -> Any:
        """``data`` of the answer to an operation."""
        body, headers = {"query": query, "variables": variables}, {"Authorization": f"Bearer {self.key}"}
        answer = httpx.post(f"{self.url}/graphql", json=body, headers=headers).json()
        assert "errors" not in answer
        return answer["data"]

    def start(self, *arguments: str, **how: Any) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*WAYBILL, *arguments], env=os.environ | self.variables, **how)

    def on_terminal(self, *arguments: str, columns: int = 80) -> str:
        """What a terminal of this width is sent, both outputs together."""
        ours, theirs = pty.openpty()
        environment = os.environ | self.variables | {"COLUMNS": str(columns), "TERM": "xterm"}
        with subprocess.Popen([*WAYBILL, *arguments], env=environment, stdout=theirs, stderr=theirs) as process:
            os.close(theirs)
            sent = b""
            while True:
                try:
                    sent += os.read(ours, 65536)
                except OSError:  # the other end is closed
                    break
            assert process.wait(timeout=20) == 0, sent
        os.close(ours)
        return sent.decode()


def batch(batch_id: str, *objects: dict[str, Any]) -> dict[str, Any]:
    return {"batch_id": batch_id, "objects": list(objects)}


def object_(object_id: str, *pairs: tuple[str, str]) -> dict[str, Any]:
    return {"object_id": object_id, "data": [{"key": key, "value": value} for key, value in pairs]}


Answer = tuple[int, bytes]
Ask = Callable[[str], Answer]  # the service at this address


@contextlib.contextmanager
def between(answer: Callable[[bytes, Ask], Answer | None]) -> Iterator[str]:
    """The network before a service, at the address yielded. Where ``answer`` has none, the connection is cut."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))

            def ask(url: str) -> Answer:
                response = httpx.post(f"{url}/graphql", content=body, headers=dict(self.headers), timeout=60)
                return response.status_code, response.content

            if (given := answer(body, ask)) is None:
                self.close_connection = True
                return
            self.send_response(given[0])
            self.send_header("Content-Length", str(len(given[1])))
            self.end_headers()
            self.wfile.write(given[1])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
