"""What is asked of a bucket of a sync source: to read a file from somewhere on, to write one, to list what is there.

Every method raises ``storage.locations.Trouble``.
"""

import base64
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import md5
from typing import TYPE_CHECKING, Any, NamedTuple

from models.locations import Location
from storage.locations import Changed, Locations, NotThere, asking

if TYPE_CHECKING:  # the types are not installed with the service
    from types_aiobotocore_s3.client import S3Client

MOST_PARTS = 10_000
_PIECE_BYTES = 256 * 1024
_KEYS_PER_PAGE = 1_000
_MD5 = re.compile(r"[0-9a-f]{32}", re.ASCII)
_CHECKSUMS = {"sha256": "ChecksumSHA256", "sha1": "ChecksumSHA1", "crc32": "ChecksumCRC32"}
_KMS = ("aws:kms", "aws:kms:dsse", "aws:fsx")


class Found(NamedTuple):
    key: str
    size: int
    etag: str


class Part(NamedTuple):
    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A file that S3 has begun to send. ``size`` is the whole one's, and so are ``checksums``: digests by their names.

    Those are hashlib's and ``crc32``. S3's others would take a library that makes the SDK sign in another way.
    """

    size: int
    etag: str
    checksums: Mapping[str, bytes]
    body: Any

    async def pieces(self) -> AsyncIterator[bytes]:
        """Of at most 256 KiB."""
        while True:
            with asking():
                piece = await self.body.read(_PIECE_BYTES)
            if not piece:
                return
            yield piece


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket, asked in the name of a source."""

    bucket: str
    s3: "S3Client"

    @asynccontextmanager
    async def reading(self, key: str, begin: int = 0, etag: str = "") -> AsyncIterator[Reading]:
        """From a byte on, of what still has the ETag where one is given."""
        asked: Any = {"Range": f"bytes={begin}-"} if begin else {}
        asked |= {"IfMatch": f'"{etag}"'} if etag else {}
        with asking():
            answer: Any = await self.s3.get_object(Bucket=self.bucket, Key=key, **asked)
        try:
            size = answer["ContentLength"]
            if begin:
                unit, _, total = answer.get("ContentRange", "").partition("/")
                if not unit.startswith(f"bytes {begin}-") or not total.isdecimal():
                    raise Changed("it was sent from the beginning")
                size = int(total)
            found = answer.get("ETag", "").strip('"')
            if etag and found != etag:
                raise Changed("by a server that looks at no conditions")
            yield Reading(size, found, _checksums(answer), answer["Body"])
        finally:
            answer["Body"].close()

    async def known(self, key: str) -> Reading:
        """What would be sent, and none of it."""
        with asking():
            answer: Any = await self.s3.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        return Reading(answer["ContentLength"], answer.get("ETag", "").strip('"'), _checksums(answer), None)

    async def put_empty(self, key: str, content_type: str) -> None:
        with asking():
            await self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"", ContentType=content_type)

    async def begin(self, key: str, content_type: str) -> str:
        """The id of an upload in parts, which is nowhere to be seen before it is complete.

        Those of the key that somebody else has begun are aborted: he died, or has lost the file.
        """
        with asking():
            answer = await self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=key)
        for left in answer.get("Uploads", []):
            if left["Key"] == key:
                await self.abort(key, left["UploadId"])
        with asking():
            return (await self.s3.create_multipart_upload(Bucket=self.bucket, Key=key, ContentType=content_type))[
                "UploadId"
            ]

    async def send(self, key: str, upload_id: str, number: int, content: bytes) -> Part:
        digest = base64.b64encode(md5(content, usedforsecurity=False).digest()).decode()
        with asking():
            answer = await self.s3.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=content, ContentMD5=digest
            )
        return Part(number, answer["ETag"])

    async def complete(self, key: str, upload_id: str, parts: Sequence[Part]) -> None:
        listed: Any = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        with asking():
            await self.s3.complete_multipart_upload(
                Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}
            )

    async def abort(self, key: str, upload_id: str) -> None:
        """One that is not there is no error."""
        try:
            with asking():
                await self.s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except NotThere:
            pass

    async def delete(self, key: str) -> None:
        """One that is not there is no error."""
        try:
            with asking():
                await self.s3.delete_object(Bucket=self.bucket, Key=key)
        except NotThere:
            pass

    async def listing(self, prefix: str) -> AsyncIterator[list[Found]]:
        """Whatever has a key that begins so, a thousand at a time, in the order of the keys."""
        asked: Any = {}
        while True:
            with asking():
                answer = await self.s3.list_objects_v2(
                    Bucket=self.bucket, Prefix=prefix, MaxKeys=_KEYS_PER_PAGE, **asked
                )
            yield [Found(one["Key"], one["Size"], one["ETag"].strip('"')) for one in answer.get("Contents", [])]
            if not answer["IsTruncated"]:
                return
            asked = {"ContinuationToken": answer["NextContinuationToken"]}


@asynccontextmanager
async def opened(locations: Locations, location: Location, tenant_slug: str) -> AsyncIterator[Place]:
    """For the tenant, whose slug is the external id of a role."""
    async with locations.client(location, tenant_slug) as s3:
        yield Place(location.bucket, s3)


def _checksums(answer: Mapping[str, Any]) -> dict[str, bytes]:
    """Those of the whole: one of an upload in parts may be its parts' checksums', and ends in "-" and a number."""
    if answer.get("ChecksumType") != "COMPOSITE":
        kept = {name: answer.get(field, "") for name, field in _CHECKSUMS.items()}
        if found := {name: base64.b64decode(text) for name, text in kept.items() if text and "-" not in text}:
            return found
    etag = answer.get("ETag", "").strip('"').lower()
    encrypted = answer.get("ServerSideEncryption") in _KMS or "SSECustomerAlgorithm" in answer
    return {"md5": bytes.fromhex(etag)} if _MD5.fullmatch(etag) and not encrypted else {}
