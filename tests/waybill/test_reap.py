"""`waybill reap`, as somebody at a terminal runs it, on a database and a bucket of its own."""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result

from models import Tenant, User, database, files, orphans, scans, writes
from storage.client import Config, Storage, connected
from storage.keys import new_key
from tests.conftest import new_database
from waybill.cli import main

T = TypeVar("T")


@dataclass
class Place:
    url: str
    config: Config
    environment: dict[str, str]

    def run(self, *arguments: str, **environment: str) -> Result:
        runner = CliRunner(env={**self.environment, "COLUMNS": "200", **environment})
        result = runner.invoke(main, ["reap", *arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    def json(self, *arguments: str) -> Any:
        result = self.run("--json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def inside(self, work: Callable[[Storage], Awaitable[T]]) -> T:
        """What others do to the bucket and the database."""

        async def do() -> T:
            async with database.connected(database.config(self.url, max_connections=1)), connected(self.config) as s3:
                return await work(s3)

        return asyncio.run(do())

    def put(self, *keys: str) -> None:
        async def work(storage: Storage) -> None:
            for key in keys:
                await storage.client.put_object(Bucket=self.config.buckets[0], Key=key, Body=b"hello")

        self.inside(work)

    def age(self) -> None:
        async def work(_: Storage) -> None:
            await database.execute("UPDATE orphans SET first_seen_at = first_seen_at - interval '1 day'")

        self.inside(work)


@pytest.fixture
def place(storage_config: Config, with_files: dict[str, str]) -> Iterator[Place]:
    config = replace(storage_config, buckets=[f"reap-{secrets.token_hex(6)}"])
    url = asyncio.run(new_database())
    environment = {**with_files, "WAYBILL_DATABASE_URL": url, "WAYBILL_S3_BUCKETS": config.buckets[0]}
    place = Place(url, config, environment)

    async def make(storage: Storage) -> None:
        await storage.client.create_bucket(Bucket=config.buckets[0])
        await Tenant.create(slug="acme")

    async def remove(storage: Storage) -> None:
        answer = await storage.client.list_objects_v2(Bucket=config.buckets[0])
        await storage.delete_many(config.buckets[0], [one["Key"] for one in answer.get("Contents", [])])

    place.inside(make)
    yield place
    place.inside(remove)


def test_from_the_first_report_to_quarantine_and_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "LEAST_AGE", timedelta(seconds=-60))
    key = new_key("acme", uuid4())
    place.put(key, "a photo.png")
    first = place.json()
    [bucket] = first["buckets"]
    assert (bucket["keys"], bucket["bytes"], bucket["foreign_keys"]) == (2, 10, 1)
    assert first["tenants"] == [
        {"bucket": bucket["bucket"], "tenant": "acme", "seen": {"count": 1, "bytes": 5, "ripe": 0}}
    ]
    assert [(one["key"], one["state"], one["tenant"]) for one in first["orphans"]] == [(key, "SEEN", "acme")]
    place.age()
    again = place.run()
    assert again.exit_code == 0
    for what in ("acme", "without a row", key, "5 bytes"):
        assert what in again.stdout
    acted = place.json("--act")
    assert [(one["state"], one["sightings"]) for one in acted["orphans"]] == [("QUARANTINED", 3)]
    restored = place.run("--restore", key)
    assert (restored.exit_code, restored.stdout) == (0, "brought back: 1\n")
    assert place.json("--report")["orphans"][0]["state"] == "RESTORED"


def test_from_no_scan_over_one_where_all_is_well_to_a_file_that_has_lost_its_bytes(place: Place) -> None:
    assert place.json("--report") == {"buckets": [], "tenants": [], "orphans": [], "lost": []}
    assert "Every key of ours has a row, and every complete file its bytes." in place.run().stdout
    key = new_key("acme", uuid4())

    async def lose(storage: Storage) -> None:
        tenant = await Tenant.get(slug="acme")
        user = await User.create(tenant=tenant, name="ada")
        file = files.NewFile("a.txt", "text/plain", 5, None, storage.buckets[0], key, timedelta(hours=1))
        new = writes.NewObject("o", "[]", file=file)
        await writes.create_batch(tenant.id, user.id, "b", [new])
        [upload] = await database.fetch("SELECT id FROM uploads")
        await files.settle(tenant.id, [upload["id"]])

    place.inside(lose)
    shown = place.run().stdout
    for what in ("complete files without their bytes", key, "b / o"):
        assert what in shown
    [lost] = place.json("--report")["lost"]
    assert (lost["key"], lost["size_bytes"], lost["found_bytes"]) == (key, 5, None)


def test_what_cannot_be_done_is_said_and_ends_with_1(place: Place) -> None:
    assert place.run("--act", "--report").exit_code == 2
    unknown = place.run("--restore", new_key("acme", uuid4()))
    assert (unknown.exit_code, unknown.stdout) == (1, "")
    assert "is not in quarantine" in unknown.stderr
    missing = place.run(WAYBILL_S3_BUCKETS="a-missing-one")
    assert missing.exit_code == 1
    assert "bucket a-missing-one: S3 does not answer" in missing.stderr
    nowhere = place.run(WAYBILL_S3_BUCKETS="")
    assert nowhere.exit_code == 1
    assert "WAYBILL_S3_BUCKETS is not set" in nowhere.stderr

    async def take(storage: Storage) -> None:
        await scans.take(storage.buckets[0])

    place.inside(take)
    held = place.run()
    assert held.exit_code == 1
    assert "is being scanned by somebody else" in held.stderr
