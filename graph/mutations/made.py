import strawberry

from graph.types.files import Upload
from graph.types.objects import Batch, Object
from models.writes import Made


@strawberry.type
class MadeObjects:
    """What the payloads of both mutations that make objects have."""

    made: strawberry.Private[Made]

    @strawberry.field(description="The batch they are in.")
    def batch(self) -> Batch:
        return Batch.of(self.made.batch)

    @strawberry.field(description="The new objects, in the order given.")
    def objects(self) -> list[Object]:
        return [Object.of(row) for row in self.made.rows()]

    @strawberry.field(description="Those of the new objects that have a file, in this order: send its bytes.")
    def uploads(self) -> list[Upload]:
        objects = {row["id"]: row for row in self.made.rows() if row["file_pk"] is not None}
        return [Upload.of(row, objects[key]) for key, row in self.made.uploads.items()]
