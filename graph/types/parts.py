"""The parts of a large upload: each is sent by itself, and again where that failed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import strawberry

from graph.context import Info
from graph.scalars import Size
from models import Action
from models.pages import Bounds, Page, Row
from storage.multipart import cut_of


@strawberry.type(description="A header of an HTTP request.")
class Header:
    name: str = strawberry.field(description="In lower case.")
    value: str = strawberry.field(description="To be sent exactly so.")


@dataclass(frozen=True, slots=True)
class PartsPage:
    """What the parts of one page have in common; no URL of theirs is signed where ``seconds`` are below 1."""

    row: Row
    named: Row  # that names the object
    now: datetime
    seconds: int
    numbers: range
    etags: Mapping[int, str]

    @property
    def until(self) -> datetime:
        return self.now + timedelta(seconds=max(self.seconds, 0))


@strawberry.type(description="One request of a large upload.")
class UploadPart:
    page: strawberry.Private[PartsPage]
    number: int = strawberry.field(description="From 1.")

    @strawberry.field(description="In bytes, exactly; `partSize` but for the last one.")
    def size(self) -> Size:
        return Size(self._size)

    @strawberry.field(
        description="Where to PUT the part, without any credential, as often as it takes; empty when that is over."
    )
    def url(self, info: Info) -> str:
        page, row = self.page, self.page.row
        if page.seconds < 1:
            return ""
        url = info.context.urls.part(
            row["file_bucket"],
            row["file_key"],
            row["file_multipart_id"],
            self.number,
            self._size,
            now=page.now,
            seconds=page.seconds,
        )
        parts = f"{page.numbers.start}-{page.numbers.stop - 1}"
        info.context.sign(Action.WRITE_URL, row["file_pk"], page.until, page.named, parts)
        return url

    @strawberry.field(description="To be sent with it, besides Content-Length, which most clients send by themselves.")
    def headers(self) -> list[Header]:
        return []  # what kind of file it is S3 knows from the beginning

    @strawberry.field(description="Until when the URL works. Ask for a new one then, as long as the upload lasts.")
    def expires_at(self) -> datetime:
        return self.page.until

    @strawberry.field(
        description="Of what S3 has of the part; null if that is nothing, or of another size. Send what is null."
    )
    def etag(self) -> str | None:
        return self.page.etags.get(self.number)

    @property
    def _size(self) -> int:
        return cut_of(self.page.row).size_of(self.number)


def page_of(count: int, bounds: Bounds) -> tuple[range, Page]:
    """Numbers of parts, in order, from one after the first cursor to one before the second."""
    low = 1 if bounds.after is None else max(bounds.after, 0) + 1
    high = count if bounds.before is None else min(bounds.before - 1, count)
    numbers = range(low, max(high, low - 1) + 1)
    part = numbers[-bounds.limit :] if bounds.backward else numbers[: bounds.limit]
    rows = [{"id": number} for number in part]
    more = len(part) < len(numbers)
    if bounds.backward:
        return part, Page(rows, has_next=bounds.before is not None, has_previous=more)
    return part, Page(rows, has_next=more, has_previous=bounds.after is not None)
