"""By which identity a bucket of a sync source is asked, and how long the client for it is kept."""

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends

from models.locations import Location
from storage import locations
from storage.locations import Away, Changed, Denied, Locations, Misconfigured, NotThere, Trouble, Unfit
from storage.places import Place, opened
from storage.signing import Credentials
from tests.conftest import BUCKETS, free_port
from waybill import seaweedfs

if TYPE_CHECKING:  # the types are not installed with the service
    from types_aiobotocore_s3.client import S3Client

ROLE = "arn:aws:iam::123456789012:role/copies"


@pytest.fixture
async def places(seaweed: seaweedfs.Server) -> AsyncIterator[Locations]:
    places = Locations("us-east-1", {"embedded": seaweed.credentials, "wrong": Credentials("none", "x" * 40)})
    yield places
    await places.close()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An imitation of AWS, and a configuration that leads there; its URL."""
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "OWN")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
    config = tmp_path / "config"
    keys = "aws_access_key_id = BACKUP\naws_secret_access_key = s"
    config.write_text(f"[profile backup]\n{keys}\nregion = eu-west-1\nendpoint_url = {url}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    yield url
    server.stop()


async def test_role_is_assumed_with_the_tenant_as_external_id(places: Locations, aws: str) -> None:
    place = Location("none-such", endpoint=aws, role=ROLE, region="us-east-1")
    for tenant in ("acme", "acme", "other"):
        async with places.client(place, tenant) as s3:
            with contextlib.suppress(s3.exceptions.NoSuchBucket):
                await s3.list_objects_v2(Bucket="none-such")
    assumed = sts_backends["123456789012"]["aws"].assumed_roles
    assert [(role.role_arn, role.external_id) for role in assumed] == [(ROLE, "acme"), (ROLE, "other")]


async def test_role_is_no_use_without_credentials_to_assume_it_with(
    places: Locations, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(Misconfigured, match="credentials"):
        async with opened(places, Location("bucket", endpoint=aws, role=ROLE), "acme"):
            raise AssertionError


async def test_profile_brings_endpoint_region_and_keys(places: Locations, aws: str) -> None:
    async with places.client(Location("bucket", profile="backup"), "acme") as s3:
        assert s3.meta.endpoint_url == aws
        assert s3.meta.region_name == "eu-west-1"


async def test_what_s3_says_is_told_apart(places: Locations, seaweed: seaweedfs.Server) -> None:
    def at(bucket: str, profile: str) -> Location:
        return Location(bucket, endpoint=seaweed.url, profile=profile)

    for place, trouble in (
        (at(BUCKETS[0], "embedded"), NotThere),
        (at(BUCKETS[0], ""), Denied),
        (at(BUCKETS[0], "wrong"), Misconfigured),
        (at("none-such", "embedded"), Misconfigured),
        (Location(BUCKETS[0], endpoint=f"http://127.0.0.1:{free_port()}", profile="embedded"), Away),
    ):
        with pytest.raises(trouble):
            async with opened(places, place, "acme") as bucket, bucket.reading("none such"):
                raise AssertionError


async def test_clients_are_kept_and_bounded(
    places: Locations, seaweed: seaweedfs.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locations, "_MOST_CLIENTS", 2)

    async def made(region: str) -> object:
        place = Location(BUCKETS[0], endpoint=seaweed.url, region=region, profile="embedded")
        async with places.client(place, "acme") as s3:
            return s3

    first = await made("one")
    assert await made("one") is first
    for region in ("two", "three"):
        await made(region)
    assert len(places._clients) == 2
    assert await made("one") is not first
    monkeypatch.setattr(locations, "_IDLE_SECONDS", -1)
    await places.close_idle()
    assert not places._clients


async def test_client_that_is_wrong_is_made_anew_from_what_was_mended(
    places: Locations, aws: str, tmp_path: Path
) -> None:
    place = Location("bucket", endpoint=aws, profile="later")
    with pytest.raises(Misconfigured, match="ProfileNotFound"):
        async with places.client(place, "acme"):
            raise AssertionError
    (tmp_path / "config").write_text("[profile later]\naws_access_key_id = LATER\naws_secret_access_key = s\n")
    used: list[object] = []
    for _ in range(2):
        with contextlib.suppress(Misconfigured):
            async with places.client(place, "acme") as s3:
                used.append(s3)
                raise Misconfigured
    assert used[0] is not used[1]


@pytest.mark.parametrize(
    ("status", "code", "trouble"),
    [
        (503, "SlowDown", Away),
        (500, "InternalError", Away),
        (429, "TooManyRequests", Away),
        (400, "RequestTimeout", Away),
        (404, "NoSuchKey", NotThere),
        (404, "NoSuchBucket", Misconfigured),
        (403, "AccessDenied", Denied),
        (403, "InvalidObjectState", Denied),
        (400, "KeyTooLongError", Unfit),
        (403, "ExpiredToken", Misconfigured),
        (301, "PermanentRedirect", Misconfigured),
        (412, "PreconditionFailed", Changed),
        (416, "InvalidRange", Changed),
    ],
)
def test_codes_of_s3_are_told_apart(status: int, code: str, trouble: type[Trouble]) -> None:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(trouble), locations.asking():
        raise ClientError(response, "GetObject")


def test_ids_that_look_like_those_of_the_prefix_stay_as_they_are() -> None:
    place = Location("bucket", "in/{oeid}/{ref_id}/{name}-")
    assert place.key("{ref_id}", "{oeid}", "{oeid}.jpg") == "in/{ref_id}/{oeid}/{name}-{oeid}.jpg"


async def test_server_that_looks_at_no_conditions_is_found_out() -> None:
    class Careless:
        async def get_object(self, **_: str) -> Any:
            body = SimpleNamespace(close=lambda: None)
            return {"ContentLength": 2, "ContentRange": "bytes 3-4/5", "ETag": '"new"', "Body": body}

    place = Place("bucket", cast("S3Client", Careless()))
    with pytest.raises(Changed):
        async with place.reading("key", 3, "old"):
            pass
    async with place.reading("key", 3, "new") as reading:
        assert reading.size == 5


async def test_trouble_names_no_profile(places: Locations) -> None:
    """Whoever sees the object of a file sees what went wrong."""
    with pytest.raises(Misconfigured) as raised:
        async with places.client(Location("bucket", profile="very-own"), "acme"):
            pass
    assert str(raised.value).endswith("(ProfileNotFound)")
