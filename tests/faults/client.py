"""One client of the service and of S3, who is never surprised that either is away."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from tests.faults.ledger import Answered, Call, Ledger, Said, Upload

_DOWN_SECONDS = 90  # for which the service may be away
_WITH_KEY = 0.7  # of mutations
_SURE = {"ALREADY_EXISTS", "NOT_FOUND", "BATCH_NOT_EMPTY", "QUOTA_EXCEEDED", "CONFLICT", "BAD_INPUT", "BATCH_SEALED",
         "BATCH_NOT_COMPLETE", "IDEMPOTENCY_CONFLICT"}  # fmt: skip
_PASSING = {"UNAVAILABLE", "STORAGE_UNAVAILABLE", "TIMEOUT", "IN_PROGRESS"}


@dataclass(frozen=True)
class Answer:
    """``data`` of the one field, or the code of its error; neither where nobody answered."""

    data: Any = None
    code: str = ""
    extensions: dict[str, Any] = field(default_factory=dict)

    @property
    def is_sure(self) -> bool:
        """It was done, or was not and will not be."""
        return self.data is not None or self.code in _SURE


class Client:
    """``url`` is the service's; ``raw_url`` writes a key of S3 past all that a presigned URL is bound to."""

    def __init__(self, number: int, rng: random.Random, ledger: Ledger, url: str, key: str, raw_url: Any) -> None:
        self.number = number
        self.rng = rng
        self.ledger = ledger
        self.raw_url = raw_url
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}
        self._made = 0

    async def __aenter__(self) -> "Client":
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.close()

    def new_id(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self.number}-{self._made}"

    async def mutate(self, call: Call, query: str, **variables: object) -> Answer:
        """What it says of the call is written down. With an idempotency key, as most have, until it is answered."""
        key = f"call {call.number}" if self.rng.random() < _WITH_KEY else ""
        async with asyncio.timeout(_DOWN_SECONDS):
            while True:
                answer = await self._ask_at_once(query, variables, key)
                if not key or answer.is_sure:
                    break
                call.detail += "again "
                await asyncio.sleep(0.05)
        call.answered = len(self.ledger.calls)
        if answer.data is not None:
            call.said = Said.YES
            if key:
                self.ledger.answered.append(Answered(call, key, query, variables, answer.data))
        elif answer.is_sure:
            call.said, call.detail = Said.NO, call.detail + answer.code
        elif answer.code:
            call.detail = answer.code
        return answer

    async def _ask_at_once(self, query: str, variables: dict[str, Any], key: str) -> Answer:
        """With a key now and then twice: it is not refused before both are, and what they answer is the same."""
        twice = bool(key) and self.rng.random() < 0.1
        answers = await asyncio.gather(*(self._ask(query, variables, key) for _ in range(1 + twice)))
        done = [answer for answer in answers if answer.data is not None]
        if any(answer.data != done[0].data for answer in done):
            self.ledger.violations.append(f"(4) two answers to one key: {done}")
        return done[0] if done else min(answers, key=lambda answer: answer.is_sure)

    async def repeat(self, one: Answered) -> None:
        """What was answered is answered again, however much has changed since; and nothing else with its key."""
        if self.rng.random() < 0.2:
            other = one.query.removesuffix(" } }") + " __typename } }"
            answer = await self._ask(other, one.variables, one.key)
            if answer.data is not None or (answer.is_sure and answer.code != "IDEMPOTENCY_CONFLICT"):
                self.ledger.violations.append(f"(4) another request with the key of {one.call} gets {answer}")
            return
        answer = await self._ask(one.query, one.variables, one.key)
        if answer.is_sure and answer.data != one.data:
            self.ledger.violations.append(f"(4) {one.call} was answered {one.data}, and is answered {answer}")

    async def query(self, query: str, **variables: object) -> Answer:
        """Until it is answered."""
        async with asyncio.timeout(_DOWN_SECONDS):
            while True:
                answer = await self._ask(query, variables)
                if answer.is_sure:
                    return answer
                await asyncio.sleep(0.05)

    async def _ask(self, query: str, variables: dict[str, Any], key: str = "") -> Answer:
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        body = {"query": query, "variables": variables}
        async with asyncio.timeout(_DOWN_SECONDS):
            while True:
                try:
                    async with self._http.post(f"{self._url}/graphql", json=body, headers=headers) as response:
                        content = json.loads(await response.read())
                    break
                except aiohttp.ClientConnectorError:  # nobody was there to hear it
                    await asyncio.sleep(0.03)
                except (aiohttp.ClientError, ConnectionError):
                    return Answer()
        if errors := content.get("errors"):
            extensions = errors[0].get("extensions", {})
            code = extensions.get("code", "")
            if code not in _SURE | _PASSING:
                self.ledger.violations.append(f"an answer that is no fault's: {content} to {variables}")
            return Answer(code=code, extensions=extensions)
        [data] = content["data"].values()
        return Answer({"is": data} if data is None else data)

    async def get(self, url: str) -> bytes:
        async with self._http.get(url) as response:
            return await response.read()

    async def put(self, upload: Upload, body: bytes, url: str = "") -> None:
        """Send bytes to S3; which it took is not looked at."""
        upload.sent.append(body)
        await self.send(url or upload.url, body, {} if url else upload.headers)

    async def send(self, url: str, body: bytes, headers: dict[str, str]) -> str | None:
        """The ETag, if S3 took it."""
        try:
            async with self._http.put(url, data=body, headers=headers) as response:
                await response.read()
                return response.headers.get("etag")
        except (aiohttp.ClientError, ConnectionError):
            return None

    async def put_a_part(self, upload: Upload) -> None:
        """Half of the bytes, and then the connection is gone."""
        url = urlsplit(upload.url)
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        head = [f"PUT {url.path}?{url.query} HTTP/1.1", f"host: {url.netloc}"]
        head += [f"{name}: {value}" for name, value in upload.headers.items()]
        writer.write("\r\n".join([*head, "", ""]).encode() + upload.body[: len(upload.body) // 2])
        try:
            await writer.drain()
            await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        writer.transport.abort()
