"""The URLs that clients are given: for one upload, or for reading one file. Signed here, without asking S3."""

import asyncio
import logging
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StorageUnavailable
from storage.client import Storage
from storage.disposition import Disposition
from storage.given import Given, Memory, Window
from storage.keys import bucket_of, new_key
from storage.signing import Credentials, presign
from storage.uploads import upload_headers

_RENEWED_SECONDS = 60  # temporary credentials are given out anew at least ten minutes before they end

_log = logging.getLogger(__name__)


class Urls:
    """Signs with the present credentials; ``encryption`` is what uploads ask of S3 (x-amz-server-side-encryption)."""

    def __init__(self, storage: Storage, encryption: str = "") -> None:
        self._storage = storage
        self._encryption = encryption
        self._credentials: Credentials | None = None
        self._memory = Memory()

    def new_place(self, tenant: str) -> tuple[str, str]:
        """The bucket and the key of a new upload."""
        key = new_key(tenant, uuid4())
        return bucket_of(key, self._storage.buckets), key

    def headers(self, content_type: str, size: int, sha256: bytes | None) -> dict[str, str]:
        """What a PUT is bound to: its client must send them as they are."""
        return upload_headers(size, content_type, sha256, sse=self._encryption)

    @property
    def encryption(self) -> str:
        return self._encryption

    def part(
        self, bucket: str, key: str, multipart_id: str, number: int, size: int, *, now: datetime, seconds: int
    ) -> str:
        """PUTs of one part of so many bytes, as often as it takes."""
        params = {"partNumber": str(number), "uploadId": multipart_id}
        return self._signed("PUT", bucket, key, now, seconds, headers={"content-length": str(size)}, params=params)

    def writing(self, bucket: str, key: str, *, headers: Mapping[str, str], now: datetime, seconds: int) -> str:
        """One PUT of exactly what the ``headers`` say, if nothing is there yet."""
        return self._signed("PUT", bucket, key, now, seconds, headers=headers)

    def given(self, whose: Hashable, disposition: Disposition, *, now: datetime, seconds: int) -> Given:
        """URLs to read: what somebody was given before in the window of ``now``, and what signs others.

        ``whose`` is the same only for those who are one person in the audit log.
        """
        given = Given(self._storage, self._present, whose, disposition, Window.of(now, seconds))
        return self._memory.find(given)

    def keep(self, given: Given, urls: Mapping[int, str]) -> None:
        """Give them to whoever asks for them again: what was written down for good."""
        self._memory.keep(given, urls)

    def _signed(
        self,
        method: str,
        bucket: str,
        key: str,
        now: datetime,
        seconds: int,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> str:
        endpoint = self._storage.endpoint(bucket)
        return presign(
            self._present, method, endpoint, key, now=now, expires_in=seconds, headers=headers, params=params
        )

    @property
    def _present(self) -> Credentials:
        if self._credentials is None:
            raise StorageUnavailable("There are no credentials for S3 at the moment: try again later.")
        return self._credentials

    async def renew(self) -> None:
        """Take the present credentials. URLs that the former ones have signed, which may end, are not given again."""
        try:
            credentials = await self._storage.credentials()
        except (StorageUnavailable, BotoCoreError, ClientError) as error:  # the ones we have may still do
            _log.error("no credentials for S3: %s", error)
        else:
            if credentials != self._credentials:
                self._credentials = credentials


@asynccontextmanager
async def signing(storage: Storage, encryption: str = "") -> AsyncIterator[Urls]:
    """URLs whose credentials are renewed while it lasts: signing itself waits for nothing."""
    urls = Urls(storage, encryption)
    await urls.renew()

    async def renew() -> None:
        while True:
            await asyncio.sleep(_RENEWED_SECONDS)
            await urls.renew()

    task = asyncio.create_task(renew())
    try:
        yield urls
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
