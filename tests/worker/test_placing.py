"""Files that are ready at about the same time take their places together, and yet each by itself."""

import asyncio
from uuid import uuid4

import pytest

from models import copying, database
from models.copying import Copied, Lost
from models.pages import Row
from tests.models.test_notices import ask, data, mine, new_source, notice, stats
from worker.placing import Placing

pytestmark = pytest.mark.usefixtures("http")


class Refuses(Exception):
    """The file system does."""


async def nothing() -> None:
    pass


def copied(row: Row) -> Copied:
    return Copied(row["object_id"] + row["file_name"], 1, bytes(32), "e")


async def states(source: Row) -> dict[str, str]:
    rows = await database.fetch(
        "SELECT s.state, s.path, o.object_id, s.file_name FROM syncs s JOIN objects o ON o.id = s.object_pk"
        " WHERE s.tenant_id = $1",
        source["tenant_id"],
    )
    return {row["object_id"] + row["file_name"]: row["state"] for row in rows}


async def test_files_take_their_places_in_one_transaction_and_what_one_meets_concerns_it_alone() -> None:
    source, token = await new_source(concurrency=10), uuid4()
    await ask(source, *(notice(one) for one in ("good", "refused", "lost", "gone")), notice("good", name="b.jpg"))
    rows = {row["object_id"] + row["file_name"]: row for row in await mine(source, token)}
    await copying.put_back(token, [rows["losta.jpg"]["id"]])
    await database.execute(
        "DELETE FROM objects WHERE tenant_id = $1 AND object_id = 'gone'", rows["gonea.jpg"]["tenant_id"]
    )
    put: list[str] = []
    together = asyncio.Barrier(3)

    async def place(name: str) -> None:
        async def this() -> None:
            put.append(name)
            async with asyncio.timeout(10):
                await together.wait()
            if name == "refuseda.jpg":
                raise Refuses

        await placing.place(token, rows[name], copied(rows[name]), this)

    placing = Placing()
    ends = await asyncio.gather(*map(place, rows), return_exceptions=True)
    kinds = {name: end and type(end) for name, end in zip(rows, ends, strict=True)}
    assert kinds == {
        "gooda.jpg": None,
        "goodb.jpg": None,
        "refuseda.jpg": Refuses,
        "losta.jpg": Lost,
        "gonea.jpg": Lost,
    }
    assert sorted(put) == ["gooda.jpg", "goodb.jpg", "refuseda.jpg"]
    expected = {"gooda.jpg": "SYNCED", "goodb.jpg": "SYNCED", "refuseda.jpg": "RUNNING", "losta.jpg": "QUEUED"}
    assert await states(source) == expected
    assert await stats(source) == (1, 1, 2, 0)
    assert {"key": "size", "value": "1"} in await data(source, "good")
    assert len(await data(source, "refused")) == 2  # name and type, as its notice said


async def test_cancelled_file_is_in_use_until_its_transaction_is_over() -> None:
    source, token = await new_source(), uuid4()
    await ask(source, notice())
    [row] = await mine(source, token)
    inside, may_end = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        inside.set()
        await may_end.wait()

    placing = Placing()
    task = asyncio.create_task(placing.place(token, row, copied(row), slow))
    await inside.wait()
    late = asyncio.create_task(placing.place(token, row, copied(row), nothing))  # waits for the next transaction
    await asyncio.sleep(0)
    task.cancel()
    late.cancel()
    _, going_on = await asyncio.wait({task, late}, return_when=asyncio.FIRST_COMPLETED)
    assert going_on == {task}
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await states(source) == {"ra.jpg": "SYNCED"}


async def test_end_of_the_database_is_told_to_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    source, token = await new_source(), uuid4()
    await ask(source, notice(), notice("s"))
    rows = await mine(source, token)

    async def ends(*_: object) -> None:
        raise ConnectionError("the database has gone")

    monkeypatch.setattr("models.writes.set_data", ends)
    placing = Placing()
    waiting = (placing.place(token, row, copied(row), nothing) for row in rows)
    told = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in told] == [ConnectionError, ConnectionError]
    assert set((await states(source)).values()) == {"RUNNING"}
