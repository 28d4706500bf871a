"""Admins have the copies of a source compared with S3, and see what differs; nobody else sees anything of it."""

import dataclasses
import secrets
from typing import Any

import pytest
from starlette.datastructures import CommaSeparatedStrings

from models import Role, database
from models.audit import Actor
from models.locations import Directory, Location
from storage.client import Storage
from tests.conftest import BUCKETS, Caller, NewCaller
from tests.statements import count_statements
from tests.syncs import new_source
from waybill import seaweedfs
from waybill.copies import checking
from waybill.settings import Settings
from waybill.syncing import sync_sources

CHECK = """mutation($name: String! = "photos", $repair: Boolean! = false, $verify: Boolean! = false) {
  checkSyncSource(input: {name: $name, repair: $repair, verify: $verify}) { source { driftAskedAt } } }"""
DRIFT = """drift { checkedAt copies missing damaged changed gone extra unknown queued repair verify problem error
  items(first: 100) { kind path key batchId objectId fileName } }"""
SOURCE = f'{{ syncSource(name: "photos") {{ driftAskedAt {DRIFT} }} }}'
LIST = f"{{ syncSources {{ nodes {{ driftAskedAt {DRIFT} }} }} }}"


@pytest.fixture
def its_settings(settings: Settings, admin: Caller) -> Settings:
    """Of a worker that may read the embedded server for the admin's tenant."""
    allowed = CommaSeparatedStrings([f"{admin.tenant.slug}:{seaweedfs.PROFILE}"])
    return dataclasses.replace(settings, sync_profiles=allowed)


async def work(settings: Settings, seaweed: seaweedfs.Server) -> None:
    """As a worker would, for all tenants."""
    async with checking(settings, seaweed.credentials) as checker:
        while await checker.check_due():
            pass


async def shown(caller: Caller) -> Any:
    return (await caller.execute(SOURCE))["syncSource"]


async def test_comparison_is_asked_for_made_by_a_worker_and_shown(
    admin: Caller, its_settings: Settings, seaweed: seaweedfs.Server, storage: Storage
) -> None:
    prefix = f"drift/{secrets.token_hex(6)}/"
    origin = Location(BUCKETS[0], prefix + "{oeid}/{ref_id}/", seaweed.url, profile=seaweedfs.PROFILE)
    await sync_sources(its_settings).create(
        Actor(admin.tenant.id), admin.tenant.slug, admin.user.id, "photos", origin, Directory("copies")
    )
    await storage.client.put_object(Bucket=BUCKETS[0], Key=f"{prefix}b/o/a.jpg", Body=b"x")
    assert await shown(admin) == {"driftAskedAt": None, "drift": None}
    asked = (await admin.execute(CHECK))["checkSyncSource"]["source"]["driftAskedAt"]
    again = (await admin.execute(CHECK, repair=True))["checkSyncSource"]["source"]["driftAskedAt"]
    assert asked <= again == (await shown(admin))["driftAskedAt"]
    assert await database.fetch("SELECT FROM pgqueuer WHERE entrypoint = 'drift'")
    await work(its_settings, seaweed)
    answer = await shown(admin)
    assert answer["driftAskedAt"] is None
    assert answer["drift"].pop("checkedAt") >= again
    assert answer["drift"] == {
        **dict.fromkeys(("copies", "missing", "damaged", "changed", "gone", "extra"), 0),
        "unknown": 1,
        "queued": 1,
        "repair": True,
        "verify": False,
        "problem": None,
        "error": None,
        "items": [
            {
                "kind": "UNKNOWN",
                "path": None,
                "key": f"{prefix}b/o/a.jpg",
                "batchId": "b",
                "objectId": "o",
                "fileName": "a.jpg",
            }
        ],
    }
    only = 'query($kind: DriftKind) { syncSource(name: "photos") { drift { items(kind: $kind) { key } } } }'
    for kind, count in (("UNKNOWN", 1), ("EXTRA", 0)):
        assert len((await admin.execute(only, kind=kind))["syncSource"]["drift"]["items"]) == count
    syncs = await admin.execute("{ syncs { nodes { state fileType object { objectId } } } }")
    assert syncs["syncs"]["nodes"] == [{"state": "QUEUED", "fileType": "image/jpeg", "object": {"objectId": "o"}}]


async def test_comparison_that_s3_does_not_allow_is_shown_with_what_it_said(
    admin: Caller, settings: Settings, seaweed: seaweedfs.Server
) -> None:
    await new_source(admin, origin={"bucket": BUCKETS[0], "endpoint": seaweed.url})
    await admin.execute(CHECK)
    await work(settings, seaweed)
    drift = (await shown(admin))["drift"]
    assert (drift["problem"], drift["items"]) == ("ACCESS_DENIED", [])
    assert drift["error"].startswith("S3 refuses")


async def test_only_admins_ask_and_see(admin: Caller, new_caller: NewCaller) -> None:
    await new_source(admin)
    await admin.execute(CHECK)
    member = await new_caller(admin.tenant, Role.MEMBER)
    assert await member.refused(CHECK) == "FORBIDDEN"
    assert await shown(member) == {"driftAskedAt": None, "drift": None}
    assert await admin.refused(CHECK, name="letters") == "NOT_FOUND"


async def test_drift_of_a_list_of_sources_is_one_statement_more(admin: Caller) -> None:
    await new_source(admin)
    of_one, _ = await count_statements(admin, LIST)
    await new_source(admin, "letters")
    of_two, _ = await count_statements(admin, LIST)
    without, _ = await count_statements(admin, "{ syncSources { nodes { name } } }")
    assert of_one == of_two == without + 1
