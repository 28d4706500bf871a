"""File, its access, and uploads: made straight from the rows that a page read, signed without asking anybody."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, cast

import strawberry

from graph.context import Context, Info
from graph.scalars import Size
from graph.selection import parts_of_objects, selects
from graph.types.connection import Connection
from graph.types.node import Node, global_id
from graph.types.parts import Header, PartsPage, UploadPart, page_of
from models import Action, FileState, pages
from models.errors import BadInput, FileNotComplete
from models.pages import Row
from storage.disposition import Disposition
from storage.given import Given
from storage.multipart import cut_of
from storage.signing import MAX_SECONDS

if TYPE_CHECKING:
    from graph.types.objects import Object

DEFAULT_ACCESS_SECONDS = 300
_LENGTH = "content-length"  # which browsers let nobody set
_COMPLETE = FileState.COMPLETE.value

strawberry.enum(
    FileState,
    description="How far a file is: announced; its bytes being read to prove them; there and proved; given up.",
)
strawberry.enum(Disposition, description="What a browser does with the file: show it, or save it.")


@strawberry.type(description="Leave to read a file from S3, for whoever has the URL.")
class Access:
    url: str = strawberry.field(description="GET it, without any credential.")
    expires_at: datetime = strawberry.field(description="Until when the URL works.")


class ChecksumAlgorithm(Enum):
    SHA256 = strawberry.enum_value(
        "SHA256", description="Of all bytes, in hexadecimal: announced, and proved by S3 or by reading them."
    )
    CRC64NVME = strawberry.enum_value(
        "CRC64NVME",
        description="Of all bytes, in base64, as S3 states it: AWS computes it where nothing was announced.",
    )
    ETAG = strawberry.enum_value(
        "ETAG",
        description="As S3 states it. Without KMS the MD5 of the bytes; of N parts the MD5 of their MD5s, and -N.",
    )


strawberry.enum(ChecksumAlgorithm, description="What a checksum says, the strongest first.")


@strawberry.type(description="By what the bytes of a file can be known again.")
class Checksum:
    algorithm: ChecksumAlgorithm = strawberry.field(description="Which it is.")
    value: str = strawberry.field(description="The checksum.")


@strawberry.type(description="An object's file.")
class File:
    row: strawberry.Private[Row]

    @strawberry.field(description="How far it is.")
    def state(self) -> FileState:
        return FileState(self.row["file_state"])

    @strawberry.field(description="As announced; a download gets it back.")
    def name(self) -> str:
        return str(self.row["file_name"])

    @strawberry.field(description="As announced; a download gets it back.")
    def content_type(self) -> str:
        return str(self.row["file_type"])

    @strawberry.field(description="In bytes.")
    def size(self) -> Size:
        return Size(self.row["file_size"])

    @strawberry.field(description="In hexadecimal, if it was announced; of a complete file it is proved.")
    def sha256(self) -> str | None:
        return _hexadecimal(self.row["file_sha256"])

    @strawberry.field(
        description="The strongest that is known of a complete file. Of one that was announced without a SHA-256 S3 is"
        " asked."
    )
    async def checksum(self, info: Info) -> Checksum | None:
        if self.row["file_state"] != FileState.COMPLETE:
            return None
        if self.row["file_sha256"] is not None:
            return Checksum(algorithm=ChecksumAlgorithm.SHA256, value=self.row["file_sha256"].hex())
        if (stored := await info.context.stored(self.row)) is None:
            return None
        if stored.crc64nvme:
            return Checksum(algorithm=ChecksumAlgorithm.CRC64NVME, value=stored.crc64nvme)
        return Checksum(algorithm=ChecksumAlgorithm.ETAG, value=stored.etag)

    @strawberry.field(description="Since when it is complete.")
    def completed_at(self) -> datetime | None:
        moment: datetime | None = self.row["file_completed_at"]
        return moment

    @strawberry.field(
        description="Leave to read it, for five minutes if nothing else is asked for, and to save it; FILE_NOT_COMPLETE"
        " until there is something to read. Seconds are from 1 to 604800, a week. Whoever asks again within a tenth of"
        " them, or a minute, is given the same URL, of which as much of its time may be over."
    )
    def access(
        self, info: Info, expires_in: int | None = None, disposition: Disposition | None = None
    ) -> Access | None:
        given, new, until = readings(info.context, [self.row], Reading.of(expires_in, disposition))
        key = self.row["file_pk"]
        return Access(url=given.get(key) or new[key], expires_at=until)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What is asked of ``File.access``: one of each, which is known by being it, for it is looked up for each file."""

    seconds: int
    disposition: Disposition

    @staticmethod
    def of(expires_in: int | None, disposition: Disposition | None) -> "Reading":
        """The same of what is asked for and of what is meant where nothing is. Raises BadInput."""
        seconds = DEFAULT_ACCESS_SECONDS if expires_in is None else expires_in
        if not 1 <= seconds <= MAX_SECONDS:
            raise BadInput(f'"expiresIn" must be from 1 to {MAX_SECONDS} seconds, not {seconds}.')
        return _reading(seconds, disposition or Disposition.ATTACHMENT)


_reading = lru_cache(1024)(Reading)


def readings(
    context: Context, rows: Sequence[Row], asked: Reading
) -> tuple[Mapping[int, str], Mapping[int, str], datetime]:
    """URLs of the files of rows of objects, by their keys: those that were given before, among which are others, and
    the rest; and until when they work. Raises FileNotComplete.

    A file of which a URL was given is complete: it stays so.
    """
    given, new = context.unknown.pop(asked) if asked in context.unknown else _unknown(context, rows, asked)
    return given.urls, context.sign_readings(given, new) if new else {}, given.until


def unknown(context: Context, rows: Sequence[Row], asked: Sequence[Reading]) -> dict[Given, list[Row]]:
    """The rows whose URLs are not given yet, which ``readings`` of the same rows is going to sign. Raises
    FileNotComplete.
    """
    for one in asked:
        context.unknown[one] = _unknown(context, rows, one)
    return {given: new for given, new in context.unknown.values() if new}


def _unknown(context: Context, rows: Sequence[Row], asked: Reading) -> tuple[Given, list[Row]]:
    given = context.given.get(asked)
    if given is None or given.end <= time.time():
        given = context.given[asked] = context.urls.given(
            context.viewer.actor, asked.disposition, now=_now(), seconds=asked.seconds
        )
    known = given.urls
    new = [row for row in rows if (key := row["file_pk"]) not in known and key is not None]
    for row in new:
        if row["file_state"] != _COMPLETE:
            raise FileNotComplete(state=row["file_state"])
    return given, new


@strawberry.type(description="What brings an object's bytes to S3: one request, or many `parts` of a large file.")
class Upload(Node):
    row: strawberry.Private[Row]
    object_row: strawberry.Private[Row | None]
    method: str = strawberry.field(description="Of the request.", default="PUT")

    @classmethod
    def of(cls, row: Row, object_row: Row | None = None) -> "Upload":
        """The object's row, where it is known, spares asking for it, and a thousand uploads their waiting for it."""
        return cls(id=global_id("Upload", row["file_pk"]), row=row, object_row=object_row)

    @strawberry.field(description="How far the file is.")
    def state(self) -> FileState:
        return FileState(self.row["file_state"])

    @strawberry.field(description="Whose file it is to be.")
    def object(self, info: Info) -> Annotated["Object", strawberry.lazy("graph.types.objects")]:
        from graph.types.objects import Object  # noqa: PLC0415 - each of the two has the other

        async def load() -> Object:
            return Object.of(await info.context.objects.load((self.row["object_pk"], parts_of_objects(info))))

        # The executor awaits what can be awaited; the schema knows the type only.
        return Object.of(self.object_row) if self.object_row else cast("Object", load())

    @strawberry.field(description="In bytes, of the whole, as announced.")
    def size(self) -> Size:
        return Size(self.row["file_size"])

    @strawberry.field(description="Of the whole, in hexadecimal, if it was announced.")
    def sha256(self) -> str | None:
        return _hexadecimal(self.row["file_sha256"])

    @strawberry.field(description="In bytes, of each part but the last; null where the upload is one request.")
    def part_size(self) -> Size | None:
        size = self.row["file_part_bytes"]
        return size and Size(size)

    @strawberry.field(description="How many parts there are to send; null where the upload is one request.")
    def part_count(self) -> int | None:
        return cut_of(self.row).count if self._in_parts else None

    @strawberry.field(
        description="The parts in order; empty where the upload is one request. With `etag` S3 is asked what it has:"
        " an upload that was broken off goes on with the parts that it has not."
    )
    async def parts(
        self,
        info: Info,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
    ) -> Connection[UploadPart]:
        context = info.context
        digest = pages.digest("parts of an upload", self.row["file_pk"])
        bounds = context.bounds(first, after, last, before, digest)
        count = cut_of(self.row).count if self._in_parts else 0
        numbers, page = page_of(count, bounds)
        now = _now()
        left = min(self._seconds_left(now), context.limits.upload_seconds)
        asks = left > 0 and len(numbers) > 0 and selects(info, "etag")
        etags = await context.etags(self.row, numbers) if asks else {}
        parts = PartsPage(self.row, self.object_row or self.row, now, left, numbers, etags)

        async def total() -> int:
            return count

        return Connection(
            page=page, digest=digest, make=lambda row: UploadPart(page=parts, number=row["id"]), count=total
        )

    @strawberry.field(
        description="Where to send the bytes, without any credential; empty when that is over, and for a file in parts."
    )
    def url(self, info: Info) -> str:
        now = _now()
        if self._in_parts or (seconds := self._seconds_left(now)) < 1:
            return ""
        url = info.context.urls.writing(
            self.row["file_bucket"], self.row["file_key"], headers=self._headers(info), now=now, seconds=seconds
        )
        until = now + timedelta(seconds=seconds)
        info.context.sign(Action.WRITE_URL, self.row["file_pk"], until, self.object_row or self.row)
        return url

    @strawberry.field(description="To be sent with it, besides Content-Length, which most clients send by themselves.")
    def headers(self, info: Info) -> list[Header]:
        if self._in_parts or self._seconds_left(_now()) < 1:
            return []
        return [Header(name=name, value=value) for name, value in self._headers(info).items() if name != _LENGTH]

    @strawberry.field(description="Until when the URL works; in parts, until when any URL of a part can.")
    def expires_at(self) -> datetime:
        moment: datetime = self.row["file_expires_at"]
        return moment

    @property
    def _in_parts(self) -> bool:
        return self.row["file_part_bytes"] is not None

    def _headers(self, info: Info) -> dict[str, str]:
        return info.context.urls.headers(self.row["file_type"], self.row["file_size"], self.row["file_sha256"])

    def _seconds_left(self, now: datetime) -> int:
        if self.row["file_state"] != FileState.PENDING:
            return 0
        # The database's clock may be ahead of ours.
        return min(int((self.row["file_expires_at"] - now).total_seconds()), MAX_SECONDS)


def _hexadecimal(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _now() -> datetime:
    """To the second, as URLs say it."""
    return datetime.now(UTC).replace(microsecond=0)
