"""Every setting does what it says, in a service that was started with it."""

import time
from collections.abc import Iterator
from datetime import timedelta

import asyncpg
import httpx
import pytest

from tests.conftest import Caller, served
from waybill.background import reaping
from waybill.settings import Settings
from worker.reaper import Schedule

ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def narrow(database_url: str) -> Iterator[str]:
    """A service with small limits."""
    with served(
        database_url,
        WAYBILL_PAGE_SIZE="2",
        WAYBILL_MAX_PAGE_SIZE="3",
        WAYBILL_MAX_OBJECTS_PER_CALL="4",
        WAYBILL_MAX_ID_CHARACTERS="5",
        WAYBILL_MAX_KEY_CHARACTERS="6",
        WAYBILL_MAX_VALUE_CHARACTERS="7",
        WAYBILL_MAX_PAIRS_PER_OBJECT="2",
        WAYBILL_MAX_BODY_BYTES="5000",
        WAYBILL_MAX_QUERY_TOKENS="100",
        WAYBILL_MAX_QUERY_DEPTH="4",
        WAYBILL_MAX_QUERY_FIELDS="12",
        WAYBILL_MAX_QUERY_ALIASES="3",
        WAYBILL_MAX_QUERY_ROOT_FIELDS="4",
        WAYBILL_MAX_QUERY_DIRECTIVES="2",
        WAYBILL_INTROSPECTION="false",
        WAYBILL_CORS_ORIGINS=f"{ORIGIN}, https://other.example",
    ) as url:
        yield url


def create(object_id: str = "o", pairs: str = "") -> str:
    objects = f'[{{objectId: "{object_id}", data: [{pairs}]}}]'
    return f'mutation {{ createBatch(input: {{batchId: "b", objects: {objects}}}) {{ batch {{ id }} }} }}'


@pytest.mark.parametrize(
    ("query", "code", "says"),
    [
        ("{ objects(first: 4) { totalCount } }", "BAD_INPUT", "from 1 to 3"),
        ('{ nodes(ids: ["a", "b", "c", "d"]) { id } }', "BAD_INPUT", "at most 3"),
        ("{ dataKeys(first: 4) { key } }", "BAD_INPUT", "from 1 to 3"),
        (create().replace("[{", "[" + '{objectId: "a", data: []}, ' * 4 + "{"), "BAD_INPUT", "at most 4"),
        (create("123456"), "BAD_INPUT", "at most 5"),
        (create(pairs='{key: "1234567", value: ""}'), "BAD_INPUT", "at most 6"),
        (create(pairs='{key: "k", value: "12345678"}'), "BAD_INPUT", "at most 7"),
        (create(pairs='{key: "k", value: ""}' * 3), "BAD_INPUT", "at most 2"),
        ("#" + "x" * 5000, "BAD_REQUEST", "5,000"),
        ("{" + " viewer { access }" * 40 + "}", "TOO_COMPLEX", "100"),
        ("{ batches { nodes { objects { nodes { id } } } } }", "TOO_COMPLEX", "4"),
        ("{ viewer {" + " access" * 12 + "} }", "TOO_COMPLEX", "12"),
        ("{ viewer { a: access b: access c: access d: access } }", "TOO_COMPLEX", "3"),
        ("{" + " __typename" * 5 + "}", "TOO_COMPLEX", "4"),
        ("{ viewer { access" + " @include(if: true)" * 3 + " } }", "TOO_COMPLEX", "2"),
        ("{ __schema { types { name } } }", "GRAPHQL_VALIDATION_FAILED", "ntrospection"),
    ],
)
def test_limit_is_the_setting(narrow: str, admin: Caller, query: str, code: str, says: str) -> None:
    answer = httpx.post(f"{narrow}/graphql", json={"query": query}, headers=admin.headers).json()
    assert {error["extensions"]["code"] for error in answer["errors"]} == {code}, answer
    assert any(says in error["message"] for error in answer["errors"]), answer


async def test_default_page_is_the_setting(narrow: str, admin: Caller) -> None:
    await admin.create_batch("b", {"o1": [], "o2": [], "o3": []})
    query = {"query": "{ objects { nodes { id } } }"}
    async with httpx.AsyncClient() as client:
        answer = (await client.post(f"{narrow}/graphql", json=query, headers=admin.headers)).json()
    assert len(answer["data"]["objects"]["nodes"]) == 2


@pytest.mark.parametrize("name", ["WAYBILL_STATEMENT_TIMEOUT_SECONDS", "WAYBILL_REQUEST_TIMEOUT_SECONDS"])
async def test_time_out_is_the_setting(database_url: str, admin: Caller, name: str) -> None:
    lock = await asyncpg.connect(database_url)
    query = {"query": "{ batches { nodes { id } } }"}
    with served(database_url, **{name: "1"}) as url:
        async with lock.transaction(), httpx.AsyncClient(timeout=20) as client:
            await lock.execute("LOCK TABLE batches")
            started = time.perf_counter()
            answer = await client.post(f"{url}/graphql", json=query, headers=admin.headers)
            seconds = time.perf_counter() - started
    await lock.close()
    assert answer.json()["errors"][0]["extensions"]["code"] == "TIMEOUT"
    assert 0.9 < seconds < 5


def preflight(url: str, origin: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    return httpx.options(f"{url}/graphql", headers=headers)


def test_only_the_origins_of_the_setting_may_call(narrow: str, service_url: str, admin: Caller) -> None:
    allowed = preflight(narrow, ORIGIN)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    for header in ("authorization", "idempotency-key"):
        assert header in allowed.headers["access-control-allow-headers"].lower()
    answer = httpx.post(
        f"{narrow}/graphql", json={"query": "{ __typename }"}, headers={**admin.headers, "Origin": ORIGIN}
    )
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in answer.headers["access-control-expose-headers"].lower()
    for url, origin in ((narrow, "https://evil.example"), (service_url, ORIGIN)):
        assert "access-control-allow-origin" not in preflight(url, origin).headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://u@h/d"),
        ("DATABASE_URL", "db.internal/waybill"),
        ("DATABASE_URL", "postgresql://u:p@h:http/d"),
        ("DATABASE_URL", "postgresql://u:p@h:5432,h:65536/d"),
        ("DATABASE_URL", "postgresql://u:pass/word@h/d"),
        ("DATABASE_CONNECTIONS", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("CORS_ORIGINS", "app.example"),
        ("CORS_ORIGINS", "https://app.example, https://app.example/"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("METRICS_PORT", "-1"),
        ("METRICS_PORT", "65536"),
        ("PAGE_SIZE", "0"),
        ("REAP_HOURS", "-1"),
        ("REAP_HOURS", "8761"),
        ("REAP_ACTS", "sometimes"),
        ("QUARANTINE_DAYS", "0"),
        ("PAGE_SIZE", "101"),
        ("PAGE_SIZE", "ten"),
        ("MAX_KEY_CHARACTERS", "257"),
        ("MAX_ID_CHARACTERS", "601"),
        ("MAX_OBJECTS_PER_CALL", "16385"),
        ("MAX_FILE_BYTES", str(5 * 1024**4 + 1)),
        ("MULTIPART_BYTES", str(5 * 1024**3 + 1)),
        ("MULTIPART_SECONDS", "0"),
        ("DEFAULT_QUOTA_BYTES", "0"),
        ("DEFAULT_QUOTA_BYTES", "1TB"),
        ("DEFAULT_QUOTA_OBJECTS", str(1 << 63)),
        ("REQUEST_TIMEOUT_SECONDS", "-1"),
        ("REQUEST_TIMEOUT_SECONDS", "nan"),
        ("REQUEST_TIMEOUT_SECONDS", "inf"),
        ("STATEMENT_TIMEOUT_SECONDS", "inf"),
        ("STATEMENT_TIMEOUT_SECONDS", "2147484"),
        ("INTROSPECTION", "perhaps"),
        ("S3_BUCKETS", "fine, Not_Fine"),
        ("S3_BUCKETS", "a/b"),
        ("S3_ENDPOINT", "localhost:8333"),
        ("S3_PUBLIC_ENDPOINT", "ftp://files.example"),
        ("S3_SSE", "aes256"),
        ("TOKEN_SECRET", "x" * 31),
        ("OIDC_ISSUER", "issuer.example"),
        ("OIDC_ISSUER", "http://issuer.example"),
        ("OIDC_ISSUER", "https://issuer.example"),  # without an audience
        ("CANARY_WEBHOOK_URL", "ftp://hooks.example"),
        ("CANARY_WEBHOOK_URL", "http://127.0.0.1@hooks.example/"),
        ("CANARY_WEBHOOK_URL", "https://[hooks.example/"),
        ("CANARY_WEBHOOK_SECRET", "x" * 15),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "http://localhost"),
        ("RATE_LIMIT_KEY_POINTS", "0"),
        ("RATE_LIMIT_TENANT_POINTS", "many"),
        ("RATE_LIMIT_FAILED_LOGINS", "0"),
        ("TRUSTED_PROXIES", "proxy.internal"),
        ("TRUSTED_PROXIES", "10.0.0.1, *"),
    ],
)
def test_value_that_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"WAYBILL_{name}"):
        Settings.read({f"WAYBILL_{name}": value})


@pytest.mark.parametrize(
    "url",
    ["postgresql://", "postgres://u:p%2F@[::1]:5432,h/d", "postgresql://u@/d?host=/run/postgresql&port=5432"],
)
def test_database_is_wherever_libpq_finds_it(url: str) -> None:
    assert str(Settings.read({"WAYBILL_DATABASE_URL": url}).database_url) == url


def test_wrong_address_of_the_database_is_not_repeated() -> None:
    with pytest.raises(ValueError, match="WAYBILL_DATABASE_URL") as error:
        Settings.read({"WAYBILL_DATABASE_URL": "postgresql://u:hunter/2@h/d"})
    assert "hunter" not in str(error.value)


def test_reaper_works_as_often_as_far_and_as_slowly_as_it_is_set() -> None:
    given = {"WAYBILL_REAP_HOURS": "6", "WAYBILL_REAP_ACTS": "true", "WAYBILL_QUARANTINE_DAYS": "7"}
    schedule = Schedule(every=timedelta(hours=6), acts=True, window=timedelta(days=7))
    assert reaping(Settings.read(given)) == schedule
    assert reaping(Settings.read({})) == Schedule(timedelta(days=1), acts=False, window=timedelta(days=30))
    assert reaping(Settings.read(given | {"WAYBILL_REAP_HOURS": "0"})) is None


def test_secret_does_not_print() -> None:
    given = {
        "DATABASE_URL": "postgresql://u:hunter2@h/d",
        "REDIS_URL": "redis://:hunter2@h:6379/0",
        "TOKEN_SECRET": "hunter2" * 5,
        "CANARY_WEBHOOK_URL": "https://h.example/hunter2",
        "CANARY_WEBHOOK_SECRET": "hunter2" * 5,
    }
    settings = Settings.read({f"WAYBILL_{name}": url for name, url in given.items()})
    assert "hunter2" not in repr(settings)
    assert "hunter2" in str(settings.database_url)
    assert "hunter2" in str(settings.redis_url)
