"""How far the files of a batch are: made from what loaders ask for a whole page."""

import strawberry

from graph.scalars import Size
from models import BatchState
from models.pages import Row

strawberry.enum(
    BatchState,
    description="How far the files of a batch are: none, or some given up; some to be sent or proved; all complete.",
)


@strawberry.type(description="How many files a batch has, and how far they are. Objects without a file do not count.")
class BatchProgress:
    files: int = strawberry.field(description="Of objects in the batch that you can read, each object's file once.")
    complete: int = strawberry.field(description="That are there and proved.")
    pending: int = strawberry.field(description="That are to be sent, or being proved.")
    expired: int = strawberry.field(description="That were given up: announce them anew.")
    bytes: Size = strawberry.field(description="Of all files together.")
    complete_bytes: Size = strawberry.field(description="Of those that are complete.")

    @classmethod
    def of(cls, row: Row) -> "BatchProgress":
        return cls(**{name: row[name] for name in cls.__annotations__})
