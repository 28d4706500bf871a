"""How a local copy is read: URLs of it and of its thumbnail, signed without asking anybody."""

from datetime import UTC, datetime, timedelta

import strawberry

from access.copy_urls import Shown
from graph.context import Info
from graph.types.files import DEFAULT_ACCESS_SECONDS, Access
from models.errors import BadInput, FileNotComplete
from models.images import USUAL_WIDTH, is_image, width_of
from models.pages import Row
from storage.disposition import Disposition
from storage.signing import MAX_SECONDS


@strawberry.type
class ReadableCopy:
    """What LocalCopy has of this; ``object_row`` has the ids of its object and batch."""

    row: strawberry.Private[Row]
    object_row: strawberry.Private[Row]

    @strawberry.field(
        description="Leave to read it, for five minutes if nothing else is asked for, and to save it; FILE_NOT_COMPLETE"
        " until there is something to read. The URL is relative to that of the service. Seconds are from 1 to 604800, a"
        " week. What could run in a browser is always saved."
    )
    def access(
        self, info: Info, expires_in: int | None = None, disposition: Disposition | None = None
    ) -> Access | None:
        if self.row["path"] is None:
            raise FileNotComplete("There is no local copy yet.", state=self.row["state"])
        return self._signed(info, expires_in, Shown(str(self.row["id"]), disposition is Disposition.INLINE))

    @strawberry.field(
        description="Leave to read a small picture of it (WebP), as `access`: at most so wide, 256 if nothing is asked"
        " for, or the next of 64, 128, 256, 512 and 1024, and twice as high. Null of what is no image or not there yet."
    )
    def thumbnail(self, info: Info, width: int | None = None, expires_in: int | None = None) -> Access | None:
        wide = width_of(USUAL_WIDTH if width is None else width)
        if self.row["path"] is None or not is_image(self.row["file_type"]):
            return None
        return self._signed(info, expires_in, Shown(str(self.row["id"]), width=wide))

    def _signed(self, info: Info, expires_in: int | None, shown: Shown) -> Access:
        seconds = DEFAULT_ACCESS_SECONDS if expires_in is None else expires_in
        if not 1 <= seconds <= MAX_SECONDS:
            raise BadInput(f'"expiresIn" must be from 1 to {MAX_SECONDS} seconds, not {seconds}.')
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)  # as URLs say it
        url = info.context.copy_urls.sign(info.context.viewer.tenant_id, shown, until)
        info.context.sign_copy({**self.object_row, "id": self.row["id"]}, until, shown.width)
        return Access(url=url, expires_at=until)
