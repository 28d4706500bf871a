"""What is in a bucket, whoever put it there, page by page; and moving it. For the reaper, which believes no row.

Everything here raises StorageUnavailable, also where S3 refuses: the log says why, and whoever asked may go on later
where they were.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from botocore.exceptions import BotoCoreError, ClientError

from models.errors import StorageUnavailable
from storage.client import Storage, _translated

KEYS_PER_PAGE = 1_000
_MIB = 1024**2
# S3 copies up to 5 GiB at once, but answers when it is done: a request must not take longer than we wait for one.
_COPIED_AT_ONCE = 256 * _MIB
_MOST_PARTS = 10_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """An object, or with ``multipart_id`` an unfinished upload in parts, of which nothing else but the time is known.

    ``modified_at`` is S3's own time, in whole seconds.
    """

    key: str
    size: int
    etag: str
    modified_at: datetime
    multipart_id: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """``after`` is where the next one begins, in ASCII; None behind the last."""

    entries: list[Entry]
    after: str | None


async def objects(storage: Storage, bucket: str, after: str = "") -> Page:
    """A page of them. ``after`` is the last key of the page before, which is good at any time."""
    with _asked():
        answer = await storage.client.list_objects_v2(Bucket=bucket, StartAfter=unquote(after), MaxKeys=KEYS_PER_PAGE)
    entries = [
        Entry(one["Key"], one["Size"], one["ETag"].strip('"'), one["LastModified"].replace(microsecond=0))
        for one in answer.get("Contents", [])
    ]
    return Page(entries, quote(entries[-1].key) if answer["IsTruncated"] and entries else None)


async def multiparts(storage: Storage, bucket: str, after: str = "", prefix: str = "") -> Page:
    """A page of the unfinished uploads in parts of keys that begin with the prefix."""
    # As they were given: SeaweedFS has no marker of the key, and gives one another meaning.
    names = ("KeyMarker", "UploadIdMarker")
    markers: dict[str, Any] = {name: unquote(one) for name, one in zip(names, after.split(" "), strict=False) if one}
    with _asked():
        answer = await storage.client.list_multipart_uploads(
            Bucket=bucket, Prefix=prefix, EncodingType="url", MaxUploads=KEYS_PER_PAGE, **markers
        )
    entries = [
        Entry(_decoded(one["Key"]), 0, "", one["Initiated"].replace(microsecond=0), one["UploadId"])
        for one in answer.get("Uploads", [])
    ]
    after = f"{quote(_decoded(answer.get('NextKeyMarker', '')))} {quote(answer.get('NextUploadIdMarker', ''))}"
    return Page(entries, after if answer["IsTruncated"] and after != " " else None)


async def found(storage: Storage, bucket: str, key: str) -> Entry | None:
    """As S3 knows it now; None where nothing is there."""
    with _asked():
        try:
            answer = await storage.client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise
    return Entry(key, answer["ContentLength"], answer["ETag"].strip('"'), answer["LastModified"].replace(microsecond=0))


async def abort(storage: Storage, bucket: str, key: str, multipart_id: str) -> None:
    """Frees the parts of an unfinished upload. One that is not there any more is no error."""
    with _asked():
        try:
            await storage.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=multipart_id)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload":
                raise


async def delete(storage: Storage, bucket: str, entry: Entry) -> bool:
    """Whether it is gone; false where it is something else by now, which stays (where S3 can tell)."""
    with _asked():
        try:
            await storage.client.delete_object(Bucket=bucket, Key=entry.key, IfMatch=f'"{entry.etag}"')
        except ClientError as error:
            if _status(error) not in (404, 412):
                raise
            return _status(error) == 404
    return True


async def copy(
    storage: Storage, bucket: str, source: Entry, target: str, goes_on: Callable[[], Awaitable[None]]
) -> bool:
    """Whether S3 has the bytes of ``source`` at ``target``, too; false where that is something else by now.

    Asks for the same type, metadata and encryption. ``goes_on`` is called after each part of a large one.
    """
    client = storage.client
    with _asked():
        try:
            head = await client.head_object(Bucket=bucket, Key=source.key, IfMatch=f'"{source.etag}"')
            kept: dict[str, Any] = {
                name: head[name] for name in ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled") if name in head
            }
            given: dict[str, Any] = {
                "Bucket": bucket,
                "Key": target,
                "CopySource": {"Bucket": bucket, "Key": source.key},
                "CopySourceIfMatch": f'"{source.etag}"',
            }
            if source.size <= _COPIED_AT_ONCE:
                await client.copy_object(**given, **kept)
            else:
                kept |= {"ContentType": head.get("ContentType", ""), "Metadata": head.get("Metadata", {})}
                await _copy_in_parts(storage, given, kept, source.size, goes_on)
        except ClientError as error:
            if _status(error) in (404, 412):
                return False
            raise
    there = await found(storage, bucket, target)
    return there is not None and there.size == source.size


async def _copy_in_parts(
    storage: Storage, given: dict[str, Any], kept: dict[str, Any], size: int, goes_on: Callable[[], Awaitable[None]]
) -> None:
    client, target = storage.client, {"Bucket": given["Bucket"], "Key": given["Key"]}
    # What somebody has left who died on the way; the key is nobody else's.
    for left in (await multiparts(storage, target["Bucket"], prefix=target["Key"])).entries:
        await abort(storage, target["Bucket"], left.key, left.multipart_id)
    upload = {**target, "UploadId": (await client.create_multipart_upload(**target, **kept))["UploadId"]}
    part_size = max(_COPIED_AT_ONCE, -(-size // _MOST_PARTS))
    parts: list[Any] = []
    try:
        for number, begin in enumerate(range(0, size, part_size), 1):
            of_source = f"bytes={begin}-{min(begin + part_size, size) - 1}"
            answer = await client.upload_part_copy(
                **given, UploadId=upload["UploadId"], PartNumber=number, CopySourceRange=of_source
            )
            parts.append({"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]})
            await goes_on()
        await client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    except ClientError:
        await client.abort_multipart_upload(**upload)
        raise


@contextmanager
def _asked() -> Iterator[None]:
    try:
        with _translated():
            yield
    except (ClientError, BotoCoreError) as error:  # a refusal: nobody but the operator can do something about it
        _log.error("S3 refuses the service, look at its credentials and buckets: %s", error)
        raise StorageUnavailable from error


def _decoded(key: str) -> str:
    """The SDK does it for objects alone, with "+" for a space as S3 writes it."""
    return unquote(key.replace("+", "%20"))


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
