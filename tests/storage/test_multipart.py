"""Uploads in parts as the service asks for them, of a real SeaweedFS; faults are a small server's in its place."""

import asyncio
import datetime as dt
from unittest.mock import patch
from uuid import uuid4

import httpx
import pytest

from models.errors import StorageUnavailable
from storage import client, multipart
from storage.client import MOST_PARTS, Config, Part, Storage
from storage.keys import new_key
from storage.multipart import Cut, Place, abort_many, assemble
from storage.proof import Claim, Verdict, examine, prove
from storage.urls import Urls
from tests.conftest import BUCKETS
from tests.storage.test_client import answer, in_its_place

ONE = BUCKETS[0]
MIB = 1024**2


@pytest.mark.parametrize(
    ("size", "part_mib", "count"),
    [
        (64 * MIB + 1, 16, 5),
        (80 * MIB, 16, 5),
        (160_000 * MIB, 16, 10_000),
        (160_000 * MIB + 1, 17, 9_412),
        (5 * 1024**4, 525, 9_987),
    ],
)
def test_ten_thousand_parts_suffice_and_make_up_the_whole(size: int, part_mib: int, count: int) -> None:
    cut = Cut.of(size)
    assert (cut.part_bytes, cut.count) == (part_mib * MIB, count)
    assert count <= MOST_PARTS
    assert cut.size_of(1) == cut.part_bytes
    assert (count - 1) * cut.part_bytes + cut.size_of(count) == size
    assert 0 < cut.size_of(count) <= cut.part_bytes


async def begun(storage: Storage) -> Place:
    key = new_key("tenant", uuid4())
    [place] = await multipart.create(storage, [(ONE, key, "text/plain")], sse="")
    return place


async def send(storage: Storage, place: Place, *parts: tuple[int, bytes]) -> None:
    urls = Urls(storage)
    await urls.renew()
    async with httpx.AsyncClient(trust_env=False) as http:
        for number, body in parts:
            url = urls.part(*place, number, len(body), now=dt.datetime.now(dt.UTC), seconds=60)
            assert (await http.put(url, content=body)).status_code == 200


async def test_parts_are_listed_through_all_pages(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PARTS_PER_LIST", 2)
    place = await begun(storage)
    assert await storage.list_parts(*place) == []
    await send(storage, place, *((number, b"x" * number) for number in (1, 2, 4, 7, 10_000)))

    async def listed(after: int = 0, last: int = MOST_PARTS) -> list[tuple[int, int]]:
        return [(part.number, part.size) for part in await storage.list_parts(*place, after=after, last=last) or ()]

    assert await listed() == [(1, 1), (2, 2), (4, 4), (7, 7), (10_000, 10_000)]
    assert await listed(after=2) == [(4, 4), (7, 7), (10_000, 10_000)]
    assert await listed(after=1, last=4) == [(2, 2), (4, 4)]
    assert await listed(after=4, last=6) == []


async def test_abort_takes_what_is_there_and_can_be_repeated(storage: Storage) -> None:
    places = [await begun(storage) for _ in range(2)]
    await send(storage, places[0], (1, b"hello"), (3, b"x"))
    for _ in range(2):
        assert await abort_many(storage, places) == {}
    assert [await storage.list_parts(*place) for place in places] == [None, None]


async def test_abort_that_leaves_a_part_says_so(storage_config: Config) -> None:
    body = (
        b"<ListPartsResult><IsTruncated>false</IsTruncated><Part><PartNumber>7</PartNumber><Size>1</Size>"
        b"<ETag>e</ETag><LastModified>2026-11-25T00:00:00Z</LastModified></Part></ListPartsResult>"
    )
    async with in_its_place(storage_config, answer("200 OK", body)) as (storage, requests):
        assert await abort_many(storage, [Place(ONE, "a", "id")]) == {"a": "PartsLeft"}
        assert [request.partition(" ")[0] for request in requests] == ["DELETE", "GET"]


async def test_abort_that_s3_refuses_is_named_by_key(storage_config: Config) -> None:
    body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    async with in_its_place(storage_config, answer("403 Forbidden", body)) as (storage, _):
        assert await abort_many(storage, [Place(ONE, "a", "id")]) == {"a": "AccessDenied"}


async def test_error_after_status_200_completes_nothing(storage_config: Config) -> None:
    """As AWS says it, which begins its answer before it puts the parts together."""
    body = b'<?xml version="1.0" encoding="UTF-8"?>\n  <Error><Code>InternalError</Code><Message>no</Message></Error>'
    async with in_its_place(storage_config, answer("200 OK", body)) as (storage, requests):
        with pytest.raises(StorageUnavailable):
            await storage.complete_multipart(ONE, "a", "id", [Part(1, 1, "e")])
        assert len(requests) == 3


@pytest.mark.parametrize(
    ("status", "code"),
    [("200 OK", "NoSuchUpload"), ("404 Not Found", "NoSuchUpload"), ("400 Bad Request", "InvalidPart")],
)
async def test_refusal_is_known_by_its_code_whatever_its_status(storage_config: Config, status: str, code: str) -> None:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    async with in_its_place(storage_config, answer(status, body)) as (storage, _):
        assert await storage.complete_multipart(ONE, "a", "id", [Part(1, 1, "e")]) == code


async def test_part_that_s3_has_not_is_a_refusal(storage: Storage) -> None:
    place = await begun(storage)
    await send(storage, place, (1, b"hello"))
    assert await storage.complete_multipart(*place, [Part(1, 5, "0" * 32)]) == "InvalidPart"
    assert await storage.head(ONE, place.key) is None


async def test_upload_that_somebody_else_completes_meanwhile_is_right(storage: Storage) -> None:
    place = await begun(storage)
    await send(storage, place, (1, b"hello"))
    claim = Claim(ONE, place.key, 5, None, place.multipart_id, 16 * MIB)
    assert (
        await asyncio.gather(*(prove(storage, [claim], most_read_bytes=0) for _ in range(5))) == [[Verdict.RIGHT]] * 5
    )
    assert await assemble(storage, place, Cut(5, 16 * MIB), None) is None
    assert await prove(storage, [claim._replace(size_bytes=6)], most_read_bytes=0) == [Verdict.SIZE_MISMATCH]
    assert await prove(storage, [claim._replace(sha256=b"x" * 32)], most_read_bytes=0) == [Verdict.UNREAD]


async def test_bucket_that_is_missing_is_no_missing_part(storage: Storage) -> None:
    claim = Claim("no-such-bucket", "a", 5, None, "id", 16 * MIB)
    assert await prove(storage, [claim], most_read_bytes=0) == [None]
    with pytest.raises(StorageUnavailable):
        await examine(storage, [claim], most_read_bytes=0)


async def test_s3_is_not_asked_for_ever_where_it_is_away(storage: Storage) -> None:
    asked = 0

    async def away(*_: object) -> None:
        nonlocal asked
        asked += 1
        raise StorageUnavailable

    claims = [Claim("bucket", f"{number}", 1, None) for number in range(100)]
    with patch.object(Storage, "head", away):
        assert await prove(storage, claims, most_read_bytes=0) == [None] * 100
    assert 0 < asked < 70
