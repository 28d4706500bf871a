"""Local copies over HTTP: whose they are, their bytes and headers, and what is answered where something is wrong."""

import asyncio
import dataclasses
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from starlette.datastructures import Secret

from access.boxes import Boxes
from access.copy_urls import PURPOSE, CopyUrls, Shown
from access.credentials import create_key
from access.rates import Payer, Rates
from models import KeyScope, Role, audit, database
from models.errors import RateLimited, StorageUnavailable
from models.pages import Bounds, Row
from sync import disk
from tests.access.conftest import beside
from tests.access.test_grants import grant
from tests.access.test_matrix import operator_key
from tests.conftest import NewCaller, without_cost
from tests.statements import statements_of
from tests.sync.copied import KEYS, Copies, code, copies, root, with_root
from waybill import seaweedfs
from waybill.settings import Settings

__all__ = ["copies", "root", "with_root"]  # fixtures

CONTENT = bytes(range(256)) * 4


async def test_who_may_read_the_object_reads_its_copy(copies: Copies, new_caller: NewCaller) -> None:
    key = await copies.add("o", CONTENT)
    member = await new_caller(copies.caller.tenant, role=Role.MEMBER)
    assert code(await copies.get(key, member)) == (404, "NOT_FOUND")
    await grant(copies.caller, member, "VIEW", object="o")
    reader = dataclasses.replace(member, key=await create_key(member.user, "r", KeyScope.READ))
    for caller in (copies.caller, member, reader):
        answer = await copies.get(key, caller)
        assert (answer.status_code, answer.content) == (200, CONTENT)


async def test_what_is_not_visible_is_as_what_is_not_there(copies: Copies, new_caller: NewCaller) -> None:
    key = await copies.add("o", CONTENT)
    member = await new_caller(copies.caller.tenant, role=Role.MEMBER)
    for caller in (member, await new_caller()):
        for thing in ("", "/thumbnail"):
            hidden, many = await statements_of(lambda c=caller, t=thing: copies.get(f"{key}{t}", c))  # type: ignore[misc]
            absent, few = await statements_of(lambda c=caller, t=thing: copies.get(f"1{t}", c))  # type: ignore[misc]
            assert code(hidden) == (404, "NOT_FOUND")
            assert (hidden.json(), many) == (absent.json(), few)
    for odd in ("x", "-1", "0", "9" * 30, "%00", "%ED%A0%80", "..%2Fa"):
        assert code(await copies.get(odd))[1] in ("NOT_FOUND", "BAD_REQUEST")


async def test_nobody_reads_without_a_credential_that_is_good(copies: Copies) -> None:
    key = await copies.add("o", CONTENT)
    spoilt = f"/copies/{key}?tenant=1&expires=9999999999&signature={'0' * 64}"
    answers = [
        await copies.http.get(url) for url in (f"/copies/{key}", "/copies/x", f"/copies/{key}/thumbnail", spoilt)
    ]
    assert {code(answer) for answer in answers} == {(401, "UNAUTHENTICATED")}
    assert len({answer.content for answer in answers}) == 1
    operator = dataclasses.replace(copies.caller, key=await operator_key())
    assert code(await copies.get(key, operator)) == (403, "FORBIDDEN")
    headers = {"waybill_tenant": copies.caller.tenant.slug}
    assert (await copies.get(key, operator, **headers)).content == CONTENT
    copies.caller.user.revoked_at = datetime.now(UTC)
    await copies.caller.user.save()
    assert code(await copies.get(key)) == (401, "UNAUTHENTICATED")


async def test_url_of_graphql_reads_the_copy_without_a_credential(copies: Copies) -> None:
    await copies.add("o", CONTENT, "ä b.bin")
    url = await copies.url("o")
    answer = await copies.http.get(url)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-disposition"] == "attachment; filename=\"_ b.bin\"; filename*=UTF-8''%C3%A4%20b.bin"


async def test_url_is_good_for_nothing_else_and_not_longer(copies: Copies) -> None:
    first, second = await copies.add("o", CONTENT), await copies.add("p", CONTENT)
    url = await copies.url("o")
    assert (await copies.http.get(url)).status_code == 200
    path, query = url.split("?")
    parameters = dict(parse_qsl(query))
    changed = [
        url.replace(f"/{first}?", f"/{second}?"),
        f"{path}/thumbnail?{query}",
        f"{path}?disposition=inline&{query}",
        url.replace(f"tenant={parameters['tenant']}", f"tenant={int(parameters['tenant']) + 1}"),
        url.replace(f"expires={parameters['expires']}", f"expires={int(parameters['expires']) + 1}"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.replace(parameters["signature"], parameters["signature"].upper()),
        url.replace(parameters["signature"], ""),
        url.replace(parameters["signature"], "%F0%9F"),
    ]
    for other in changed:
        assert code(await copies.http.get(other)) == (401, "UNAUTHENTICATED"), other
    urls = CopyUrls(Boxes([bytes.fromhex(KEYS)]).derived(PURPOSE))
    past = urls.sign(copies.caller.tenant.id, Shown(str(first)), datetime.now(UTC) - timedelta(seconds=2))
    answer = await copies.http.get(past)
    assert code(answer) == (401, "UNAUTHENTICATED")
    assert "over" in answer.text


async def test_url_that_was_signed_with_a_former_key_is_good(copies: Copies) -> None:
    key = await copies.add("o", CONTENT)
    shown, until = Shown(str(key)), datetime.now(UTC) + timedelta(minutes=1)
    former, present = CopyUrls([b"f" * 32]), CopyUrls([b"p" * 32, b"f" * 32])
    for signed in (former.sign(7, shown, until), present.sign(7, shown, until)):
        given = dict(parse_qsl(urlsplit(signed).query))
        assert present.holder(shown, given["tenant"], given["expires"], given["signature"]).tenant_id == 7


async def test_url_of_a_suspended_tenant_and_of_a_deleted_object_is_over(copies: Copies) -> None:
    await copies.add("o", CONTENT)
    await copies.add("p", CONTENT)
    url, other = await copies.url("o"), await copies.url("p")
    await copies.caller.execute('mutation { deleteObjects(input: {objectIds: ["o"]}) { deletedObjectIds } }')
    assert code(await copies.http.get(url)) == (404, "NOT_FOUND")
    copies.caller.tenant.revoked_at = datetime.now(UTC)
    await copies.caller.tenant.save()
    assert code(await copies.http.get(other)) == (403, "TENANT_SUSPENDED")


async def test_signatures_that_are_wrong_count_as_failed_logins_and_late_ones_do_not(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await copies.add("o", CONTENT)
    counted: list[str] = []

    async def count(_: object, address: str) -> None:
        counted.append(address)
        raise RateLimited(retryAfter=7)

    monkeypatch.setattr("access.rates.Rates.count_failed_login", count)
    answer = await copies.http.get(f"/copies/{key}?tenant=1&expires=9999999999&signature=0")
    assert code(answer) == (429, "RATE_LIMITED")
    assert answer.headers["retry-after"] == "7"
    assert code(await copies.http.get(f"/copies/{key}")) == (429, "RATE_LIMITED")
    assert len(counted) == 2
    urls = CopyUrls(Boxes([bytes.fromhex(KEYS)]).derived(PURPOSE))
    await copies.http.get(urls.sign(1, Shown(str(key)), datetime.now(UTC) - timedelta(seconds=2)))
    assert len(counted) == 2


async def test_reading_costs_points_of_the_key_and_urls_those_of_the_tenant(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await copies.add("o", bytes(3_000_000))
    url = await copies.url("o")
    spent: list[tuple[str, int]] = []
    original = Rates.reserve

    async def reserve(self: Rates, payer: Payer, points: int, already: int = 0, least: int = 0) -> object:
        spent.append((payer.key_id, points - already))
        return await original(self, payer, points, already, least)

    monkeypatch.setattr(Rates, "reserve", reserve)
    await copies.get(key)
    await copies.get(key, range="bytes=0-999999")
    await copies.http.get(url)
    own, of_urls = copies.caller.key.split("_")[1], f"url:{copies.caller.tenant.id}"
    assert spent == [(own, 1), (own, 3), (own, 1), (own, 1), (of_urls, 1), (of_urls, 3)]


async def test_whoever_reads_is_in_the_audit_log(copies: Copies) -> None:
    key = await copies.add("o", CONTENT)
    [entry] = await entries_after(copies, lambda: copies.get(key))
    assert (entry["user_id"], entry["batch_id"], entry["object_id"]) == (copies.caller.user.id, "b", "o")
    assert entry["details"] == f'{{"copy": "{key}"}}'
    given = await entries_after(copies, lambda: copies.urls("o", **{"in": 60}))
    assert [one["details"] for one in given] == [f'{{"copy": "{key}"}}']
    assert given[0]["until_at"] is not None
    url = await copies.url("o")
    etag = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    for quiet in (lambda: copies.http.get(url), lambda: copies.get(key, if_none_match=etag)):
        assert await entries_after(copies, quiet) == []


async def entries_after(copies: Copies, ask: Callable[[], Awaitable[object]]) -> list[Row]:
    which = audit.Which(copies.caller.tenant.id)
    before = await audit.count(which)
    await ask()
    rows = (await audit.page(which, Bounds(100))).rows
    return list(rows[: len(rows) - before])


async def test_copy_that_is_not_there_yet_says_how_far_it_is(copies: Copies) -> None:
    key = await copies.ask("o")
    answer = await copies.get(key)
    assert code(answer) == (409, "FILE_NOT_COMPLETE")
    assert answer.json()["errors"][0]["extensions"]["state"] == "QUEUED"
    body = {"query": '{ object(objectId: "o") { localCopy { state access { url } thumbnail { url } } } }'}
    graphql = without_cost(await copies.http.post("/graphql", json=body, headers=copies.caller.headers))
    assert graphql["errors"][0]["extensions"]["code"] == "FILE_NOT_COMPLETE"
    assert graphql["data"]["object"]["localCopy"] == {"state": "QUEUED", "access": None, "thumbnail": None}


async def test_file_that_is_gone_or_changed_is_said_to_be_and_logged_once(
    copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    gone, shorter, fifo = [await copies.add(name, CONTENT) for name in ("gone", "shorter", "fifo")]
    copies.path("gone").unlink()
    copies.path("shorter").write_bytes(CONTENT[1:])
    copies.path("fifo").unlink()
    os.mkfifo(copies.path("fifo"))
    for key, expected in (
        (gone, (404, "COPY_MISSING")),
        (shorter, (409, "COPY_CHANGED")),
        (fifo, (404, "COPY_MISSING")),
    ):
        caplog.clear()
        assert code(await copies.get(key)) == expected
        [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert line.__dict__["copy"] == key


async def test_no_link_leads_out_of_the_root(copies: Copies) -> None:
    outside = copies.root.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "a.bin").write_bytes(CONTENT)
    file, directory = await copies.add("file", CONTENT), await copies.add("directory", CONTENT)
    copies.path("file").unlink()
    copies.path("file").symlink_to(outside / "a.bin")
    copies.path("directory").unlink()
    copies.path("directory").parent.rmdir()
    copies.path("directory").parent.symlink_to(outside)
    up = await copies.add("up", CONTENT)
    await database.execute("UPDATE syncs SET path = $2 WHERE id = $1", up, "../outside/a.bin")
    for key in (file, directory, up):
        assert code(await copies.get(key)) == (404, "COPY_MISSING")


async def test_service_without_a_root_says_so(copies: Copies, settings: Settings, seaweed: seaweedfs.Server) -> None:
    key = await copies.add("o", CONTENT)
    without = dataclasses.replace(settings, sync_root="", encryption_keys=Secret(""))
    async with beside(without, seaweed) as http:
        elsewhere = dataclasses.replace(copies.caller, http=http)
        answer = await http.get(f"/copies/{key}", headers=elsewhere.headers)
        assert code(answer) == (404, "COPY_MISSING")
        answer = await elsewhere.post('{ object(objectId: "o") { localCopy { access { url } } } }')
        [error] = answer.json()["errors"]
        assert error["extensions"]["code"] == "STORAGE_UNAVAILABLE"


async def test_copy_in_a_bucket_is_not_read_here(copies: Copies) -> None:
    key = await copies.add("o", CONTENT, "a.png", "image/png")
    theirs = '{"bucket": "theirs"}'
    await database.execute("UPDATE sync_sources SET destination = $2 WHERE id = $1", copies.source["id"], theirs)
    for answer in (await copies.get(key), await copies.get(f"{key}/thumbnail")):
        assert code(answer) == (404, "COPY_MISSING")
        assert "bucket" in answer.text


async def test_file_that_is_replaced_while_it_is_read_is_sent_as_it_was(copies: Copies) -> None:
    """Over ASGI, which can wait between two pieces."""
    content = os.urandom(600_000)
    key = await copies.add("o", content)
    sent: list[bytes] = []

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            if not sent:
                other = copies.path("o").with_name("new")
                other.write_bytes(os.urandom(600_000))
                other.replace(copies.path("o"))
            sent.append(message["body"])  # type: ignore[arg-type]

    await asked(copies, key, send)
    assert b"".join(sent) == content
    assert len(sent) > 1


async def test_file_that_is_cut_off_while_it_is_read_ends_the_answer_with_one_line(
    copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    key = await copies.add("o", bytes(600_000))
    last: list[object] = []

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.body":
            os.truncate(copies.path("o"), 0)
        last[:] = [message.get("more_body")]

    await asked(copies, key, send)
    assert last == [True]
    [line] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.getMessage() == "a local copy was not sent to its end"


async def test_nothing_more_is_read_for_a_client_that_has_gone(copies: Copies) -> None:
    key = await copies.add("o", bytes(3_000_000))
    gone = asyncio.Event()
    pieces = 0

    async def send(message: dict[str, object]) -> None:
        nonlocal pieces
        if message["type"] == "http.response.body":
            pieces += 1
            gone.set()

    async def receive() -> dict[str, object]:
        await gone.wait()
        return {"type": "http.disconnect"}

    await asked(copies, key, send, receive)
    assert pieces < 5


async def asked(copies: Copies, key: int, send: object, receive: object = None) -> None:
    async def nothing() -> dict[str, object]:
        await asyncio.Event().wait()
        raise AssertionError

    headers = [(name.lower().encode(), value.encode()) for name, value in copies.caller.headers.items()]
    path = f"/copies/{key}"
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("waybill.test", 80), "scheme": "http",
        "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0", "spec_version": "2.3"},
    }  # fmt: skip
    app = copies.http._transport.app  # type: ignore[attr-defined]
    await app(scope, receive or nothing, send)


async def test_one_tenants_slow_clients_leave_files_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_MOST_OF_ONE", len(disk._open) + 2)
    for tenant in ("acme", "other"):
        (tmp_path / tenant).mkdir()
        (tmp_path / tenant / "f").write_bytes(b"hello")
    files = [await disk.open_below(tmp_path, "acme/f", 5) for _ in range(disk._MOST_OF_ONE)]
    with pytest.raises(StorageUnavailable):
        await disk.open_below(tmp_path, "acme/f", 5)
    files.append(await disk.open_below(tmp_path, "other/f", 5))
    disk.close(files.pop(0))
    files.append(await disk.open_below(tmp_path, "acme/f", 5))
    for file in files:
        disk.close(file)
