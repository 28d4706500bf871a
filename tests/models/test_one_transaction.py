"""What is begun in one transaction, or done meanwhile in it, is kept together or not at all."""

import asyncio
import contextlib
import gc
import weakref

import asyncpg
import pytest

from models import database
from tests.models.transactions import (
    INSERT,
    Undone,
    Work,
    insert,
    insert_many,
    insert_nested,
    kept,
    nothing,
    read,
    undo,
    use_all_connections,
)


@pytest.fixture(autouse=True)
async def no_tenants(connected: None) -> None:  # noqa: ARG001 - the models, on as many connections as these tests use
    await database.fetch("TRUNCATE tenants CASCADE")


async def test_one_transaction_is_made_of_all_that_are_begun_in_it() -> None:
    """Nested ones and later ones too: all are kept, or none, and with them what is done where it begins."""

    async def all_of_them(slug: str) -> None:
        async with database.one_transaction(lambda: database.execute(INSERT, f"{slug}-begun")):
            async with database.transaction():
                await database.execute(INSERT, f"{slug}-a")
                async with database.transaction():
                    await database.execute(INSERT, f"{slug}-b")
            async with database.transaction():
                await database.execute(INSERT, f"{slug}-c")
            assert len(await slugs(slug)) == 4
            if slug == "undone":
                raise Undone

    async def slugs(slug: str) -> list[str]:
        rows = await database.fetch("SELECT slug FROM tenants WHERE slug LIKE $1 || '-%'", slug)
        return sorted(row["slug"] for row in rows)

    with pytest.raises(Undone):
        await all_of_them("undone")
    assert await slugs("undone") == []
    await all_of_them("kept")
    assert await slugs("kept") == ["kept-a", "kept-b", "kept-begun", "kept-c"]


async def test_what_is_done_meanwhile_is_seen_by_what_follows_and_kept_with_it() -> None:
    async def two() -> None:
        await database.execute(INSERT, "meanwhile-1")
        await asyncio.sleep(0)
        await database.execute(INSERT, "meanwhile-2")

    async with database.one_transaction(nothing):
        async with database.transaction():
            await database.meanwhile(two())
            assert len(await database.fetch("SELECT FROM tenants WHERE slug = 'meanwhile-1'")) == 1
        await database.meanwhile(insert_many())
        await insert_nested()
    assert await kept() == 9
    await database.meanwhile(database.execute(INSERT, "at-once"))
    assert await kept() == 10
    await use_all_connections()


async def test_what_was_done_meanwhile_leaves_nothing_to_the_collector() -> None:
    left: list[weakref.ref[object]] = []

    async def insert_known() -> None:
        left.append(weakref.ref(asyncio.current_task()))
        await database.execute(INSERT, "meanwhile")

    gc.disable()
    try:
        async with database.one_transaction(nothing), database.transaction():
            await database.meanwhile(insert_known())
        await asyncio.sleep(0)
        assert left[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("after", [read, insert, nothing, undo])
async def test_error_of_what_is_done_meanwhile_undoes_all_and_is_what_is_said(after: Work) -> None:
    """Whatever fails after it: in a transaction that has failed everything does."""

    async def insert_same_twice() -> None:
        async with database.one_transaction(nothing), database.transaction():
            await database.execute(INSERT, "same")
            await database.meanwhile(database.execute(INSERT, "same"))
            await after()

    with pytest.raises(asyncpg.UniqueViolationError):
        await insert_same_twice()
    assert await kept() == 0
    await use_all_connections()


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "after"])
async def test_what_is_done_meanwhile_is_undone_with_the_rest(inside: bool) -> None:
    with contextlib.suppress(Undone):
        async with database.one_transaction(nothing):
            async with database.transaction():
                await database.meanwhile(insert_many())
                if inside:
                    raise Undone
            raise Undone
    assert await kept() == 0
    await use_all_connections()
