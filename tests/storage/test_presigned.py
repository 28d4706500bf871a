"""What the S3 server enforces of a presigned request: each test is one fact, asked of a real SeaweedFS."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from uuid import uuid4

import httpx
import pytest

from storage.client import Storage
from storage.disposition import Disposition, content_disposition
from storage.keys import new_key
from storage.signing import Credentials, Endpoint, presign
from storage.uploads import upload_headers
from tests.conftest import BUCKETS, ORIGIN

BUCKET = BUCKETS[0]
BODY = b"hello"
SHA256 = hashlib.sha256(BODY).digest()
MIB = 1024 * 1024


@dataclass
class Signer:
    """Signs with the server's credentials for the first bucket, and sends."""

    http: httpx.Client
    endpoint: Endpoint
    credentials: Credentials

    def url(
        self,
        method: str,
        key: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        signed_ago: int = 0,
    ) -> str:
        now = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=signed_ago)
        return presign(
            self.credentials, method, self.endpoint, key, now=now, expires_in=60, headers=headers, params=params
        )

    def put(
        self,
        key: str,
        body: bytes | Iterator[bytes] = BODY,
        signed: Mapping[str, str] | None = None,
        changed: Mapping[str, str | None] | None = None,
    ) -> httpx.Response:
        """``signed`` are the headers; those ``changed`` are sent otherwise, or not at all."""
        signed = upload_headers(len(BODY), "text/plain") if signed is None else signed
        sent = {**signed, **(changed or {})}
        given = {name: value for name, value in sent.items() if value is not None and name != "content-length"}
        return self.http.put(self.url("PUT", key, headers=signed), content=body, headers=given)

    def get(self, key: str) -> httpx.Response:
        return self.http.get(self.url("GET", key))


@pytest.fixture
def key() -> str:
    return new_key("tenant", uuid4())


@pytest.fixture
async def signer(storage: Storage) -> AsyncIterator[Signer]:
    with httpx.Client(trust_env=False) as http:
        yield Signer(http, storage.endpoint(BUCKET), await storage.credentials())


def refused(answer: httpx.Response, status: int, code: str) -> bool:
    assert (answer.status_code, f"<Code>{code}</Code>" in answer.text) == (status, True), answer.text
    return True


def test_what_was_signed_goes_in_and_comes_out(signer: Signer, key: str) -> None:
    assert signer.put(key, signed=upload_headers(5, "text/plain", SHA256)).status_code == 200
    answer = signer.get(key)
    assert (answer.content, answer.headers["content-type"]) == (BODY, "text/plain")


@pytest.mark.parametrize("key", ["a b/ü/日本/+&=?#%41", "~*'()!$,;:@[]", "a%2Fb"])
def test_odd_keys_are_signed_as_the_server_reads_them(signer: Signer, key: str) -> None:
    assert signer.put(key, signed={"content-length": "5"}).status_code == 200
    assert signer.get(key).content == BODY


@pytest.mark.parametrize("body", [b"hello!", b"hell", b""])
def test_other_length_is_refused(signer: Signer, key: str, body: bytes) -> None:
    assert refused(signer.put(key, body), 403, "SignatureDoesNotMatch")
    assert signer.get(key).status_code == 404


def test_body_without_a_length_is_refused(signer: Signer, key: str) -> None:
    assert refused(signer.put(key, iter([BODY])), 403, "SignatureDoesNotMatch")
    assert refused(signer.put(key, iter([BODY] * 100)), 403, "SignatureDoesNotMatch")
    assert signer.get(key).status_code == 404


@pytest.mark.parametrize("content_type", ["text/html", "text/plain; charset=utf-8", None])
def test_other_type_is_refused(signer: Signer, key: str, content_type: str | None) -> None:
    assert refused(signer.put(key, changed={"content-type": content_type}), 403, "SignatureDoesNotMatch")
    assert signer.get(key).status_code == 404


def test_other_bytes_than_the_sha256_are_refused(signer: Signer, key: str) -> None:
    signed = upload_headers(5, "text/plain", SHA256)
    assert refused(signer.put(key, b"hellO", signed), 400, "BadDigest")
    assert refused(signer.put(key, BODY, signed, {"x-amz-checksum-sha256": None}), 403, "SignatureDoesNotMatch")
    assert signer.get(key).status_code == 404


def test_sha256_of_many_parts_is_checked_over_the_whole(signer: Signer, key: str) -> None:
    body = bytes(range(256)) * (9 * MIB // 256)
    signed = upload_headers(len(body), "application/octet-stream", hashlib.sha256(body).digest())
    assert refused(signer.put(key, body[:-1] + b"x", signed), 400, "BadDigest")
    assert signer.get(key).status_code == 404
    assert signer.put(key, body, signed).status_code == 200
    assert signer.get(key).content == body


def test_second_put_is_refused(signer: Signer, key: str) -> None:
    assert signer.put(key).status_code == 200
    assert refused(signer.put(key, b"other"), 412, "PreconditionFailed")
    assert refused(signer.put(key, b"other", changed={"if-none-match": None}), 403, "SignatureDoesNotMatch")
    assert refused(signer.put(key, b"other", changed={"if-none-match": '"x"'}), 403, "SignatureDoesNotMatch")
    assert signer.get(key).content == BODY


async def test_of_puts_at_the_same_time_one_goes_in(signer: Signer, key: str) -> None:
    bodies = [f"body{number}".encode() for number in range(8)]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        headers = upload_headers(5, "text/plain")
        url = signer.url("PUT", key, headers=headers)
        answers = await asyncio.gather(*(http.put(url, content=body, headers=headers) for body in bodies))
    winners = [body for body, answer in zip(bodies, answers, strict=True) if answer.status_code == 200]
    assert len(winners) == 1
    assert {answer.status_code for answer in answers} <= {200, 412, 409}
    assert signer.get(key).content == winners[0]


def test_expired_url_is_refused(signer: Signer, key: str) -> None:
    signed = upload_headers(5, "text/plain")
    url = signer.url("PUT", key, headers=signed, signed_ago=61)
    assert refused(signer.http.put(url, content=BODY, headers=signed), 403, "AccessDenied")
    assert signer.put(key).status_code == 200
    assert refused(signer.http.get(signer.url("GET", key, signed_ago=61)), 403, "AccessDenied")


def test_empty_file_goes_in(signer: Signer, key: str) -> None:
    signed = upload_headers(0, "text/plain", hashlib.sha256(b"").digest())
    assert refused(signer.put(key, b"x", signed), 403, "SignatureDoesNotMatch")
    assert signer.put(key, b"", signed).status_code == 200
    assert signer.get(key).content == b""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-copy-source", f"/{BUCKET}/another"),
        ("x-amz-acl", "public-read"),
        ("x-amz-meta-a", "b"),
        ("x-amz-website-redirect-location", "https://evil.example"),
        ("x-amz-server-side-encryption", "aws:kms"),
    ],
)
def test_amazon_header_that_was_not_signed_is_refused(signer: Signer, key: str, name: str, value: str) -> None:
    assert refused(signer.put(key, changed={name: value}), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(("name", "value"), [("content-encoding", "gzip"), ("content-disposition", "inline")])
def test_other_header_that_was_not_signed_is_kept(signer: Signer, key: str, name: str, value: str) -> None:
    """As by AWS: what is shown of a file must be said by the access URL."""
    assert signer.put(key, changed={name: value}).status_code == 200
    assert signer.http.head(signer.url("HEAD", key)).headers[name] == value


@pytest.mark.parametrize("added", ["&acl", "&tagging", "&uploadId=x&partNumber=1", "&versionId=x"])
def test_parameter_that_was_not_signed_is_refused(signer: Signer, key: str, added: str) -> None:
    signed = upload_headers(5, "text/plain")
    answer = signer.http.put(signer.url("PUT", key, headers=signed) + added, content=BODY, headers=signed)
    assert refused(answer, 403, "SignatureDoesNotMatch")


def test_url_is_for_its_method_and_key(signer: Signer, key: str) -> None:
    assert signer.put(key).status_code == 200
    url = signer.url("GET", key)
    assert refused(signer.http.put(url, content=BODY), 403, "SignatureDoesNotMatch")
    assert refused(signer.http.delete(url), 403, "SignatureDoesNotMatch")
    assert refused(signer.http.get(url.replace(key, f"{key}x")), 403, "SignatureDoesNotMatch")
    assert refused(signer.http.get(url.replace(f"/{BUCKET}/", f"/{BUCKETS[1]}/")), 403, "SignatureDoesNotMatch")


def test_wrong_secret_is_refused(signer: Signer, key: str) -> None:
    wrong = replace(signer, credentials=Credentials(signer.credentials.access_key, "wrong"))
    assert refused(wrong.put(key), 403, "SignatureDoesNotMatch")
    unknown = replace(signer, credentials=Credentials("unknown", "wrong"))
    assert refused(unknown.put(key), 403, "InvalidAccessKeyId")


def test_nothing_is_public(signer: Signer, key: str) -> None:
    assert signer.put(key).status_code == 200
    url = signer.url("GET", key).partition("?")[0]
    for address in (url, url.partition(f"/{BUCKET}/")[0], f"{url.partition(f'/{BUCKET}/')[0]}/{BUCKET}"):
        assert refused(signer.http.get(address), 403, "AccessDenied")
    assert refused(signer.http.put(url, content=BODY), 403, "AccessDenied")
    assert refused(signer.http.delete(url), 403, "AccessDenied")


def test_name_and_type_of_a_download_are_those_of_its_url(signer: Signer, key: str) -> None:
    assert signer.put(key, changed={"content-disposition": "inline"}).status_code == 200
    name = content_disposition(Disposition.ATTACHMENT, "naïve (1).png")
    params = {"response-content-disposition": name, "response-content-type": "image/png"}
    answer = signer.http.get(signer.url("GET", key, params=params))
    assert answer.headers["content-disposition"] == name
    assert answer.headers["content-type"] == "image/png"
    url = signer.url("GET", key, params={"response-content-type": "image/png"})
    assert refused(signer.http.get(url.replace("image%2Fpng", "text%2Fhtml")), 403, "SignatureDoesNotMatch")


def test_part_of_a_file_can_be_asked_for(signer: Signer, key: str) -> None:
    assert signer.put(key).status_code == 200
    answer = signer.http.get(signer.url("GET", key), headers={"Range": "bytes=1-2"})
    assert (answer.status_code, answer.content) == (206, b"el")


def test_page_of_a_configured_origin_may_use_urls_and_no_other(signer: Signer, key: str) -> None:
    asked = {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type,if-none-match,x-amz-checksum-sha256",
    }
    url = signer.url("PUT", key)
    allowed = signer.http.options(url, headers={"Origin": ORIGIN, **asked})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    for name in asked["Access-Control-Request-Headers"].split(","):
        assert name in allowed.headers["access-control-allow-headers"]
    for origin in ("https://evil.example", "null"):
        assert signer.http.options(url, headers={"Origin": origin, **asked}).status_code == 403
        answer = signer.http.get(signer.url("GET", key), headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers
