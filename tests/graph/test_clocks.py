"""A service whose clock is others' than that of S3 and of the database."""

from datetime import UTC, datetime, timedelta
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import Caller
from tests.uploads import announced, completed, get, put

READ = '{ object(objectId: "o") { file { access(expiresIn: 1200) { url } } } }'


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_service_whose_clock_is_ten_minutes_off_gives_urls_that_work_no_longer_than_they_say(
    admin: Caller, minutes: int
) -> None:
    def now() -> datetime:
        return datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)

    with patch("graph.types.files._now", now):
        upload = await announced(admin, b"hello")
        signed = {name: value for name, [value] in parse_qs(urlsplit(upload["url"]).query).items()}
        began = datetime.strptime(signed["X-Amz-Date"], "%Y%m%dT%H%M%S%z")
        over = began + timedelta(seconds=int(signed["X-Amz-Expires"]))
        assert over <= datetime.fromisoformat(upload["expiresAt"])
        assert await put(upload, b"hello") == 200
        assert await completed(admin, upload) == [("COMPLETE", None)]
        access = (await admin.execute(READ))["object"]["file"]["access"]
        assert (await get(access["url"])).content == b"hello"
