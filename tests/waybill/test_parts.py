"""Large files by `waybill upload`, in parts, and what goes on after a kill."""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests import processes
from tests.conftest import wait_for
from tests.small_parts import PART_BYTES
from tests.waybill.commands import Answer, Ask, Cli, between

PENDING = '{ object(objectId: "film") { pendingUpload { id parts { nodes { number size url etag } } } } }'


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Of three parts, the last of which is small."""
    path = tmp_path / "film.bin"
    path.write_bytes(b"".join(bytes([number]) * PART_BYTES for number in (1, 2)) + b"the end")
    return path


def pending(cli: Cli) -> Any:
    return cli.post(PENDING)["object"]["pendingUpload"]


def etags(cli: Cli) -> list[bool]:
    return [part["etag"] is not None for part in pending(cli)["parts"]["nodes"]]


def send(cli: Cli, film: Path) -> Any:
    return cli.json("upload", str(film), "--batch", "films", "--object", "film")


def assert_there(cli: Cli, film: Path, tmp_path: Path) -> None:
    cli.output("download", "--batch", "films", str(tmp_path / "back"))
    assert (tmp_path / "back" / "film").read_bytes() == film.read_bytes()


@contextmanager
def changed_parts(cli: Cli, change: Any) -> Iterator[Cli]:
    """A service whose answers about parts go through ``change``, which changes what it is given."""

    def answer(body: bytes, ask: Ask) -> Answer:
        status, given = ask(cli.url)
        if b"query Parts" in body:
            parsed = orjson.loads(given)
            change(parsed["data"]["node"]["parts"]["nodes"])
            given = orjson.dumps(parsed)
        return status, given

    with between(answer) as url:
        yield Cli(url, cli.key)


def begun(cli: Cli, film: Path, *numbers: int) -> Any:
    """The upload of a run of which some parts are there."""
    announced = {"name": film.name, "contentType": "video/mp4", "size": film.stat().st_size}
    announced["sha256"] = hashlib.sha256(film.read_bytes()).hexdigest()
    cli.post(CREATE_BATCH, objects=[{"objectId": "film", "file": announced}])
    upload = pending(cli)
    for part in upload["parts"]["nodes"]:
        if part["number"] in numbers:
            send_part(part, piece(film, part))
    return upload


CREATE_BATCH = """mutation($objects: [ObjectInput!]) {
  createBatch(input: {batchId: "films", objects: $objects}) { batch { id } } }"""


def piece(film: Path, part: Any) -> bytes:
    return film.read_bytes()[(part["number"] - 1) * PART_BYTES :][: int(part["size"])]


def send_part(part: Any, body: bytes) -> None:
    assert httpx.put(part["url"], content=body, trust_env=False).status_code == 200


def test_large_file_goes_up_in_parts_and_comes_back(cli: Cli, film: Path, tmp_path: Path) -> None:
    asked: list[Any] = []
    with changed_parts(cli, asked.append) as through:
        sent = send(through, film)
    assert (sent["files_sent"], sent["files_failed"], sent["bytes_sent"]) == (1, 0, film.stat().st_size)
    assert [[node.keys() for node in nodes] for nodes in asked] == [[{"number", "size", "url"}] * 3]
    assert_there(cli, film, tmp_path)
    assert send(cli, film)["files_there"] == 1


def test_killed_upload_goes_on_with_the_parts_that_are_missing(cli: Cli, film: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def stall_the_last(nodes: list[Any]) -> None:
            nodes[-1]["url"] = f"http://127.0.0.1:{silent.getsockname()[1]}/"

        command = ["upload", str(film), "--batch", "films", "--object", "film"]
        with changed_parts(cli, stall_the_last) as through, processes.running(*command, **through.variables) as first:
            wait_for(lambda: cli.output("objects", "--count") == "1\n" and etags(cli) == [True, True, False])
            first.kill()
            first.join()
    again = send(cli, film)
    assert (again["files_sent"], again["bytes_sent"]) == (1, len(b"the end"))
    assert_there(cli, film, tmp_path)


def test_changed_file_begins_anew_and_what_was_sent_is_given_up(cli: Cli, film: Path, tmp_path: Path) -> None:
    stale = begun(cli, film, 1)
    film.write_bytes(b"x" * (PART_BYTES + 1))
    assert send(cli, film)["bytes_sent"] == PART_BYTES + 1
    asked = "mutation($ids: [ID!]!) { completeUploads(input: {uploadIds: $ids}) { results { problem } } }"
    assert cli.post(asked, ids=[stale["id"]])["completeUploads"]["results"] == [{"problem": "ABORTED"}]
    assert_there(cli, film, tmp_path)


def test_part_of_other_bytes_is_sent_again_and_takes_its_place(cli: Cli, film: Path, tmp_path: Path) -> None:
    completions: list[Any] = []

    def answer(body: bytes, ask: Ask) -> Answer:
        if b"mutation Complete" in body:
            completions.append(orjson.loads(body)["variables"]["parts"])
        return ask(cli.url)

    upload = begun(cli, film, 1)
    send_part(upload["parts"]["nodes"][1], b"y" * PART_BYTES)
    with between(answer) as url:
        assert send(Cli(url, cli.key), film)["bytes_sent"] == PART_BYTES + len(b"the end")
    [[said]] = completions  # or S3, which has both, might take the other
    assert {part["number"] for part in said["parts"]} == {1, 2, 3}
    assert_there(cli, film, tmp_path)


def test_etags_that_are_no_md5_say_nothing(cli: Cli, film: Path) -> None:
    begun(cli, film, 1, 2)

    def other_etags(nodes: list[Any]) -> None:
        for node in nodes:
            node["etag"] = node["etag"] and hashlib.md5(node["etag"].encode(), usedforsecurity=False).hexdigest()

    with changed_parts(cli, other_etags) as through:
        assert send(through, film)["bytes_sent"] == len(b"the end")


def test_url_of_a_part_that_has_expired_is_renewed_once_for_all_of_its_page(cli: Cli, film: Path) -> None:
    asked: list[Any] = []

    def spoil(nodes: list[Any]) -> None:
        asked.append(nodes)
        for node in nodes if len(asked) == 1 else ():
            node["url"] = node["url"].replace("X-Amz-Signature=", "X-Amz-Signature=0")

    with changed_parts(cli, spoil) as through:
        assert send(through, film)["bytes_sent"] == film.stat().st_size
    assert len(asked) == 2


def test_upload_that_was_completed_without_being_heard_of_is_found(cli: Cli, film: Path) -> None:
    """By S3, as where the service stopped before it could write that down."""
    ids: list[str] = []

    def answer(body: bytes, ask: Ask) -> Answer:
        if b"query Parts" in body and not ids:
            ids.append(orjson.loads(body)["variables"]["id"])
            for part in pending(cli)["parts"]["nodes"]:
                send_part(part, piece(film, part))
            status, given = ask(cli.url)
            assert cli.post(COMPLETE, ids=ids)["completeUploads"]["results"] == [{"state": "COMPLETE"}]
            return status, given
        return ask(cli.url)

    with between(answer) as url:
        sent = send(Cli(url, cli.key), film)
    assert (sent["files_sent"], sent["bytes_sent"]) == (1, 0)


COMPLETE = "mutation($ids: [ID!]!) { completeUploads(input: {uploadIds: $ids}) { results { state } } }"


def test_upload_that_is_given_up_meanwhile_begins_anew(cli: Cli, film: Path, tmp_path: Path) -> None:
    ids: list[str] = []

    def answer(body: bytes, ask: Ask) -> Answer:
        if b"query Parts" in body and not ids:
            ids.append(orjson.loads(body)["variables"]["id"])
            cli.post("mutation($ids: [ID!]!) { abortUploads(input: {uploadIds: $ids}) { results { state } } }", ids=ids)
        return ask(cli.url)

    with between(answer) as url:
        assert send(Cli(url, cli.key), film)["bytes_sent"] == film.stat().st_size
    assert_there(cli, film, tmp_path)


def test_completion_that_takes_longer_than_a_request_may_is_asked_for_again(cli: Cli, film: Path) -> None:
    late = {"message": "Stopped.", "extensions": {"code": "TIMEOUT"}}
    calls: list[bytes] = []

    def answer(body: bytes, ask: Ask) -> Answer:
        if b"mutation Complete" in body:
            calls.append(body)
            if len(calls) < 3:
                return 504, orjson.dumps({"data": None, "errors": [late]})
        return ask(cli.url)

    with between(answer) as url:
        assert send(Cli(url, cli.key), film)["files_sent"] == 1


def test_file_that_changes_while_its_parts_are_sent_is_not_completed(cli: Cli, film: Path) -> None:
    with changed_parts(cli, lambda _: os.utime(film, ns=(0, 0))) as through:
        result = through.run("upload", str(film), "--batch", "films", "--object", "film")
    assert (result.exit_code, "was changed while it was read" in result.stderr) == (1, True)
    assert etags(cli) == [True, True, True]


def test_file_that_is_still_being_verified_is_not_sent_again(cli: Cli, film: Path) -> None:
    send(cli, film)

    def answer(body: bytes, ask: Ask) -> Answer:
        status, given = ask(cli.url)
        return status, given.replace(b'"COMPLETE"', b'"VERIFYING"') if b"query Find" in body else given

    with between(answer) as url:
        assert Cli(url, cli.key).output("upload", str(film), "--batch", "films", "--object", "film") == (
            "files: 0 sent, 1 still being verified, 0 there before\n"
        )
