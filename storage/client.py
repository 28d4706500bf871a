"""The service's own requests to S3. Browsers and other clients use presigned URLs instead."""

import asyncio
import base64
import hashlib
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import aioboto3
import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError

from models.errors import StorageUnavailable
from storage.loopback import is_loopback
from storage.signing import Credentials, Endpoint

if TYPE_CHECKING:  # the types are not installed with the service
    from types_aiobotocore_s3.client import S3Client

KEYS_PER_DELETE = 1000
PARTS_PER_LIST = 1000
MOST_PARTS = 10_000
CHUNK_BYTES = 256 * 1024  # hashed in a quarter of a millisecond, during which nothing else runs

# Who has credentials reads none of the SDK's files, in which AWS_PROFILE may name what is not there.
_NO_FILES = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}

_BUSY = {"SlowDown", "RequestTimeout", "ThrottlingException", "RequestLimitExceeded"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Config:
    """``endpoint`` is for us and ``public_endpoint`` for the clients of presigned URLs; without any it is AWS.

    Without ``credentials`` they are those that the AWS SDK finds: environment, files, metadata services.
    """

    buckets: Sequence[str]
    region: str
    endpoint: str = ""
    public_endpoint: str = ""
    path_style: bool = False
    connect_timeout_seconds: float = 2
    read_timeout_seconds: float = 10
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What S3 knows of an object; ``sha256`` in hex, None where it kept none of the object as a whole.

    ``crc64nvme`` in base64: AWS computes it of what is sent without any checksum, in parts too.
    """

    size: int
    content_type: str
    etag: str
    sha256: str | None
    crc64nvme: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What S3 has of an upload in parts."""

    number: int
    size: int
    etag: str


@asynccontextmanager
async def connected(config: Config) -> AsyncIterator["Storage"]:
    """One client for the process, made in the lifespan: the first one costs 0.2 s. It asks S3 nothing yet."""
    given = config.credentials
    session = aioboto3.Session(
        botocore_session=AioSession(session_vars=_NO_FILES) if given else None,
        aws_access_key_id=given and given.access_key,
        aws_secret_access_key=given and given.secret_key,
        aws_session_token=given and given.token,
        region_name=config.region,
    )
    how = AioConfig(
        signature_version="s3v4",
        s3={"addressing_style": "path" if config.path_style else "virtual"},
        connect_timeout=config.connect_timeout_seconds,
        read_timeout=config.read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=64,
        proxies={} if is_loopback(config.endpoint) else None,  # None are those of the environment
        # Other servers than AWS know no other checksums than those asked for.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    async with session.client("s3", endpoint_url=config.endpoint or None, config=how) as client:
        yield Storage(client, session, config)


class Storage:
    """Every method raises StorageUnavailable when S3 does not answer, and botocore's ClientError when it refuses."""

    def __init__(self, client: "S3Client", session: Any, config: Config) -> None:
        self.buckets = config.buckets
        self._client = self.client = client  # for what the rest of this package asks
        self._session = session
        self._url = config.public_endpoint or config.endpoint or client.meta.endpoint_url
        self._region = config.region
        self._path_style = config.path_style
        self._endpoints: dict[str, Endpoint] = {}

    def endpoint(self, bucket: str) -> Endpoint:
        """Where the clients of presigned URLs find the bucket: rows may remember one that takes no new files."""
        known = self._endpoints.get(bucket)
        if known is None:
            known = Endpoint.of(self._url, bucket, region=self._region, path_style=self._path_style)
            self._endpoints[bucket] = known
        return known

    async def credentials(self) -> Credentials:
        """Those to sign with now; renewed first when they are about to expire. Ask anew for each request.

        Raises StorageUnavailable when there are none.
        """
        with _translated():
            found = await self._session.get_credentials()
            if found is None:
                raise NoCredentialsError
            frozen = await found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    async def head(self, bucket: str, key: str) -> Stored | None:
        """None when it is not there."""
        with _translated():
            try:
                answer = await self._client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                    return None
                raise
        return Stored(
            size=answer["ContentLength"],
            content_type=answer.get("ContentType", ""),
            etag=answer["ETag"].strip('"'),
            sha256=_hex(answer.get("ChecksumSHA256", "")),
            crc64nvme=answer.get("ChecksumCRC64NVME"),
        )

    async def require(self, bucket: str) -> None:
        """Raises ClientError where the bucket is not there or not ours; HEAD of a key in it says "not there" then."""
        with _translated():
            await self._client.head_bucket(Bucket=bucket)

    async def read(self, bucket: str, key: str) -> AsyncGenerator[bytes]:
        """The bytes in pieces of at most 256 KiB. Raises ClientError NoSuchKey before the first."""
        with _translated():
            answer = await self._client.get_object(Bucket=bucket, Key=key)
            body = answer["Body"]
            async with body:  # which gives something else
                while piece := await body.read(CHUNK_BYTES):
                    yield piece

    async def sha256(self, bucket: str, key: str) -> str:
        """In hex, by reading all of it."""
        digest = hashlib.sha256()
        async for piece in self.read(bucket, key):
            digest.update(piece)
        return digest.hexdigest()

    async def delete_many(self, bucket: str, keys: Sequence[str]) -> dict[str, str]:
        """Codes of the keys that are still there, by key, also where S3 refuses to delete at all.

        One that was not there is no error.
        """
        failed: dict[str, str] = {}
        for start in range(0, len(keys), KEYS_PER_DELETE):
            some = keys[start : start + KEYS_PER_DELETE]
            try:
                with _translated():
                    answer = await self._client.delete_objects(
                        Bucket=bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                    )
            except ClientError as error:
                failed |= dict.fromkeys(some, error.response["Error"]["Code"])
                continue
            failed |= {each["Key"]: each["Code"] for each in answer.get("Errors", []) if each["Code"] != "NoSuchKey"}
        return failed

    async def create_multipart(self, bucket: str, key: str, content_type: str, *, sse: str = "") -> str:
        """S3's id of a new upload in parts; ``sse`` as in x-amz-server-side-encryption."""
        encryption: Any = {"ServerSideEncryption": sse} if sse else {}
        with _translated():
            answer = await self._client.create_multipart_upload(
                Bucket=bucket, Key=key, ContentType=content_type, **encryption
            )
        return answer["UploadId"]

    async def list_parts(
        self, bucket: str, key: str, multipart_id: str, *, after: int = 0, last: int = MOST_PARTS
    ) -> list[Part] | None:
        """The parts with numbers above ``after`` up to ``last``, in order; None where the upload is complete or gone.

        SeaweedFS has a part that was sent again once for each time: all of them are listed, the newest last.
        """
        found: list[tuple[int, datetime, Part]] = []
        while after < last:
            with _translated():
                try:
                    answer = await self._client.list_parts(
                        Bucket=bucket,
                        Key=key,
                        UploadId=multipart_id,
                        PartNumberMarker=after,
                        MaxParts=PARTS_PER_LIST,  # also of a few: a page that ends with a part may hide it sent again
                    )
                except ClientError as error:
                    if _is_gone(error):
                        return None
                    raise
            for each in answer.get("Parts", []):
                part = Part(each["PartNumber"], each["Size"], each["ETag"].strip('"'))
                found.append((part.number, each["LastModified"], part))
            after = answer.get("NextPartNumberMarker", last) if answer["IsTruncated"] else last
        found.sort(key=itemgetter(0, 1))
        return [part for number, _, part in found if number <= last]

    async def complete_multipart(
        self, bucket: str, key: str, multipart_id: str, parts: Sequence[Part]
    ) -> Literal["", "NoSuchUpload", "InvalidPart"]:
        """Make one object of the parts, or say why it cannot be done: it is complete or gone, or a part is another now.

        AWS begins to answer before it knows: an error that comes with status 200 is one of 500 for the SDK, which tries
        again, but it is known by its code.
        """
        listed: Any = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        with _translated():
            try:
                await self._client.complete_multipart_upload(
                    Bucket=bucket, Key=key, UploadId=multipart_id, MultipartUpload={"Parts": listed}
                )
            except ClientError as error:
                if _is_gone(error):
                    return "NoSuchUpload"
                if error.response["Error"]["Code"] == "InvalidPart":
                    return "InvalidPart"
                raise
        return ""

    async def abort_multipart(self, bucket: str, key: str, multipart_id: str) -> bool:
        """Whether nothing is left of it: a part whose request is under way may outlive that. Complete ones stay."""
        with _translated():
            try:
                await self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=multipart_id)
            except ClientError as error:
                if not _is_gone(error):
                    raise
        return not await self.list_parts(bucket, key, multipart_id)

    async def answers(self, seconds: float) -> bool:
        """Whether all buckets are there and ours to use, within the time; the log says what is wrong."""
        try:
            async with asyncio.timeout(seconds):
                for bucket in self.buckets:
                    await self.require(bucket)
        except (TimeoutError, StorageUnavailable):
            return False
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            reason = {403: "the credentials may not use it", 404: "there is no such bucket"}.get(status, str(error))
            log.error("bucket %s: %s", bucket, reason)  # noqa: TRY400 - a trace of the SDK says nothing more
            return False
        except BotoCoreError as error:
            log.error("S3 cannot be asked: %s", error)  # noqa: TRY400
            return False
        return True


def _is_gone(error: ClientError) -> bool:
    """Whether S3 knows no such upload in parts: it is complete, or aborted."""
    return error.response["Error"]["Code"] == "NoSuchUpload"


@contextmanager
def refusing() -> Iterator[None]:
    """Makes StorageUnavailable of a refusal: nobody but the operator can do something about it."""
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        log.error("S3 refuses the service, look at its credentials and buckets: %s", error)  # noqa: TRY400
        raise StorageUnavailable from error


@contextmanager
def _translated() -> Iterator[None]:
    """What passes by itself becomes StorageUnavailable, after the SDK's own retries; a refusal stays what it is.

    So does having no credentials: they may come.
    """
    try:
        yield
    except (BotocoreConnectionError, HTTPClientError, aiohttp.ClientError, OSError) as error:
        log.warning("S3 does not answer: %s", error)
        raise StorageUnavailable from error
    except (NoCredentialsError, CredentialRetrievalError) as error:
        log.error("S3 cannot be asked: %s", error)  # noqa: TRY400 - a trace of the SDK says nothing more
        raise StorageUnavailable from error
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if status < 500 and error.response.get("Error", {}).get("Code") not in _BUSY:
            raise
        log.warning("S3 does not answer: %s", error)
        raise StorageUnavailable from error


def _hex(checksum: str) -> str | None:
    """That of an upload in parts ends in "-" and a number, and is one of its parts' checksums."""
    return base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None
