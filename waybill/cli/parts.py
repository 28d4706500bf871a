"""A large file on its way up, in parts: those that S3 has of an upload that broke off are not sent again."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from waybill.cli.client import PAGE, Service
from waybill.cli.hashing import Advance, md5_of
from waybill.cli.local_files import Local
from waybill.cli.wire import AT_ONCE, Refused, Wire


def _parts(fields: str) -> str:
    return f"""query Parts($id: ID!, $first: Int, $after: String) {{ node(id: $id) {{ ... on Upload {{
      partSize parts(first: $first, after: $after) {{
        nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }} }} }}"""


PARTS = _parts("number size url")
PARTS_THERE = _parts("number size url etag")  # for which S3 is asked, each time
PENDING = """query Pending($ids: [String!], $first: Int) { objects(first: $first, where: {objectIds: $ids}) {
  nodes { pendingUpload { id size sha256 partCount object { objectId } } } } }"""
ABORT = "mutation Abort($ids: [ID!]!) { abortUploads(input: {uploadIds: $ids}) { results { state } } }"

_MD5 = re.compile("[0-9a-f]{32}")
_FORBIDDEN, _NOT_FOUND = 403, 404


def is_of(known: Mapping[str, Any], file: Local, digest: str) -> bool:
    """Whether what the service knows, of a file or an upload, is of these bytes."""
    return (known.get("size"), known.get("sha256")) == (file.size, digest)


async def going_on(service: Service, files: Mapping[str, Local], digests: Mapping[Local, str]) -> list[Any]:
    """Uploads in parts that were broken off, of files by object. Those of other bytes are given up: they take room."""
    pending: list[Any] = []
    for start in range(0, len(files), PAGE):
        some = list(files)[start : start + PAGE]
        nodes = (await service.call(PENDING, ids=some, first=PAGE))["objects"]["nodes"]
        pending += [upload for node in nodes if (upload := node["pendingUpload"]) and upload["partCount"]]
    whose = {upload["id"]: files[upload["object"]["objectId"]] for upload in pending}
    fit = {upload["id"]: upload for upload in pending if is_of(upload, (one := whose[upload["id"]]), digests[one])}
    if stale := list(whose.keys() - fit.keys()):
        await service.call(ABORT, ids=stale)
    return list(fit.values())


class Gone(Exception):
    """The upload takes no parts any more: it was put together, given up, or its time is over."""


@dataclass(eq=False, slots=True)
class _Page:
    """Some parts, whose URLs are asked for anew when their time is over."""

    after: str | None
    end: str | None
    spans: Mapping[int, range]  # by number: where in the file
    urls: Mapping[int, str]
    etags: Mapping[int, str]  # of those that S3 has
    renewing: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Parts:
    """Of one upload. ``bytes_sent`` are those that S3 had not.

    ``etags`` are S3's, by number. They have to be said where others were there before: it may have both, and which came
    later is not always known.
    """

    service: Service
    wire: Wire
    file: Local
    upload_id: str
    sent: Advance
    stop: Event  # ends what is read in threads
    bytes_sent: int = 0
    etags: dict[int, str] = field(default_factory=dict)
    have_replaced: bool = False

    async def send(self, *, are_there: bool) -> None:
        """All of them; or where some may be there already, those that are not.

        Raises Gone, Refused, Broken, OSError, ServiceError.
        """
        slots = asyncio.Semaphore(AT_ONCE)  # so that no URL is asked for long before it is needed

        async def bring(page: _Page, number: int) -> None:
            try:
                await self._bring(page, number)
            finally:
                slots.release()

        try:
            async with asyncio.TaskGroup() as tasks:
                async for page in self._pages(are_there):
                    there = await asyncio.to_thread(self._right, page)
                    self.sent(sum(len(page.spans[number]) for number in there))
                    self.etags.update((number, page.etags[number]) for number in there)
                    self.have_replaced = self.have_replaced or len(there) < len(page.etags)
                    for number in page.spans:
                        if number not in there:
                            await slots.acquire()
                            tasks.create_task(bring(page, number))
        except ExceptionGroup as errors:  # not except*, which wraps what is raised in it before Python 3.11.4
            raise errors.exceptions[0] from None

    async def _pages(self, are_there: bool) -> AsyncIterator[_Page]:
        after = None
        while True:
            page = await self._page(after, are_there)
            yield page
            if page.end is None:
                return
            after = page.end

    async def _page(self, after: str | None, are_there: bool) -> _Page:
        operation = PARTS_THERE if are_there else PARTS
        asked = await self.service.call(operation, id=self.upload_id, first=PAGE, after=after)
        part_bytes, parts = asked["node"]["partSize"], asked["node"]["parts"]
        info, nodes = parts["pageInfo"], {node["number"]: node for node in parts["nodes"]}
        starts = {number: (number - 1) * int(part_bytes) for number in nodes}
        return _Page(
            after,
            info["endCursor"] if info["hasNextPage"] else None,
            {number: range(start, start + int(nodes[number]["size"])) for number, start in starts.items()},
            {number: node["url"] for number, node in nodes.items()},
            {number: node["etag"] for number, node in nodes.items() if node.get("etag")},
        )

    def _right(self, page: _Page) -> set[int]:
        """Of the parts that S3 has those with the bytes that are here; to be called in a thread.

        Where no ETag is the MD5 of its part they say nothing, as with KMS: that is left to the proof of the whole.
        """
        stated = {number: etag for number, etag in page.etags.items() if _MD5.fullmatch(etag)}
        right = {
            number for number, etag in stated.items() if md5_of(self.file.path, page.spans[number], self.stop) == etag
        }
        return set(page.etags) - (stated.keys() - right) if right else set(page.etags)

    async def _bring(self, page: _Page, number: int) -> None:
        part = page.spans[number]
        async with self.wire.turns:
            url = page.urls[number]
            try:
                etag = await self._put(part, url)
            except Refused as error:
                if error.status != _FORBIDDEN:
                    raise
                etag = await self._put(part, await self._renewed(page, number, url))
        self.etags[number] = etag
        self.bytes_sent += len(part)

    async def _put(self, part: range, url: str) -> str:
        if not url:
            raise Gone
        try:
            return await self.wire.put(self.file.path, self.file.size, url, {}, self.sent, part)
        except Refused as error:
            if error.status == _NOT_FOUND:
                raise Gone from error
            raise

    async def _renewed(self, page: _Page, number: int, stale: str) -> str:
        """Asked for once for all that are refused at the same time."""
        async with page.renewing:
            if page.urls[number] == stale:
                page.urls = (await self._page(page.after, are_there=False)).urls
        return page.urls[number]
