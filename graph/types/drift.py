"""DriftReport: where the rows, copies and bucket of a sync source differ."""

from datetime import datetime
from typing import Any

import orjson
import strawberry

from graph.context import Info
from graph.scalars import Count
from models import DriftKind
from models.pages import Row

strawberry.enum(
    DriftKind,
    description="What differs. A SYNCED copy is not there (MISSING), is not what was copied (DAMAGED), or is of a file"
    " that is another one in S3 by now (CHANGED) or not there any more (GONE); among the copies is what no object knows"
    " (EXTRA); in S3 is a file that nobody has asked to copy (UNKNOWN).",
)


@strawberry.type(description="One thing that differs.")
class DriftItem:
    kind: DriftKind = strawberry.field(description="In which way.")
    path: str | None = strawberry.field(
        description="Of the copy, below the root of local copies, or its key in another bucket; null for UNKNOWN."
    )
    key: str | None = strawberry.field(description="Of the file in the bucket of the source; null for EXTRA.")
    batch_id: str | None = strawberry.field(description="Of the batch it is in, or would be; null for EXTRA.")
    object_id: str | None = strawberry.field(description="Of the object it belongs to, or would; null for EXTRA.")
    file_name: str | None = strawberry.field(description="Of the file; null for EXTRA.")

    @classmethod
    def of(cls, item: dict[str, Any]) -> "DriftItem":
        names = ("path", "key", "batch_id", "object_id", "file_name")
        return cls(kind=DriftKind(item["kind"]), **{name: item.get(name) for name in names})


@strawberry.type(description="Where rows, copies and the bucket of a sync source differed.")
class DriftReport:
    checked_at: datetime = strawberry.field(description="When it was made.")
    copies: Count = strawberry.field(description="SYNCED copies that were looked at.")
    missing: Count = strawberry.field(description="SYNCED copies that are not there.")
    damaged: Count = strawberry.field(description="Copies of another size, or with `verify` other bytes, than copied.")
    changed: Count = strawberry.field(description="Copies of files that are others in S3 by now.")
    gone: Count = strawberry.field(description="Copies of files that are not in S3 any more.")
    extra: Count = strawberry.field(description="Files among the copies that are no copy.")
    unknown: Count = strawberry.field(
        description="Files in S3 that nobody has asked to copy; 0 where the prefix of the source has not both ids, each"
        " in a directory of its own."
    )
    queued: Count = strawberry.field(description="Copies that were queued by the repair.")
    repair: bool = strawberry.field(description="Whether missing, damaged, changed and unknown ones were queued.")
    verify: bool = strawberry.field(description="Whether the copies were read.")
    problem: str | None = strawberry.field(
        description="The code of what kept the report or the repair from being whole; null if they are."
    )
    error: str | None = strawberry.field(description="The same in words.")
    named: strawberry.Private[list[dict[str, Any]]]

    @classmethod
    def of(cls, row: Row) -> "DriftReport":
        report = orjson.loads(row["report"])
        return cls(checked_at=row["checked_at"], named=report.pop("items"), **report)

    @strawberry.field(description="What differs, by its kind; up to 100 of each are kept by name.")
    def items(self, info: Info, kind: DriftKind | None = None, first: int | None = None) -> list[DriftItem]:
        most = info.context.bounds(first, None, None, None, b"").limit
        return [DriftItem.of(item) for item in self.named if kind in (None, item["kind"])][:most]
