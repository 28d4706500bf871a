"""The commands for keys, tokens and canaries."""

import asyncio
import re
import stat
from pathlib import Path

import asyncpg
import httpx
import pytest
from click.testing import CliRunner, Result

from tests.access.issuer import AUDIENCE, issuing, rsa_key
from tests.conftest import new_database, served, wait_for
from tests.waybill.test_people import Run
from waybill.cli import main
from waybill.kept_secrets import with_kept_secrets
from waybill.settings import Settings

SECRET = "a secret of more than 32 characters"
KEY = r"wb_[0-9a-f]{16}_[0-9a-f]{64}"
VIEWER = {"query": "{ viewer { user { name } scope } }"}


@pytest.fixture(scope="module")
def url() -> str:
    """A database with tenants and users."""
    url = asyncio.run(new_database())
    for arguments in (
        ["tenant", "create", "acme"],
        ["tenant", "create", "other"],
        ["user", "create", "acme", "ada"],
        ["user", "create", "acme", "bob"],
        ["user", "create", "other", "bob"],
        ["user", "create", "acme", "eve", "--oidc-subject", "idp|eve"],
    ):
        assert CliRunner(env={"WAYBILL_DATABASE_URL": url}).invoke(main, arguments).exit_code == 0
    return url


@pytest.fixture
def run(url: str) -> Run:
    def invoke(*arguments: str, **environment: str) -> Result:
        env = {"WAYBILL_DATABASE_URL": url, "WAYBILL_TOKEN_SECRET": SECRET, "COLUMNS": "200"} | environment
        return CliRunner(env=env).invoke(main, arguments)

    return invoke


def said(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def line_of(key: str, listed: str) -> str:
    [line] = [line for line in listed.splitlines() if key.split("_")[1] in line]
    return line.rstrip()


def test_keys_tokens_and_canaries_from_the_command_to_the_service_and_back(run: Run, url: str) -> None:
    with issuing() as issuer:
        issuer.keys["one"] = rsa_key()
        oidc = {"WAYBILL_OIDC_ISSUER": issuer.url, "WAYBILL_OIDC_AUDIENCE": AUDIENCE}
        with served(url, WAYBILL_TOKEN_SECRET=SECRET, **oidc) as service:

            def viewer(credential: str) -> object:
                headers = {"Authorization": f"Bearer {credential}"}
                answer = httpx.post(f"{service}/graphql", json=VIEWER, headers=headers)
                if answer.status_code == 401:
                    return None
                viewer = answer.json()["data"]["viewer"]
                return viewer["user"]["name"], viewer["scope"]

            key = said(run("key", "create", "acme", "ada", "--scope", "WRITE", "--expires-in", "90d"))
            assert viewer(key) == ("ada", "WRITE")
            new = said(run("key", "rotate", key, "--overlap", "2h"))
            assert re.fullmatch(KEY, new)
            assert viewer(key) == viewer(new) == ("ada", "WRITE")
            assert viewer(said(run("key", "rotate", new.split("_")[1], "--overlap", "0s"))) == ("ada", "WRITE")
            wait_for(lambda: viewer(new) is None)  # it is remembered for a second
            assert viewer(said(run("token", "ada"))) == ("ada", "ADMIN")
            assert viewer(said(run("token", "bob", "--tenant", "other", "--expires-in", "1d"))) == ("bob", "ADMIN")
            assert viewer(said(run("token", "ada", WAYBILL_TOKEN_SECRET="x" * 32))) is None
            assert viewer(issuer.token("idp|eve")) == ("eve", "ADMIN")
            assert viewer(issuer.token("idp|bob")) is None
            said(run("user", "set", "acme", "bob", "--oidc-subject", "idp|bob"))
            said(run("user", "set", "acme", "eve", "--oidc-subject", ""))
            assert viewer(issuer.token("idp|bob")) == ("bob", "ADMIN")
            wait_for(lambda: viewer(issuer.token("idp|eve")) is None)
            canary, silent = said(run("key", "canary", "--note", "[red]in the wiki")), said(run("key", "canary"))
            said(run("key", "revoke", silent))
            assert re.fullmatch(KEY, canary)
            assert viewer(canary) is None
            assert viewer(silent) is None
    listed = said(run("key", "list", "acme"))
    assert re.search(r" WRITE +\S+ \S+ +\S+ \S+ +\S+ \S+$", line_of(key, listed))  # made, expires, last used
    assert canary.split("_")[1] not in listed
    alerts = said(run("key", "canary-alerts"))
    assert re.search(r"\[red\]in the wiki +127\.0\.0\.1 +python-httpx/\S+ +/graphql$", line_of(canary, alerts))
    assert silent.split("_")[1] not in alerts


def test_what_somebody_sent_commands_no_terminal(run: Run, url: str) -> None:
    canary = said(run("key", "canary"))

    async def add() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(
            "INSERT INTO canary_alerts (canary_id, seen_at, address, agent, path)"
            " SELECT id, now(), '', $2, '' FROM canary_keys WHERE public_id = $1",
            *(canary.split("_")[1], "\x1b]0;owned\x07 [bold]x[/bold]\r\n"),
        )
        await connection.close()

    asyncio.run(add())
    shown = line_of(canary, said(run("key", "canary-alerts")))
    assert "[bold]x[/bold]" in shown
    assert not set("\x1b\x07\r") & set(shown)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("key", "create", "acme", "ada", "--expires-in", "0s"), "1 second to 10 years"),
        (("key", "create", "acme", "ada", "--expires-in", "9999d"), "1 second to 10 years"),
        (("key", "rotate", "none"), 'there is no key "none"'),
        (("key", "canary", "--note", "x" * 501), "at most 500"),
        (("token", "none"), 'there is no user "none"'),
        (("token", "ada", "--tenant", "other"), 'there is no user "ada" in "other"'),
        (("token", "bob"), "several tenants"),
        (("token", "ada", "--expires-in", "25h"), "1 second to 1 day"),
        (("user", "set", "acme", "none", "--oidc-subject", "x"), 'there is no user "none"'),
        (("user", "set", "none", "ada", "--oidc-subject", "x"), 'there is no tenant "none"'),
        (("user", "set", "acme", "ada", "--oidc-subject", "x" * 256), "at most 255"),
        (("user", "set", "acme", "ada", "--oidc-subject", "a\tb"), "can be seen"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run: Run, arguments: tuple[str, ...], says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_one_subject_is_one_user(run: Run) -> None:
    said(run("user", "set", "acme", "ada", "--oidc-subject", "idp|ada"))
    for again in (
        ("user", "set", "other", "bob", "--oidc-subject", "idp|ada"),
        ("user", "create", "other", "ada", "--oidc-subject", "idp|ada"),
    ):
        result = run(*again)
        assert (result.exit_code, "with this OIDC subject already" in result.stderr) == (1, True)
    assert "idp|ada" in said(run("user", "list", "acme"))


@pytest.mark.parametrize("duration", ["1", "d", "1w", "-1d", "1.5h", "", "1d "])
def test_duration_says_its_unit(run: Run, duration: str) -> None:
    result = run("token", "ada", "--expires-in", duration)
    assert (result.exit_code, "such as 90m" in result.stderr) == (2, True)


def test_token_needs_the_secret_of_the_service(run: Run) -> None:
    result = run("token", "ada", WAYBILL_TOKEN_SECRET="")
    assert (result.exit_code, "WAYBILL_TOKEN_SECRET" in result.stderr) == (1, True)


def test_data_directory_keeps_secrets_of_its_own(tmp_path: Path) -> None:
    first, again = with_kept_secrets(Settings(), tmp_path), with_kept_secrets(Settings(), tmp_path)
    kept = [str(first.token_secret), str(first.encryption_keys)]
    assert [str(again.token_secret), str(again.encryption_keys)] == kept
    assert [len(one) for one in kept] == [64, 64]
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    given = Settings.read({"WAYBILL_TOKEN_SECRET": SECRET, "WAYBILL_ENCRYPTION_KEYS": "0" * 64})
    assert with_kept_secrets(given, tmp_path) == given
