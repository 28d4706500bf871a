"""What is done on the command line is in the audit log, and `waybill audit` shows it."""

import asyncio
import json
import re
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tests.conftest import new_database
from waybill.cli import main


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner(env={"WAYBILL_DATABASE_URL": asyncio.run(new_database()), "COLUMNS": "40"})


def said(runner: CliRunner, *arguments: str) -> str:
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def logged(runner: CliRunner, *options: str) -> list[Any]:
    return [json.loads(line) for line in said(runner, "audit", "acme", "--json", *options).splitlines()]


def test_each_command_that_changes_something_is_one_entry(runner: CliRunner) -> None:
    said(runner, "tenant", "create", "acme", "--quota-bytes", "none", "--quota-objects", "7")
    said(runner, "tenant", "quota", "acme", "--objects", "8")
    said(runner, "tenant", "quota", "acme")
    said(runner, "user", "create", "acme", "ada", "--role", "ADMIN")
    said(runner, "user", "create", "acme", "bob", "--oidc-subject", "idp|1")
    said(runner, "user", "set", "acme", "bob", "--oidc-subject", "idp|2")
    key = said(runner, "key", "create", "acme", "bob", "--scope", "READ", "--name", "ci")
    new = said(runner, "key", "rotate", key)
    said(runner, "key", "revoke", key)
    said(runner, "user", "revoke", "acme", "bob")
    said(runner, "tenant", "revoke", "acme")
    of_key = {"keyId": key.split("_")[1], "name": "ci", "scope": "READ", "userName": "bob"}
    entries = logged(runner)
    assert [(one["action"], one["details"]) for one in reversed(entries)] == [
        ("TENANT_CREATED", {"memberAccess": "NONE", "quotaBytes": "none", "quotaObjects": "7"}),
        ("QUOTAS_SET", {"quotaObjects": "8"}),
        ("USER_CREATED", {"userName": "ada", "role": "ADMIN"}),
        ("USER_CREATED", {"userName": "bob", "role": "MEMBER", "oidcSubject": "idp|1"}),
        ("USER_CHANGED", {"userName": "bob", "oidcSubject": "idp|2"}),
        ("KEY_CREATED", of_key),
        ("KEY_ROTATED", of_key | {"newKeyId": new.split("_")[1]}),
        ("KEY_REVOKED", of_key),
        ("USER_REVOKED", {"userName": "bob"}),
        ("TENANT_SUSPENDED", {}),
    ]
    assert {(one["user"], one["by_operator"], one["key_id"]) for one in entries} == {(None, False, None)}


def test_command_that_fails_leaves_no_entry(runner: CliRunner) -> None:
    said(runner, "tenant", "create", "acme")
    said(runner, "user", "create", "acme", "ada", "--role", "ADMIN")
    for arguments in (
        ("tenant", "create", "acme"),
        ("user", "create", "acme", "ada"),
        ("user", "revoke", "acme", "ada"),
        ("key", "revoke", "none"),
    ):
        assert runner.invoke(main, arguments).exit_code == 1
    assert [one["action"] for one in logged(runner)] == ["USER_CREATED", "TENANT_CREATED"]


def test_terminal_that_is_narrow_gets_dates_in_one_piece(runner: CliRunner) -> None:
    said(runner, "tenant", "create", "acme")
    said(runner, "user", "create", "acme", "ada")
    key = said(runner, "key", "create", "acme", "ada", "--name", "a laptop", "--expires-in", "90d")
    said(runner, "key", "revoke", key)
    for command, dates in ((("key", "list", "acme"), 3), (("audit", "acme"), 4)):
        shown = runner.invoke(main, command, env={"FORCE_COLOR": "1", "COLUMNS": "80"}).stdout
        lines = click.unstyle(shown).splitlines()
        assert max(map(len, lines)) <= 80
        assert len(re.findall(r"\b\d{4}-\d\d-\d\d(?!\S)", "\n".join(lines))) == dates


def test_log_is_filtered_and_shown_as_a_table(runner: CliRunner) -> None:
    said(runner, "tenant", "create", "acme")
    said(runner, "user", "create", "acme", "ada")
    [entry] = logged(runner, "--action", "USER_CREATED")
    assert entry["details"]["userName"] == "ada"
    assert len(logged(runner, "--action", "USER_CREATED", "--action", "TENANT_CREATED", "--first", "1")) == 1
    assert logged(runner, "--user", "ada") == []
    assert len(logged(runner, "--since", "2024-01-02")) == 2
    assert logged(runner, "--since", "2999-01-02") == []
    heading, row, _ = said(runner, "audit", "acme").splitlines()  # each is one line, for it is no terminal's
    assert heading.split()[:2] == ["at", "action"]
    assert "USER_CREATED" in row
    assert "role=MEMBER userName=ada" in row
    for arguments, says in ((("none",), 'no tenant "none"'), (("acme", "--user", "eve"), 'no user "eve" in "acme"')):
        result = runner.invoke(main, ["audit", *arguments])
        assert (result.exit_code, says in result.stderr) == (1, True)
