"""Notices become rows and objects, once each, and what is under way can be taken by one worker at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import orjson
import pytest

from models import Role, Tenant, User, copying, database, ids, notices, sealing, sources
from models.copying import Copied
from models.notices import Notice, Outcome
from models.pages import Row
from models.sources import NewSource, Stats

pytestmark = pytest.mark.usefixtures("connected")


@pytest.fixture
async def source() -> Row:
    return await new_source()


async def new_source(name: str = "photos", concurrency: int = 4) -> Row:
    tenant = await Tenant.create(slug=f"t{uuid4().hex[:20]}")
    user = await User.create(tenant=tenant, name="ada", role=Role.ADMIN)
    new = NewSource(name, {"bucket": "bucket"}, {"directory": name}, concurrency, b"sealed")
    return await sources.create(tenant.id, user.id, new)


async def ask(source: Row, *wanted: Notice) -> list[Outcome]:
    return [one.outcome for one in await notices.request(source["tenant_id"], source["id"], wanted)]


def notice(ref_id: str = "r", oeid: str = "b", name: str = "a.jpg") -> Notice:
    return Notice(oeid, ref_id, name, "image/jpeg")


async def stats(source: Row) -> Stats:
    return await sources.stats(source["tenant_id"], source["id"])


async def data(source: Row, object_id: str) -> list[dict[str, str]]:
    [row] = await database.fetch(
        "SELECT data FROM objects WHERE tenant_id = $1 AND object_id = $2", source["tenant_id"], object_id
    )
    return list(orjson.loads(row["data"]))


async def test_notice_makes_batch_object_and_row_once(source: Row) -> None:
    assert await ask(source, notice(), notice("s")) == [Outcome.QUEUED, Outcome.QUEUED]
    assert await ask(source, notice(), notice(name="b.jpg")) == [Outcome.ALREADY, Outcome.QUEUED]
    assert await stats(source) == (3, 0, 0, 0)
    assert await data(source, "r") == [
        {"key": "file_name", "value": "a.jpg"},
        {"key": "file_type", "value": "image/jpeg"},
    ]


async def test_same_file_twice_in_one_call_is_queued_once(source: Row) -> None:
    assert await ask(source, notice(), notice(), notice("s")) == [Outcome.QUEUED, Outcome.ALREADY, Outcome.QUEUED]


async def test_object_of_another_batch_is_refused_and_leaves_no_batch(source: Row) -> None:
    assert await ask(source, notice()) == [Outcome.QUEUED]
    assert await ask(source, notice(oeid="other")) == [Outcome.OTHER_BATCH]
    rows = await database.fetch("SELECT batch_id FROM batches WHERE tenant_id = $1", source["tenant_id"])
    assert [row["batch_id"] for row in rows] == ["b"]


async def test_sealed_batch_takes_nothing_new_but_what_failed_again(source: Row) -> None:
    await ask(source, notice())
    token = uuid4()
    [taken] = await mine(source, token)
    await copying.fail(token, taken["id"], "NOT_FOUND", "it is not there")
    [batch] = await database.fetch("SELECT id FROM batches WHERE tenant_id = $1", source["tenant_id"])
    await sealing.seal(source["tenant_id"], source["created_by_id"], batch["id"])
    assert await ask(source, notice(), notice("s"), notice(name="b")) == [
        Outcome.QUEUED,
        Outcome.SEALED,
        Outcome.SEALED,
    ]


async def test_keys_are_made_of_the_time_whatever_the_number_of_the_call(source: Row) -> None:
    """Also where its last eight bits are 0."""
    await database.fetch("SELECT setval('calls', nextval('calls') | 255)")
    begun = datetime.now(UTC) - timedelta(milliseconds=1)
    [answer] = await notices.request(source["tenant_id"], source["id"], [notice()])
    assert answer.sync_id is not None
    assert begun <= ids.created_at(answer.sync_id) <= datetime.now(UTC)


async def mine(source: Row, token: Any, most: int = 100) -> list[Row]:
    return [row for row in await copying.take(token, most) if row["source_id"] == source["id"]]


async def test_taken_file_is_nobody_elses_until_its_time_is_over(source: Row) -> None:
    await ask(source, notice())
    first, second = uuid4(), uuid4()
    [taken] = await mine(source, first)
    assert (taken["object_id"], taken["batch_id"], taken["source"], taken["attempts"]) == ("r", "b", "photos", 1)
    assert await mine(source, second) == []
    assert await stats(source) == (0, 1, 0, 0)
    await database.execute("UPDATE syncs SET due_at = now() WHERE id = $1", taken["id"])
    [again] = await mine(source, second)
    assert again["attempts"] == 2
    assert await copying.going_on(first, [taken["id"]]) == set()
    with pytest.raises(copying.Lost):
        async with copying.finishing(first, taken, Copied("p", 1, bytes(32), "e")):
            raise AssertionError
    async with copying.finishing(second, again, Copied("p", 1, bytes(32), "e")):
        pass
    assert await stats(source) == (0, 0, 1, 0)
    assert {"key": "sha256", "value": "00" * 32} in await data(source, "r")


async def test_source_has_no_more_files_under_way_than_it_may() -> None:
    source = await new_source(concurrency=2)
    await ask(source, *(notice(str(number)) for number in range(5)))
    token = uuid4()
    assert len(await mine(source, token)) == 2
    assert await mine(source, token) == []


async def test_copy_of_a_deleted_object_has_to_go_unless_its_place_is_taken_again(source: Row) -> None:
    await ask(source, notice(), notice("s"))
    token = uuid4()
    for one in await mine(source, token):
        async with copying.finishing(token, one, Copied(one["object_id"], 1, bytes(32), "e")):
            pass
    await database.execute("DELETE FROM objects WHERE tenant_id = $1", source["tenant_id"])
    assert await stats(source) == (0, 0, 0, 0)
    await ask(source, notice("s"))
    [one] = await mine(source, token)
    async with copying.finishing(token, one, Copied("s", 1, bytes(32), "e")):
        pass
    due = [row for row in await copying.due_deletions(1000) if row["source_id"] == source["id"]]
    goes = {}
    for row in due:
        async with copying.deleting(row) as free:
            goes[row["path"]] = free
    assert goes == {"r": True, "s": False}
    assert not await database.fetch("SELECT FROM copy_deletions WHERE source_id = $1", source["id"])


async def test_failed_file_is_tried_again_when_asked_for(source: Row) -> None:
    await ask(source, notice())
    token = uuid4()
    [one] = await mine(source, token)
    await copying.again(token, one["id"], timedelta(0), "NETWORK", "reset")
    [one] = await mine(source, token)
    await copying.fail(token, one["id"], "NETWORK", "reset")
    assert await stats(source) == (0, 0, 0, 1)
    assert await ask(source, notice()) == [Outcome.QUEUED]
    assert await stats(source) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        (".", '"."'),
        ("..", '".."'),
        ("../x", '"/"'),
        ("/etc/passwd", '"/"'),
        ("a\\b", '"\\"'),
        ("a\0b", "U+0000"),
        ("a\nb", "U+000A"),
        ("a\x85b", "U+0085"),
        ("a\ud800", "U+D800"),
        ("x" * 256, "256 bytes"),
        ("\u00e9" * 128, "256 bytes"),
    ],
)
def test_what_can_be_no_name_is_said_of_each_field(name: str, says: str) -> None:
    found = notices.problems(Notice(name, name, name, "a/b"))
    assert list(found) == ["oeid", "ref_id", "file_name"]
    assert all(says in problem for problem in found.values())


@pytest.mark.parametrize("name", ["a", "...", ".bashrc", "CON", "a b ", "%2F", "\u20ac:*?", "x" * 255])
def test_odd_names_are_names(name: str) -> None:
    assert notices.problems(Notice(name, name, name, "text/plain; charset=utf-8")) == {}


@pytest.mark.parametrize("file_type", ["", "image", "a/b/c", "a/b\n", "image/jpeg;", "a/" + "b" * 254])
def test_type_must_be_a_media_type(file_type: str) -> None:
    assert list(notices.problems(Notice("a", "b", "c", file_type))) == ["file_type"]
