"""The commands for tenants, users and keys, on a database that they find empty."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable

import httpx
import pytest
from click.testing import CliRunner, Result

from tests import processes
from tests.conftest import new_database, served, url_of, wait_for
from tests.models.test_migrate import ALL
from waybill.cli import main

Run = Callable[..., Result]
QUERY = {"query": "{ viewer { user { name role } tenant { slug memberAccess } } }"}


@pytest.fixture
def empty_url() -> str:
    return asyncio.run(new_database("template1"))


@pytest.fixture
def run(empty_url: str) -> Run:
    def invoke(*arguments: str, url: str = empty_url) -> Result:
        return CliRunner(env={"WAYBILL_DATABASE_URL": url, "COLUMNS": "120"}).invoke(main, arguments)

    return invoke


def test_from_an_empty_database_to_a_key_that_works_and_back(run: Run, empty_url: str) -> None:
    assert run("tenant", "create", "acme", "--member-access", "VIEW").exit_code == 0
    assert run("user", "create", "acme", "ada", "--role", "ADMIN").exit_code == 0
    made = run("key", "create", "acme", "ada", "--name", "laptop")
    key = made.stdout.strip()
    assert re.fullmatch(r"wb_[0-9a-f]{16}_[0-9a-f]{64}", key)
    listed = run("key", "list", "acme").stdout
    assert key.split("_")[1] in listed
    assert "laptop" in listed
    assert key.split("_")[2] not in listed
    with served(empty_url, prepare=processes.ANEW) as service:

        def viewer() -> httpx.Response:
            return httpx.post(f"{service}/graphql", json=QUERY, headers={"Authorization": f"Bearer {key}"})

        assert viewer().json()["data"]["viewer"] == {
            "user": {"name": "ada", "role": "ADMIN"},
            "tenant": {"slug": "acme", "memberAccess": "VIEW"},
        }
        assert run("key", "revoke", key).exit_code == 0
        wait_for(lambda: viewer().status_code == 401)  # it is remembered for a second
        key = run("key", "create", "acme", "ada").stdout.strip()
        assert viewer().status_code == 200
        assert "without an admin" in run("user", "revoke", "acme", "ada").stderr
        assert viewer().status_code == 200
        assert run("user", "create", "acme", "grace", "--role", "ADMIN").exit_code == 0
        assert run("user", "revoke", "acme", "ada").exit_code == 0
        wait_for(lambda: viewer().status_code == 401)  # it is remembered for a second
    assert run("tenant", "revoke", "acme").exit_code == 0
    for listed in (run("tenant", "list").stdout, run("user", "list", "acme").stdout):
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d +\d{4}-\d\d-\d\d \d\d:\d\d", listed)  # made, revoked


@pytest.fixture(scope="module")
def acme_url() -> str:
    """A database with a tenant and a user."""
    url = asyncio.run(new_database())
    for arguments in (["tenant", "create", "acme"], ["user", "create", "acme", "ada"]):
        assert CliRunner(env={"WAYBILL_DATABASE_URL": url}).invoke(main, arguments).exit_code == 0
    return url


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tenant", "create", "acme"), 'there is a tenant "acme" already'),
        (("tenant", "create", "Not A Slug"), "a-z, 0-9 and -"),
        (("tenant", "create", "-"), "a-z, 0-9 and -"),
        (("tenant", "create", "x" * 64), "1 to 63"),
        (("tenant", "create", ""), "1 to 63"),
        (("tenant", "revoke", "none"), 'there is no tenant "none"'),
        (("tenant", "quota", "none", "--bytes", "1"), 'there is no tenant "none"'),
        (("user", "create", "none", "ada"), 'there is no tenant "none"'),
        (("user", "create", "acme", "ada"), 'there is a user "ada"'),
        (("user", "create", "acme", ""), "1 to 128 characters"),
        (("user", "create", "acme", "x" * 129), "1 to 128 characters"),
        (("user", "list", "none"), 'there is no tenant "none"'),
        (("user", "revoke", "acme", "none"), 'there is no user "none"'),
        (("key", "create", "acme", "none"), 'there is no user "none"'),
        (("key", "create", "acme", "ada", "--name", ""), "1 to 128 characters"),
        (("key", "create", "acme", "ada", "--name", "x" * 129), "1 to 128 characters"),
        (("key", "create", "none", "ada"), 'there is no user "ada" in "none"'),
        (("key", "list", "none"), 'there is no tenant "none"'),
        (("key", "revoke", "none"), 'there is no key "none"'),
    ],
)
def test_wrong_names_are_refused_in_one_line(run: Run, acme_url: str, arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments, url=acme_url)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_quotas_are_set_and_shown(run: Run, acme_url: str) -> None:
    def quota(*arguments: str) -> str:
        result = run("tenant", "quota", "acme", *arguments, url=acme_url)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert quota() == "bytes: 0 used, 0 reserved, of 1,000,000,000,000\nobjects: 0 used, of 10,000,000\n"
    assert (
        quota("--bytes", "1.5 GiB") == "bytes: 0 used, 0 reserved, of 1,610,612,736\nobjects: 0 used, of 10,000,000\n"
    )
    assert (
        quota("--objects", "0", "--bytes", "none") == "bytes: 0 used, 0 reserved, of no limit\nobjects: 0 used, of 0\n"
    )
    assert (
        run("tenant", "create", "large", "--quota-bytes", "10TB", "--quota-objects", "NONE", url=acme_url).exit_code
        == 0
    )
    acme, large = run("tenant", "list", url=acme_url).stdout.splitlines()[1:3]
    assert re.match(r"acme +NONE +0 bytes +0 bytes +no limit +0 +0 +\d", acme)
    assert re.match(r"large +NONE +0 bytes +0 bytes +10.0 TB +0 +no limit +\d", large)


@pytest.mark.parametrize(
    "text", ["-1", "ten", "1.5", "10 parsecs", "1_000", "", "٣", "9223372036854775808", "10000PB", "1e9"]
)
def test_what_is_no_quota_is_refused(run: Run, acme_url: str, text: str) -> None:
    result = run("tenant", "quota", "acme", f"--bytes={text}", url=acme_url)
    assert (result.exit_code, "Traceback" in result.output) == (2, False)
    assert 'or "none".' in result.stderr


def test_tenants_get_the_quotas_of_the_settings_unless_they_have_their_own(empty_url: str) -> None:
    given = {"WAYBILL_DEFAULT_QUOTA_BYTES": "5", "WAYBILL_DEFAULT_QUOTA_OBJECTS": "6"}
    runner = CliRunner(env={"WAYBILL_DATABASE_URL": empty_url, **given})
    runner.invoke(main, ["tenant", "create", "acme", "--quota-objects", "7"])
    assert runner.invoke(main, ["tenant", "quota", "acme"]).stdout == (
        "bytes: 0 used, 0 reserved, of 5\nobjects: 0 used, of 7\n"
    )


def test_database_that_is_not_there_is_said_without_a_trace_or_password(run: Run) -> None:
    for url in ("postgresql://u:hunter2@127.0.0.1:1/x", url_of("nobody"), "nonsense"):
        result = run("tenant", "list", url=url)
        assert result.exit_code == 1
        assert "Error: " in result.stderr
        assert "Traceback" not in result.output
        assert "hunter2" not in result.output


def test_migrate_says_what_it_applied(run: Run) -> None:
    assert run("migrate").stdout == "".join(f"applied {name}\n" for name in ALL)
    assert run("migrate").stdout == "nothing to apply\n"


def test_serve_needs_a_database(run: Run) -> None:
    result = run("serve", url="")
    assert (result.exit_code, "WAYBILL_DATABASE_URL" in result.stderr) == (1, True)


def test_setting_that_cannot_be_read_is_named(empty_url: str) -> None:
    result = CliRunner(env={"WAYBILL_DATABASE_URL": empty_url, "WAYBILL_PAGE_SIZE": "ten"}).invoke(main, ["migrate"])
    assert result.exit_code == 1
    assert "PAGE_SIZE" in result.stderr
    assert "ten" in result.stderr


def test_commands_for_clients_and_all_help_start_without_the_service() -> None:
    code = (
        "import sys; from waybill.cli import main, COMMANDS;"
        "[main.get_command(None, name) for name in ('import', 'export', 'batches', 'objects')];"
        "print({name.split('.')[0] for name in sys.modules} & {'models', 'graph', 'uvicorn', 'httpx'});"
        "[main.get_command(None, name) for name in COMMANDS];"
        "print({name.split('.')[0] for name in sys.modules} & {'graph', 'uvicorn', 'aioboto3'})"  # for a command's help
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "set()\nset()\n"
