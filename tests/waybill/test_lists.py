"""`waybill objects` and `waybill batches` against a running service."""

import subprocess
import sys
from collections.abc import Sequence

import orjson
import pytest

from tests.conftest import Caller
from tests.waybill.commands import Cli, batch, object_

Pairs = dict[str, list[tuple[str, str]]]

PORTS: Pairs = {
    "rotterdam": [("country", "NL"), ("berths", "120"), ("name", "Rotterdam")],
    "piraeus": [("country", "GR"), ("berths", "60"), ("note", "a=b")],
    "odense": [("country", "DK"), ("berths", "7.5"), ("note", "")],
    "nowhere": [],
}


@pytest.fixture
async def ports(admin: Caller) -> None:
    await admin.create_batch("ports", PORTS)
    await admin.create_batch("lakes", {"como": [("country", "IT")]})


def ids(text: str) -> list[str]:
    return [line.split("\t")[0] for line in text.splitlines()]


@pytest.mark.usefixtures("ports")
@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([], ["como", "nowhere", "odense", "piraeus", "rotterdam"]),
        (["country=NL"], ["rotterdam"]),
        (["country"], ["como", "odense", "piraeus", "rotterdam"]),
        (["country", "note"], ["odense", "piraeus"]),
        (["country=NL", "note"], []),
        (["note=a=b"], ["piraeus"]),
        (["note="], ["odense"]),
        (["=GR"], ["piraeus"]),
        (["name^=Rot"], ["rotterdam"]),
        (["name^=rot"], []),
        (["berths>60"], ["rotterdam"]),
        (["berths>=60"], ["piraeus", "rotterdam"]),
        (["berths<60"], ["odense"]),
        (["berths<=60.0"], ["odense", "piraeus"]),
        ([">100"], ["rotterdam"]),
    ],
)
def test_data_filters_are_those_of_the_service(cli: Cli, filters: Sequence[str], found: list[str]) -> None:
    options = [part for one in filters for part in ("--data", one)]
    assert sorted(ids(cli.output("objects", *options))) == found


@pytest.mark.usefixtures("ports")
def test_objects_of_one_batch_are_listed_newest_first(cli: Cli) -> None:
    assert ids(cli.output("objects", "--batch", "ports")) == [*reversed(PORTS)]
    assert ids(cli.output("objects", "--batch", "lakes")) == ["como"]


@pytest.mark.usefixtures("ports")
def test_batches_are_found_by_the_data_of_their_objects(cli: Cli) -> None:
    assert ids(cli.output("batches")) == ["lakes", "ports"]
    assert ids(cli.output("batches", "--data", "country=IT")) == ["lakes"]
    assert ids(cli.output("batches", "--data", "country=IT", "--data", "berths")) == []


@pytest.mark.usefixtures("ports")
def test_batches_say_when_by_whom_and_how_many_objects(cli: Cli, admin: Caller) -> None:
    [line] = cli.output("batches", "--first", "1").splitlines()
    batch_id, created, by, objects = line.split("\t")
    assert (batch_id, by, objects) == ("lakes", admin.user.name, "1")
    assert cli.json("batches", "--data", "country=IT") == {
        "batch_id": "lakes",
        "created_at": created,
        "created_by": admin.user.name,
        "object_count": 1,
    }


@pytest.mark.usefixtures("ports")
def test_json_is_one_whole_object_per_line(cli: Cli) -> None:
    lines = [orjson.loads(line) for line in cli.output("objects", "--batch", "ports", "--json").splitlines()]
    assert [line["object_id"] for line in lines] == [*reversed(PORTS)]
    assert all(line["batch_id"] == "ports" and line["created_at"] <= line["updated_at"] for line in lines)
    assert [(pair["key"], pair["value"]) for pair in lines[-1]["data"]] == PORTS["rotterdam"]


@pytest.mark.usefixtures("ports")
def test_count_prints_only_the_number(cli: Cli) -> None:
    assert cli.output("objects", "--data", "country", "--count") == "4\n"
    assert cli.json("batches", "--count") == {"count": 2}


def test_ten_are_shown_unless_more_or_all_are_asked_for(cli: Cli) -> None:
    cli.json("import", "-", given=batch("many", *(object_(f"o{number:03}") for number in range(205))))
    newest_first = [f"o{number:03}" for number in reversed(range(205))]

    first = cli.run("objects")
    assert ids(first.stdout) == newest_first[:10]
    assert "--all" in first.stderr
    some = cli.run("objects", "--first", "150")
    assert (ids(some.stdout), some.stderr) == (newest_first[:150], "")
    everything = cli.run("objects", "--all")
    assert (ids(everything.stdout), everything.stderr) == (newest_first, "")


def test_nothing_found_is_said_beside_the_output(cli: Cli) -> None:
    result = cli.run("objects", "--data", "country=XX")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "There are no such objects.\n")


def test_a_line_keeps_whatever_the_data_holds(cli: Cli) -> None:
    one = object_("a\tb", ("k\n", "\x1b[31mred\\"), ("long", "ü" * 300))
    cli.json("import", "-", given=batch("hard", one))
    assert cli.output("objects") == f"a\\tb\thard\tk\\n=\\x1b[31mred\\\\\tlong={'ü' * 300}\n"


def test_on_a_terminal_it_is_a_table_that_fits_with_whole_ids(cli: Cli) -> None:
    pairs = [("name", "[bold]Pilot Station :airplane:"), ("evil", "\x1b]0;title\x07"), ("long", "x" * 300)]
    cli.json("import", "-", given=batch("airports-of-alaska", object_("a-rather-long-object-id", *pairs)))
    heading, row, *rest = cli.on_terminal("objects", columns=100).splitlines()
    assert not rest
    assert all(name in heading for name in ("object", "batch", "data"))
    assert row.startswith("a-rather-long-object-id  airports-of-alaska  name=[bold]Pilot Station :airplane:")
    assert len(row) <= 100
    assert row.endswith("…")
    assert "\x1b" not in row


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", ""], "KEY=VALUE"),
        (["--data", "berths>many"], "'many' in 'berths>many' is not a number"),
        (["--data", "berths>nan"], "is not a number"),
        (["--first", "0"], "--first"),
        (["--first", "5", "--all"], "exclude each other"),
        (["--url", "localhost:8000"], "http://127.0.0.1:8000"),
        (["--url", "http://[::1"], "is not an address"),
        (["--data", "k=\udcff"], "UTF-8"),
    ],
)
def test_wrong_usage_is_explained(cli: Cli, arguments: list[str], said: str) -> None:
    result = cli.run("objects", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_reader_that_stops_early_hears_no_complaint(cli: Cli) -> None:
    with cli.start("objects", "--count", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_starts_without_the_server_and_the_http_client() -> None:
    code = "import sys, waybill.cli.lists, waybill.cli.transfer; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"models", "graph", "tortoise", "strawberry", "httpx"} & set(run.stdout.split())
