"""`waybill import` and `waybill export` against a running service, and against one that comes and goes."""

import contextlib
import json
import os
import signal
import socket
import threading
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import httpx
import orjson
import pytest

from access import key_form
from models import AccessLevel, Role
from tests.conftest import Caller, NewCaller, served, wait_for
from tests.waybill.commands import Answer, Ask, Cli, batch, between, object_
from waybill.cli import transfer

HARD = ["", " ", "ü", "日本", "💡", '"', "\\", "a=b", "\n\t\x01", "%_", "007", "x" * 4096]


@pytest.fixture
async def elsewhere(service_url: str, new_caller: NewCaller) -> Cli:
    """For the admin of another, empty tenant."""
    return Cli(service_url, (await new_caller()).key)


def counts(**given: int) -> dict[str, int]:
    return {name: given.get(name, 0) for name in transfer.Counts.__dataclass_fields__}


def numbered(batch_id: str, count: int) -> dict[str, Any]:
    return batch(batch_id, *(object_(f"{batch_id}-{number:05}", ("number", str(number))) for number in range(count)))


def test_import_makes_everything_and_says_so(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "batches.json"
    file.write_bytes(orjson.dumps([numbered("a", 3), batch("empty"), numbered("b", 1_200)]))
    result = cli.run("import", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "batches: 3 made, 0 existed\nobjects: 1,203 made, 0 existed, 0 differ\n"
    assert cli.json("objects", "--count") == {"count": 1_203}


def test_import_stops_where_the_quota_is_reached(cli: Cli, admin: Caller, database_url: str) -> None:
    quota = ("tenant", "quota", admin.tenant.slug, "--objects", "3000")
    assert cli.run(*quota, WAYBILL_DATABASE_URL=database_url).exit_code == 0
    result = cli.run("import", "-", given=orjson.dumps(numbered("a", 7_000)))
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: The tenant's quota does not allow for 2,000 objects more: 2,000 used, of 3,000."
        " Delete what is not needed, or ask the operator for more.\n"
        "2,000 objects were made before; repeat the import to go on.\n"
    )


def test_import_run_again_changes_nothing_and_says_what_exists(cli: Cli) -> None:
    given = [numbered("a", 250), numbered("b", 3)]
    assert cli.json("import", "-", given=given) == counts(batches_made=2, objects_made=253)
    before = cli.output("objects", "--all", "--json")
    assert cli.json("import", "-", given=given) == counts(batches_existed=2, objects_existed=253)
    assert cli.output("objects", "--all", "--json") == before


def test_import_of_an_export_gives_the_same_in_the_same_order(cli: Cli, elsewhere: Cli) -> None:
    hard = [object_(value or "-", *((key or "-", value) for key in HARD[:-1])) for value in HARD if len(value) < 257]
    long = batch("long", object_("long", ("k", HARD[-1]), ("k", HARD[-1]), ("k", "")))
    given = [numbered("z", 205), batch("hard", *hard), batch("empty"), long, *(numbered(f"m{i}", 2) for i in range(30))]
    cli.json("import", "-", given=given)

    exported = cli.output("export")
    assert orjson.loads(exported) == given
    elsewhere.output("import", "-", given=exported.encode())
    assert elsewhere.output("export") == exported


def test_one_batch_is_exported_as_a_batch_and_several_as_a_list(cli: Cli) -> None:
    a, b = numbered("a", 2), numbered("b", 101)
    cli.json("import", "-", given=[a, b])
    assert orjson.loads(cli.output("export", "--batch", "b")) == b
    assert orjson.loads(cli.output("export", "--batch", "b", "--batch", "a")) == [b, a]
    assert orjson.loads(cli.output("export", "--batch", "a", "--batch", "a")) == a


def test_export_of_nothing_is_an_empty_list_that_can_be_imported(cli: Cli) -> None:
    exported = cli.output("export")
    assert orjson.loads(exported) == []
    assert cli.output("import", "-", given=exported.encode()).startswith("batches: 0 made")


def test_export_writes_a_file_and_counts_it(cli: Cli, tmp_path: Path) -> None:
    cli.json("import", "-", given=numbered("a", 2))
    file = tmp_path / "out.json"
    assert cli.json("export", str(file)) == {"batches": 1, "objects": 2}
    assert orjson.loads(file.read_bytes()) == [numbered("a", 2)]


def test_export_of_an_unknown_batch_fails_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    cli.json("import", "-", given=batch("a"))
    for file in ([], [str(tmp_path / "out.json")]):
        result = cli.run("export", "--batch", "a", "--batch", "b", *file)
        assert (result.exit_code, result.stdout) == (1, "")
        assert 'no batch "b"' in result.stderr
    assert [*tmp_path.iterdir()] == []


def test_export_that_fails_leaves_the_file_as_it_was(cli: Cli, tmp_path: Path) -> None:
    cli.json("import", "-", given=numbered("a", 101))
    file = tmp_path / "out.json"
    file.write_text("before")

    def answer(body: bytes, ask: Ask) -> Answer:
        return ask(cli.url) if b"ExportBatches" in body else (404, b"gone")

    with between(answer) as url:
        result = Cli(url, cli.key).run("export", str(file))
    assert (result.exit_code, result.stdout) == (3, "")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.json", "before")]


def test_export_writes_into_a_pipe_without_replacing_it(cli: Cli, tmp_path: Path) -> None:
    cli.json("import", "-", given=numbered("a", 1))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with cli.start("export", "--batch", "a", str(pipe), stdout=DEVNULL):
        assert orjson.loads(pipe.read_bytes()) == numbered("a", 1)
    assert pipe.is_fifo()


def test_export_where_it_cannot_be_written_says_so(cli: Cli, tmp_path: Path) -> None:
    result = cli.run("export", str(tmp_path / "absent" / "out.json"))
    assert result.exit_code == 1
    assert "cannot be written: No such file or directory" in result.stderr


def test_a_partly_present_batch_gets_what_is_missing(cli: Cli) -> None:
    whole = numbered("a", 230)
    cli.json("import", "-", given=batch("a", *whole["objects"][50:180:2]))
    assert cli.json("import", "-", given=whole) == counts(batches_existed=1, objects_made=165, objects_existed=65)
    assert cli.json("objects", "--count") == {"count": 230}


def test_objects_that_differ_are_named_and_left_alone(cli: Cli) -> None:
    cli.json("import", "-", given=[batch("a", object_("1", ("k", "v")), object_("2")), batch("b", object_("3"))])
    before = cli.output("export")

    given = [batch("a", object_("1", ("k", "other")), object_("2")), batch("c", object_("3"), object_("4"))]
    result = cli.run("import", "-", "--json", given=orjson.dumps(given))
    assert result.exit_code == 1
    expected = counts(batches_made=1, batches_existed=1, objects_made=1, objects_existed=1, objects_differ=2)
    assert orjson.loads(result.stdout) == expected
    assert 'differs: object "1" has other data' in result.stderr
    assert 'differs: object "3" is in batch "b", not in "c"' in result.stderr
    assert cli.output("export", "--batch", "a", "--batch", "b") == before


def test_what_the_service_refuses_is_reported_and_the_rest_is_made(cli: Cli) -> None:
    given = [batch("bad", object_("1", ("k" * 300, "v"))), batch("good", object_("2")), batch("x" * 257, object_("3"))]
    result = cli.run("import", "-", "--json", given=orjson.dumps(given))
    assert result.exit_code == 1
    expected = counts(batches_made=2, batches_failed=1, objects_made=1, objects_failed=2)
    assert orjson.loads(result.stdout) == expected
    assert 'failed: batch "bad", objects "1" to "1": Object "1", data[0]: the key has 300' in result.stderr
    assert cli.json("objects", "--json")["object_id"] == "2"


def test_a_large_batch_is_sent_in_portions_and_keeps_its_order(cli: Cli) -> None:
    many = numbered("many", transfer.MOST_OBJECTS * 2 + 1)
    large = batch("large", *(object_(f"large-{i}", *(("k", "x" * 4_000) for _ in range(200))) for i in range(6)))
    cli.json("import", "-", given=[many, large])
    assert orjson.loads(cli.output("export")) == [many, large]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ('[{"batch_id": "a",]', "line 1 column 19"),
        ('"a"', ".: must be an object with batch_id and objects, not text"),
        ('[{"batch_id": "a"}]', '.[0]: "objects" is missing'),
        ('{"batch_id": 1, "objects": []}', '.: "batch_id" must be text, not a number'),
        ('{"batch_id": "", "objects": []}', '.: "batch_id" is empty'),
        ('{"batch_id": "a", "objects": {}}', '.: "objects" must be a list, not an object'),
        ('{"batch_id": "a", "objects": [], "tags": []}', '.: "tags" is not known here'),
        ('{"batch_id": "a", "objects": [null]}', ".objects[0]: must be an object with object_id and data, not null"),
        ('{"batch_id": "a", "objects": [{"data": []}]}', '.objects[0]: "object_id" is missing'),
        ('{"batch_id": "a", "objects": [{"object_id": "o"}]}', '.objects[0]: "data" is missing'),
        (json.dumps(batch("a", object_("o", ("", "v")))), '.objects[0].data[0] of "o": "key" is empty'),
        ('{"batch_id": "a", "objects": [{"object_id": "o", "data": [{"key": "k"}]}]}', '"value" is missing'),
        ('{"batch_id": "a", "objects": [{"object_id": "o", "data": [{"key": "k", "value": 1}]}]}', "not a number"),
        (json.dumps([batch("a"), batch("a")]), '.[1].batch_id: "a" is the id of .[0] already'),
        (
            json.dumps([batch("a", object_("o")), batch("b", object_("p"), object_("o"))]),
            '.[1].objects[1].object_id: "o" is the id of .[0].objects[0] already',
        ),
        (json.dumps([{}] * 15), "and 5 more"),
    ],
)
def test_a_malformed_file_is_refused_with_the_place_and_nothing_is_sent(
    cli: Cli, tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "batches.json"
    file.write_text(content)
    result = cli.run("import", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert cli.json("batches", "--count") == {"count": 0}


def test_a_byte_order_mark_does_no_harm(cli: Cli) -> None:
    assert "1 made" in cli.output("import", "-", given=b"\xef\xbb\xbf" + orjson.dumps(batch("a")))


def test_without_a_service_the_exit_code_is_3(cli: Cli) -> None:
    result = Cli("http://127.0.0.1:1", cli.key).run("export")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "waybill dev" in result.stderr
    with between(lambda *_: (404, b"Not Found")) as url:
        result = Cli(url, cli.key).run("export")
    assert result.exit_code == 3
    assert "answered 404" in result.stderr


def test_wrong_path_of_the_service_is_said(cli: Cli) -> None:
    result = Cli(f"{cli.url}/elsewhere", cli.key).run("export")
    assert result.exit_code == 3
    assert "the API is at /graphql" in result.stderr


@pytest.fixture
async def reader(service_url: str, new_caller: NewCaller) -> Cli:
    """For a user who may only look."""
    tenant = (await new_caller(member_access=AccessLevel.VIEW)).tenant
    return Cli(service_url, (await new_caller(tenant, role=Role.MEMBER)).key)


def test_without_a_key_that_may_the_exit_code_is_4(cli: Cli, reader: Cli) -> None:
    for key, said in ((key_form.new(), "--key"), ("wb_0_0", "cut off"), ("no key\n", "copy it again")):
        result = Cli(cli.url, key).run("export")
        assert (result.exit_code, result.stdout) == (4, "")
        assert said in result.stderr
    result = reader.run("import", "-", given=orjson.dumps(batch("a")))
    assert result.exit_code == 4
    assert "EDIT" in result.stderr
    assert orjson.loads(reader.output("export")) == []


def test_the_key_of_waybill_dev_is_used_on_this_machine_only(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text(cli.key + "\n")
    without = Cli(cli.url, "")
    assert without.run("export").exit_code == 4
    assert without.run("export", WAYBILL_DATA_DIR=str(tmp_path)).exit_code == 0
    away = without.run("export", "--url", "http://192.0.2.1", WAYBILL_DATA_DIR=str(tmp_path))
    assert away.exit_code == 4
    assert "--key" in away.stderr


@pytest.mark.parametrize("path", ["", "/", "/graphql", "/graphql/"])
def test_the_url_is_taken_with_or_without_its_path(cli: Cli, path: str) -> None:
    assert Cli("http://192.0.2.1", cli.key).output("batches", "--count", "--url", cli.url + path) == "0\n"


def test_progress_is_shown_on_a_terminal_only(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "batches.json"
    file.write_bytes(orjson.dumps(numbered("a", 5)))
    assert cli.run("import", str(file)).stderr == ""
    assert "importing" in cli.on_terminal("import", str(file))


@pytest.mark.parametrize("status", [429, 502, 503, None])
def test_a_call_that_fails_for_the_moment_is_repeated_and_counts_once(cli: Cli, status: int | None) -> None:
    """Without a status, the call is carried out and its answer lost."""
    failed: set[bytes] = set()

    def answer(body: bytes, ask: Ask) -> Answer | None:
        operation = body.split(b"(", 1)[0]
        if b"mutation" not in operation or operation in failed:
            return ask(cli.url)
        failed.add(operation)
        if status is not None:
            return status, b"not now"
        ask(cli.url)
        return None

    given = [numbered("a", 3), numbered("b", 2)]
    with between(answer) as url:
        assert Cli(url, cli.key).json("import", "-", given=given) == counts(batches_made=2, objects_made=5)
    assert len(failed) == 2
    assert orjson.loads(cli.output("export")) == given


def test_an_import_outlives_a_restart_of_the_service(cli: Cli, database_url: str, tmp_path: Path) -> None:
    given = [numbered(f"b{number}", 1_000) for number in range(20)]
    file = tmp_path / "batches.json"
    file.write_bytes(orjson.dumps(given))
    addresses: list[str] = []
    cut = threading.Event()

    def answer(_: bytes, ask: Ask) -> Answer | None:
        try:
            return ask(addresses[-1])
        except httpx.TransportError:
            cut.set()
            return None

    with between(answer) as url, contextlib.ExitStack() as running:
        with served(database_url) as first:
            addresses.append(first)
            process = running.enter_context(Cli(url, cli.key).start("import", str(file), "--json", stdout=PIPE))
            wait_for(lambda: cli.json("objects", "--count") != {"count": 0})
        assert cut.wait(timeout=20)
        with served(database_url) as second:
            addresses.append(second)
            output, _ = process.communicate(timeout=60)
    assert orjson.loads(output) == counts(batches_made=20, objects_made=20_000)
    assert orjson.loads(cli.output("export")) == given


def test_ctrl_c_ends_a_command_with_130_and_no_trace(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with Cli(url, cli.key).start("export", stdout=PIPE, stderr=PIPE) as process, silent.accept()[0]:
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60) == (b"", b"")
    assert process.returncode == 130


def test_commands_ask_for_less_where_an_answer_would_be_too_large(database_url: str, admin: Caller) -> None:
    pairs = [(str(number), "value") for number in range(20)]
    given = [
        batch("wide", *(object_(f"o{number:03}", *pairs) for number in range(150))),
        batch("small", object_("o", *pairs)),
    ]
    with served(database_url, WAYBILL_MAX_ANSWER_VALUES="1000") as url:  # 20 such objects
        cli = Cli(url, admin.key)
        assert cli.json("import", "-", given=given) == counts(batches_made=2, objects_made=151)
        assert cli.json("import", "-", given=given) == counts(batches_existed=2, objects_existed=151)
        assert orjson.loads(cli.output("export")) == given
        assert len(cli.output("objects", "--all", "--json").splitlines()) == 151
