"""The commands for sync sources, and the signing of notices by hand."""

import asyncio
import hashlib
import hmac
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from models import Tenant, User, database, notices, sources
from models.notices import Notice
from tests.conftest import new_database
from waybill.cli import main
from waybill.settings import Settings
from waybill.syncing import sync_sources

Run = Callable[..., Result]
ENDPOINT = "http://127.0.0.1:9"
NOTICE = {"oeid": "b", "ref_id": "o", "file_name": "a.jpg", "file_type": "image/jpeg"}


@pytest.fixture(scope="module")
def acme_url() -> str:
    """A database with two tenants and their first admins."""
    url = asyncio.run(new_database())
    for tenant in ("acme", "other"):
        for arguments in (["tenant", "create", tenant], ["user", "create", tenant, "ada", "--role", "ADMIN"]):
            assert CliRunner(env={"WAYBILL_DATABASE_URL": url}).invoke(main, arguments).exit_code == 0
    return url


@pytest.fixture(scope="module")
def environment(acme_url: str) -> dict[str, str]:
    return {
        "WAYBILL_DATABASE_URL": acme_url,
        "WAYBILL_ENCRYPTION_KEYS": "0e" * 32,
        "WAYBILL_SYNC_ROOT": "/nowhere",
        "WAYBILL_SYNC_PROFILES": "acme:backup",
        "WAYBILL_SYNC_ENDPOINTS": ENDPOINT,
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def invoke(*arguments: str, **changed: str) -> Result:
        return CliRunner(env={**environment, "COLUMNS": "250", **changed}).invoke(main, arguments)

    return invoke


def made(run: Run, name: str, *options: str) -> str:
    """The secret of a new source of acme."""
    result = run("source", "create", "acme", name, "--bucket", "acme-photos", *options)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "it's a notice.json"
    path.write_bytes(orjson.dumps(NOTICE))
    return path


def signature(secret: str, message: bytes) -> str:
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def test_made_source_prints_its_secret_alone_and_says_what_it_is_for(run: Run, acme_url: str) -> None:
    result = run("source", "create", "acme", "alone", "--bucket", "acme-photos")
    assert re.fullmatch(r"[0-9a-f]{64}\n", result.stdout)
    assert "POST /sync/acme.alone/" in result.stderr
    assert "waybill sign --source acme.alone" in result.stderr

    async def maker() -> str:
        async with database.connected(database.config(acme_url, max_connections=1)):
            row = await sources.addressed("acme", "alone")
            return (await User.get(id=row["created_by_id"])).name if row else ""

    assert asyncio.run(maker()) == "ada"


def test_list_shows_where_from_and_where_to_with_how_many_and_no_secret(run: Run, acme_url: str) -> None:
    secret = made(run, "listed", "--prefix", "in/", "--profile", "backup", "--endpoint", ENDPOINT, "--concurrency", "7")
    role = "arn:aws:iam::123456789012:role/copies"
    made(run, "copied", "--to-bucket", "acme-copies", "--to-prefix", "p/", "--to-role", role)

    async def ask() -> None:
        async with database.connected(database.config(acme_url, max_connections=1)):
            row = await sources.addressed("acme", "listed")
            assert row
            await notices.request(row["tenant_id"], row["id"], [Notice("b", "o", "a.jpg", "image/jpeg")])

    asyncio.run(ask())
    listed = run("source", "list").stdout
    assert listed == run("source", "list", "acme").stdout
    assert secret not in listed
    assert re.search(r"acme\.listed +s3://acme-photos/in/ +listed +7 +1 +0 +0 +0 *\n", listed)
    assert re.search(r"acme\.copied +s3://acme-photos/ +s3://acme-copies/p/ +4 +0 +0", listed)
    assert "acme." not in run("source", "list", "other").stdout


def test_rotated_and_paused_source_is_changed_in_the_database(run: Run, acme_url: str) -> None:
    first = made(run, "turned")
    second = run("source", "rotate", "acme", "turned", "--former-for", "1h").stdout.strip()
    assert run("source", "pause", "acme", "turned").stdout == "source acme.turned paused\n"
    settings = Settings.read({"WAYBILL_ENCRYPTION_KEYS": "0e" * 32})

    async def now() -> tuple[list[str], bool]:
        async with database.connected(database.config(acme_url, max_connections=1)):
            row = await sources.addressed("acme", "turned")
            assert row
            found = [secret.decode() for secret in sync_sources(settings).secrets_of(row)]
            return found, row["paused_at"] is not None

    assert asyncio.run(now()) == ([second, first], True)
    assert run("source", "resume", "acme", "turned").stdout == "source acme.turned goes on\n"
    assert asyncio.run(now()) == ([second, first], False)
    actions = run("audit", "acme", "--action", "SOURCE_ROTATED", "--action", "SOURCE_CHANGED", "--json").stdout
    details = [orjson.loads(line)["details"] for line in actions.splitlines()]
    paused = [{"source": "turned", "paused": one} for one in ("false", "true")]
    assert details == [*paused, {"source": "turned"}]


def test_file_is_signed_by_the_newest_secret_to_the_byte(run: Run, file: Path) -> None:
    made(run, "signed")
    secret = run("source", "rotate", "acme", "signed").stdout.strip()
    header, command = run("sign", "--source", "acme.signed", str(file)).stdout.splitlines()
    assert header == f"Authorization: {signature(secret, file.read_bytes())}"
    words = shlex.split(command)
    assert words[:3] == ["curl", "-i", "http://127.0.0.1:8000/sync/acme.signed/"]
    assert words[-2:] == ["--data-binary", f"@{file}"]
    assert {"-H", header, "Content-Type: application/json"} <= set(words)


def test_time_is_signed_with_it_and_sent(run: Run, file: Path) -> None:
    secret = made(run, "timed")
    result = run("sign", "--source", "acme.timed", "--timestamp", "--url", "https://waybill.example/", str(file))
    header, timestamp, command = result.stdout.splitlines()
    seconds = timestamp.removeprefix("X-Waybill-Timestamp: ")
    assert header == f"Authorization: {signature(secret, f'{seconds}.'.encode() + file.read_bytes())}"
    assert {header, timestamp, "https://waybill.example/sync/acme.timed/"} <= set(shlex.split(command))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "not an object"),
        (orjson.dumps(NOTICE | {"oeid": "../x"}), 'oeid must not contain "/"'),
        (orjson.dumps({"oeid": "b"}), "file_name is missing"),
        (orjson.dumps(NOTICE | {"ref_id": 7}), "ref_id must be a string"),
        (orjson.dumps(NOTICE | {"ref_id": "x" * 257}), "ref_id has 257 characters"),
    ],
)
def test_what_the_service_would_refuse_is_not_signed_and_the_field_is_named(
    run: Run, tmp_path: Path, body: bytes, says: str
) -> None:
    run("source", "create", "acme", "tried", "--bucket", "acme-photos")
    (tmp_path / "n.json").write_bytes(body)
    result = run("sign", "--source", "acme.tried", str(tmp_path / "n.json"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr


CREATE = ("source", "create", "acme", "new", "--bucket", "acme-photos")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("source", "create", "none", "new", "--bucket", "acme-photos"), 1, 'there is no tenant "none"'),
        ((*CREATE, "--user", "eve"), 1, 'there is no user "eve" in "acme"'),
        ((*CREATE, "--endpoint", "http://10.0.0.1"), 1, "WAYBILL_SYNC_ENDPOINTS"),
        ((*CREATE, "--profile", "admin"), 1, "WAYBILL_SYNC_PROFILES"),
        ((*CREATE, "--concurrency", "65"), 1, "from 1 to 64"),
        ((*CREATE, "--directory", "a", "--to-bucket", "acme-copies"), 2, "exclude each other"),
        ((*CREATE, "--to-prefix", "a"), 2, "need --to-bucket"),
        ((*CREATE, "--to-bucket", "acme-copies"), 1, "nobody may write"),
        (("source", "rotate", "acme", "none"), 1, 'There is no source "none"'),
        (("source", "pause", "acme", "none"), 1, 'There is no source "none"'),
        (("source", "list", "none"), 1, 'there is no tenant "none"'),
        (("sign", "--source", "acme", __file__), 1, 'there is no source "acme"'),
        (("sign", "--source", "acme.none", __file__), 1, 'there is no source "acme.none"'),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, arguments: tuple[str, ...], code: int, says: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, says in result.stderr) == (code, True), result.output
    assert "Traceback" not in result.output


def test_without_the_key_that_encrypted_them_secrets_are_neither_made_nor_read(run: Run, file: Path) -> None:
    made(run, "kept")
    for keys, arguments, says in (
        ("", CREATE, "has no WAYBILL_ENCRYPTION_KEYS"),
        ("0d" * 32, ("sign", "--source", "acme.kept", str(file)), "former key"),
    ):
        result = run(*arguments, WAYBILL_ENCRYPTION_KEYS=keys)
        assert (result.exit_code, says in result.stderr) == (1, True), result.output


def test_batches_are_the_first_admins_unless_somebody_is_named(run: Run, acme_url: str) -> None:
    for name in ("eve", "bob"):
        assert run("user", "create", "other", name, "--role", "ADMIN").exit_code == 0
    assert run("source", "create", "other", "first", "--bucket", "photos").exit_code == 0
    assert run("source", "create", "other", "named", "--bucket", "photos", "--user", "bob").exit_code == 0

    async def makers() -> list[str]:
        async with database.connected(database.config(acme_url, max_connections=1)):
            tenant = await Tenant.get(slug="other")
            rows = [await sources.named(tenant.id, name) for name in ("first", "named")]
            return [(await User.get(id=row["created_by_id"])).name for row in rows if row]

    assert asyncio.run(makers()) == ["ada", "bob"]
