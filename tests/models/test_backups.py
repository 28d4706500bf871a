"""What `pg_dump` writes `pg_restore` makes a database of that is the same, and goes on."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from models import AccessLevel, Role, Tenant, User, database, grants, reads
from models.errors import QuotaExceeded
from models.filters import Equals, Granted, HasPair
from models.grants import Thing
from models.pages import Bounds, Scope
from models.writes import NewObject, create_batch
from tests.conftest import new_database
from waybill import postgres

PROGRAMS = Path(os.environ.get("WAYBILL_TEST_POSTGRES") or postgres._wheel() / "pginstall" / "bin")
DATA = '[{"key": "k", "value": "v"}]'


def run(program: str, *arguments: str) -> str:
    return subprocess.run([PROGRAMS / program, *arguments], check=True, capture_output=True, text=True).stdout


def dumped(url: str) -> list[str]:
    """Without what is drawn anew each time, and lists in conditions, whose casts PostgreSQL writes otherwise."""
    return [line for line in run("pg_dump", url).splitlines() if not re.search(r"^\\(un)?restrict|\bANY\b", line)]


async def test_restored_database_is_the_same_and_goes_on(tmp_path: Path) -> None:
    url, again, file = await new_database(), await new_database("template0"), str(tmp_path / "dump")
    async with database.connected(database.config(url)):
        tenant = await Tenant.create(slug="t", quota_objects=2)
        user = await User.create(tenant=tenant, name="u", role=Role.ADMIN)
        made = await create_batch(tenant.id, user.id, "b", [NewObject("old", DATA)])
        member = await User.create(tenant=tenant, name="m")
        thing = Thing(made.batch["id"], made.object_keys[0])
        await grants.give(tenant.id, member.id, thing, AccessLevel.VIEW, user.id)
    run("pg_dump", "-Fc", "-f", file, url)
    run("pg_restore", "--no-owner", "-d", again, file)
    assert dumped(again) == dumped(url)
    assert await database.migrate(again) == []
    async with database.connected(database.config(again)):
        await create_batch(tenant.id, user.id, "c", [NewObject("new", DATA)])
        page = await reads.objects(Scope(tenant.id), HasPair("k", Equals("v")), Bounds(10))
        assert [row["object_id"] for row in page.rows] == ["new", "old"]
        page = await reads.objects(Scope(tenant.id, Granted(member.id)), HasPair("k", Equals("v")), Bounds(10))
        assert [row["object_id"] for row in page.rows] == ["old"]
        with pytest.raises(QuotaExceeded):
            await create_batch(tenant.id, user.id, "d", [NewObject("beyond", DATA)])
