"""`waybill drift`, as somebody at a terminal runs it."""

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from models import database, drifting, notices, sources
from models.notices import Notice
from storage.client import Config, Storage, connected
from tests.conftest import BUCKETS, new_database
from waybill import seaweedfs
from waybill.cli import main
from waybill.copies import copies
from waybill.settings import Settings

NAMES = ("a.jpg", "b.jpg", "c.jpg")


@dataclass
class Place:
    url: str
    config: Config
    environment: dict[str, str]
    root: Path
    prefix: str

    def run(self, *arguments: str, **environment: str) -> Result:
        runner = CliRunner(env={**self.environment, "COLUMNS": "200", **environment})
        result = runner.invoke(main, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def drift(self, *arguments: str, **environment: str) -> Result:
        return self.run("drift", "acme.photos", *arguments, **environment)

    def inside(self, work: Callable[[Storage], Awaitable[Any]]) -> None:
        """What others do to the bucket and the database."""

        async def do() -> None:
            async with database.connected(database.config(self.url, max_connections=4)), connected(self.config) as s3:
                await work(s3)

        asyncio.run(do())

    def drain(self) -> None:
        """As `waybill worker --drain`, which would have to be a process of its own beside an application."""

        async def work(_: Storage) -> None:
            async with copies(Settings.read(self.environment), None) as copying:
                await copying.drain()

        self.inside(work)

    def file(self, name: str) -> Path:
        return self.root / "acme" / "photos" / "b" / "o" / name


@pytest.fixture
def place(
    storage_config: Config,
    with_files: dict[str, str],
    seaweed: seaweedfs.Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """With three copies, made as a worker does."""
    (tmp_path / "aws").write_text(
        f"[profile backup]\naws_access_key_id = {seaweed.credentials.access_key}\n"
        f"aws_secret_access_key = {seaweed.credentials.secret_key}\n"
    )
    url = asyncio.run(new_database())
    environment = {
        **with_files,
        "WAYBILL_DATABASE_URL": url,
        "WAYBILL_ENCRYPTION_KEYS": "0e" * 32,
        "WAYBILL_SYNC_ROOT": str(tmp_path / "root"),
        "WAYBILL_SYNC_RESERVE_BYTES": "1",
        "WAYBILL_SYNC_PROFILES": "acme:backup",
        "WAYBILL_SYNC_ENDPOINTS": seaweed.url,
    }
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    place = Place(url, storage_config, environment, tmp_path / "root", f"drift/{secrets.token_hex(6)}/")
    where = f"--bucket {BUCKETS[0]} --prefix {place.prefix}{{oeid}}/{{ref_id}}/ --endpoint {seaweed.url}"
    for command in (
        "tenant create acme",
        "user create acme ada --role ADMIN",
        f"source create acme photos {where} --profile backup",
    ):
        assert place.run(*command.split()).exit_code == 0

    async def fill(storage: Storage) -> None:
        for name in NAMES:
            await storage.client.put_object(Bucket=BUCKETS[0], Key=f"{place.prefix}b/o/{name}", Body=name.encode())
        row = await sources.addressed("acme", "photos")
        assert row
        await notices.request(row["tenant_id"], row["id"], [Notice("b", "o", name, "image/jpeg") for name in NAMES])

    place.inside(fill)
    place.drain()
    return place


def test_from_nothing_that_differs_over_a_repair_back_to_it(place: Place) -> None:
    well = place.drift()
    assert (well.exit_code, well.stdout) == (0, "copies: 3 compared, 0 queued\n")
    place.file("a.jpg").unlink()
    place.file("b.jpg").write_bytes(b"B.jpg")
    place.file("x\x1b[31m").write_bytes(b"")
    shown = place.drift()
    assert shown.exit_code == 1
    assert re.search(r"^MISSING +1 +the copy is not there", shown.stdout, re.MULTILINE)
    assert re.search(r"^acme/photos/b/o/a.jpg +b / o", shown.stdout, re.MULTILINE)
    assert "EXTRA" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "DAMAGED" not in shown.stdout
    *items, summary = map(json.loads, place.drift("--json", "--verify", "--repair").stdout.splitlines())
    path = "acme/photos/b/o/"
    assert {one["kind"]: one["path"] for one in items} == {
        "MISSING": f"{path}a.jpg",
        "DAMAGED": f"{path}b.jpg",
        "EXTRA": f"{path}x\x1b[31m",
    }
    assert (summary["copies"], summary["queued"], summary["missing"]) == (3, 2, 1)
    place.drain()
    place.file("x\x1b[31m").unlink()
    assert place.drift("--verify").exit_code == 0
    assert place.file("b.jpg").read_bytes() == b"b.jpg"


def test_what_cannot_be_compared_is_said_and_ends_with_2(place: Place) -> None:
    for arguments, environment, says in (
        (("drift", "acme"), {}, 'there is no source "acme"'),
        (("drift", "acme.letters"), {}, 'there is no source "acme.letters"'),
        (("drift", "acme.photos"), {"WAYBILL_SYNC_ROOT": ""}, "CONFIGURATION"),
        (("drift", "acme.photos"), {"WAYBILL_SYNC_PROFILES": ""}, "CONFIGURATION"),
        (("drift", "acme.photos"), {"WAYBILL_S3_BUCKETS": ""}, "WAYBILL_S3_BUCKETS is not set"),
    ):
        result = place.run(*arguments, **environment)
        assert (result.exit_code, says in result.stderr) == (2, True), result.output

    async def take(_: Storage) -> None:
        row = await sources.addressed("acme", "photos")
        assert row
        assert await drifting.take(row, repair=False, verify=False)

    place.inside(take)
    held = place.drift()
    assert (held.exit_code, "by somebody else" in held.stderr) == (2, True)
