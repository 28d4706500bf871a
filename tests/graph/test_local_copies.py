"""Each object shows its local copy: the newest that is there, or what becomes of the newest."""

from datetime import datetime
from typing import Any

import pytest

from tests.conftest import Caller
from tests.graph.test_mutations import data_of
from tests.statements import count_statements
from tests.syncs import copied, failed, file, new_source, requested

COPIES = """{ objects { nodes { objectId localCopy { state fileName fileType source path size sha256 syncedAt
  problem } } } }"""


@pytest.fixture
async def photos(admin: Caller) -> Caller:
    """The admin of a tenant with a source."""
    await new_source(admin)
    return admin


async def copy_of(caller: Caller) -> Any:
    [node] = (await caller.execute(COPIES))["objects"]["nodes"]
    return node["localCopy"]


async def test_objects_copy_is_the_newest_that_is_there_else_the_newest_of_all(photos: Caller) -> None:
    await photos.create_batch("b", {"o": []})
    assert await copy_of(photos) is None
    await new_source(photos, "letters")
    await requested(photos, file(name="old.jpg"))
    await copied(photos)
    old = await copy_of(photos)
    assert (old["state"], old["fileName"], old["fileType"]) == ("SYNCED", "old.jpg", "image/jpeg")
    assert (old["source"], old["path"], old["size"], len(old["sha256"])) == ("photos", "t/o", 5, 64)
    assert datetime.fromisoformat(old["syncedAt"])
    await requested(photos, file(name="new.jpg"), source="letters")
    assert await copy_of(photos) == old
    await failed(photos)
    assert await copy_of(photos) == old
    await requested(photos, file(name="newest.jpg"), source="letters")
    await copied(photos)
    assert (await copy_of(photos))["fileName"] == "newest.jpg"
    assert await data_of(photos, "o") == [
        "file_name=newest.jpg",
        "file_type=image/jpeg",
        "size=5",
        f"sha256={(await copy_of(photos))['sha256']}",
    ]


async def test_failed_copy_says_why(photos: Caller) -> None:
    await requested(photos)
    await failed(photos)
    copy = await copy_of(photos)
    assert (copy["state"], copy["problem"], copy["path"]) == ("FAILED", "FILE_MISSING", None)


async def test_copies_of_a_page_of_objects_take_one_statement(photos: Caller) -> None:
    await requested(photos, *(file(str(number)) for number in range(10)))
    count, data = await count_statements(photos, COPIES)
    assert count == 2
    assert len([node for node in data["objects"]["nodes"] if node["localCopy"]["state"] == "QUEUED"]) == 10
