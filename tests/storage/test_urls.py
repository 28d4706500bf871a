"""URLs are signed with the present credentials, and bind what the settings ask for."""

import asyncio
from datetime import UTC, datetime
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from models.errors import StorageUnavailable
from storage import urls as module
from storage.client import Config, Storage, connected
from storage.disposition import Disposition
from storage.signing import Credentials
from storage.urls import Urls, signing

CONFIG = Config(buckets=["files"], region="eu-central-1", credentials=Credentials("first", "secret"))
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def reading(urls: Urls, bucket: str = "files") -> str:
    given = urls.given("somebody", Disposition.INLINE, now=NOW, seconds=60)
    return given.sign(bucket, "key", "a", "a/b")


def signer_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["X-Amz-Credential"][0].partition("/")[0]


async def test_rotated_credentials_are_picked_up_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RENEWED_SECONDS", 0.01)

    async def rotated(_: Storage) -> Credentials:
        return Credentials("second", "other")

    async with connected(CONFIG) as storage, signing(storage) as urls:
        assert signer_of(reading(urls)) == "first"
        with patch.object(Storage, "credentials", rotated):
            async with asyncio.timeout(5):
                while signer_of(reading(urls)) == "first":  # noqa: ASYNC110 - nobody says when
                    await asyncio.sleep(0.01)
        assert signer_of(reading(urls)) == "second"


@pytest.mark.parametrize(
    "error", [StorageUnavailable(), ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole")]
)
async def test_credentials_that_cannot_be_renewed_are_used_on_and_none_is_an_error(error: Exception) -> None:
    async def away(_: Storage) -> Credentials:
        raise error

    async with connected(CONFIG) as storage, signing(storage) as urls:
        with patch.object(Storage, "credentials", away):
            await urls.renew()
            assert signer_of(reading(urls)) == "first"
            without = Urls(storage)
            await without.renew()
        with pytest.raises(StorageUnavailable, match="credentials"):
            reading(without)


async def test_encryption_is_signed_into_uploads() -> None:
    async with connected(CONFIG) as storage, signing(storage, "aws:kms") as urls:
        headers = urls.headers("a/b", 1, None)
        url = urls.writing("files", "key", headers=headers, now=NOW, seconds=60)
    assert headers["x-amz-server-side-encryption"] == "aws:kms"
    signed = parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";")
    assert {"content-length", "content-type", "if-none-match", "x-amz-server-side-encryption"} <= set(signed)


async def test_file_in_a_bucket_that_takes_no_new_ones_is_readable() -> None:
    async with connected(CONFIG) as storage, signing(storage) as urls:
        assert reading(urls, "old-files").startswith("https://old-files.s3.eu-central-1.amazonaws.com/key?")
        assert {urls.new_place("t")[0] for _ in range(20)} == {"files"}
