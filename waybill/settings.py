"""Every setting of the service, read once from the environment (``WAYBILL_*``). README.md has the same table."""

import dataclasses
import logging
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.config import Config
from starlette.datastructures import CommaSeparatedStrings, Secret

from models.ids import MAX_ROWS_PER_CALL
from storage.signing import Endpoint


def _setting(default: Any, text: str) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/?#@]+|\*")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_PORTS = ("port", "metrics_port")
_MAY_BE_ZERO = (*_PORTS, "reap_hours", "sync_reserve_bytes")
_MOST = dict.fromkeys(_PORTS, 65_535) | {
    "max_objects_per_call": MAX_ROWS_PER_CALL,
    # A row of an index has at most 2,704 bytes, and a character up to 4.
    "max_id_characters": 600,
    "max_key_characters": 256,
    "max_file_bytes": 5 * 1024**4,
    "multipart_bytes": 5 * 1024**3,
    "multipart_seconds": 30 * 24 * 3600,
    "default_quota_bytes": (1 << 63) - 1,
    "default_quota_objects": (1 << 63) - 1,
    "upload_seconds": 7 * 24 * 3600,
    "reap_hours": 8_760,
    "quarantine_days": 3_650,
    # A day: PostgreSQL counts milliseconds in 32 bits, and timers take nothing infinite.
    "request_timeout_seconds": 86_400,
    "statement_timeout_seconds": 86_400,
}


@dataclass(frozen=True)
class Settings:
    """Durations say their unit; sizes are bytes, characters or counts."""

    database_url: Secret = _setting(Secret(""), "PostgreSQL: `postgresql://user:password@host:port/database`")
    database_connections: int = _setting(10, "most connections to PostgreSQL per process")
    redis_url: Secret = _setting(
        Secret(""),
        "Redis that all processes count in: `redis://:password@host:port/0`; without it each counts by itself",
    )
    rate_limit_key_points: int = _setting(200_000, "points a minute that one key may spend")
    rate_limit_tenant_points: int = _setting(2_000_000, "points a minute that all keys of one tenant may spend")
    rate_limit_failed_logins: int = _setting(
        20,
        "requests a minute from one address without a valid key or signature, or for a tenant that the key does not"
        " open",
    )
    trusted_proxies: CommaSeparatedStrings = _setting(
        CommaSeparatedStrings(()),
        "addresses or networks of proxies whose `X-Forwarded-For` says where a request is from, comma separated",
    )
    host: str = _setting("127.0.0.1", "address to listen on")
    port: int = _setting(8000, "port to listen on")
    metrics_host: str = _setting("127.0.0.1", "address that shows metrics to Prometheus")
    metrics_port: int = _setting(0, "its port, another one for each process of a machine; 0 shows none")
    s3_buckets: CommaSeparatedStrings = _setting(
        CommaSeparatedStrings(()), "buckets for files, comma separated; new files go to all of them alike"
    )
    s3_region: str = _setting("us-east-1", "their region")
    s3_endpoint: str = _setting("", "URL of S3 for the service; without it AWS")
    s3_public_endpoint: str = _setting("", "URL of S3 for clients, in presigned URLs; without it the same")
    s3_path_style: bool = _setting(False, "the bucket is in the path of URLs instead of the host name")
    s3_sse: str = _setting("", "encryption that uploads ask for: `AES256` or `aws:kms`")
    s3_events_queue_url: str = _setting(
        "", "URL of the SQS queue that the buckets notify of new objects, so that uploads complete by themselves"
    )
    token_secret: Secret = _setting(
        Secret(""), "signs the tokens of `waybill token`: 32 characters or more, the same for every process"
    )
    oidc_issuer: str = _setting("", "OpenID Connect issuer whose tokens are let in: its URL, exactly as in their `iss`")
    oidc_audience: str = _setting("", "what their `aud` must be or hold")
    oidc_claim: str = _setting("sub", "their claim that is a user's OIDC subject; not one that users choose themselves")
    canary_webhook_url: Secret = _setting(Secret(""), "is told by `POST` who used a canary key")
    canary_webhook_secret: Secret = _setting(Secret(""), "signs what it is told: 16 characters or more")
    encryption_keys: Secret = _setting(
        Secret(""),
        "encrypt the secrets of sync sources: 64 hexadecimal digits each, the newest first, comma separated; the same"
        " for every process",
    )
    sync_root: str = _setting("", "directory of local copies; without it there are none in directories")
    sync_reserve_bytes: int = _setting(
        1024**3, "bytes that stay free on its disk: with less, the worker waits before it copies more"
    )
    sync_profiles: CommaSeparatedStrings = _setting(
        CommaSeparatedStrings(()),
        "profiles of the AWS configuration that sync sources may use: `tenant:profile`, comma separated",
    )
    sync_endpoints: CommaSeparatedStrings = _setting(
        CommaSeparatedStrings(()), "URLs of S3 beside AWS that sync sources may use, comma separated"
    )
    sync_default_source: str = _setting("", "the source, as `tenant.name`, that `/sync/` without one is about")
    sync_limited_status: int = _setting(429, "HTTP status of a notice beyond the limit: 429, or 412 for old clients")
    rate_limit_sync_notices: int = _setting(100_000, "notices a minute that one sync source may send")
    cors_origins: CommaSeparatedStrings = _setting(
        CommaSeparatedStrings(()), "web origins that may call the API, comma separated"
    )
    log_level: str = _setting("INFO", "least level that is logged")
    introspection: bool = _setting(True, "answer introspection queries and suggest names in errors")
    request_timeout_seconds: float = _setting(60.0, "a request is stopped and rolled back after this")
    statement_timeout_seconds: float = _setting(15.0, "one SQL statement is stopped after this")
    max_body_bytes: int = _setting(32 * 1024 * 1024, "largest body of a mutation; a query has at most 512 KiB")
    max_query_tokens: int = _setting(10_000, "lexical tokens in one GraphQL document")
    max_query_depth: int = _setting(15, "nesting of fields in one operation")
    max_query_fields: int = _setting(1_000, "fields in one operation, fragments counted where they are used")
    max_query_aliases: int = _setting(50, "aliases in one operation")
    max_query_root_fields: int = _setting(20, "fields at the top of one operation")
    max_query_directives: int = _setting(50, "directives in one operation")
    page_size: int = _setting(10, "nodes of a list when neither `first` nor `last` is given")
    max_page_size: int = _setting(100, "most nodes of one page, ids of `nodes`, rows of a facet")
    max_rows_per_request: int = _setting(20_000, "rows of all lists in one answer")
    max_answer_values: int = _setting(250_000, "values in one answer")
    max_answer_characters: int = _setting(32_000_000, "characters of all texts in one answer")
    max_objects_per_call: int = _setting(10_000, "objects in one mutation")
    max_id_characters: int = _setting(256, "length of a batch or object id")
    max_key_characters: int = _setting(256, "length of a data key")
    max_value_characters: int = _setting(4_096, "length of a data value")
    max_pairs_per_object: int = _setting(256, "data pairs of one object")
    max_file_bytes: int = _setting(5 * 1024**4, "size of one file; S3 takes 5 TiB")
    multipart_bytes: int = _setting(
        64 * 1024**2, "a file of more bytes is uploaded in parts; S3 takes 5 GiB in one request"
    )
    max_verified_bytes: int = _setting(
        256 * 1024**2, "bytes that one `completeUploads` reads itself, where S3 keeps no SHA-256; the worker reads more"
    )
    upload_seconds: int = _setting(3_600, "how long a URL for an upload, or for a part of one, works")
    multipart_seconds: int = _setting(86_400, "how long an upload in parts may take")
    reap_hours: int = _setting(
        24, "hours from one scan of the buckets for bytes without a row, and rows without bytes, to the next; 0: never"
    )
    reap_acts: bool = _setting(False, "the worker moves bytes without a row to quarantine; otherwise it only reports")
    quarantine_days: int = _setting(30, "how long they stay there before they are deleted")
    default_quota_bytes: int = _setting(
        10**12, "bytes of all files of a tenant that is made without a quota of its own"
    )
    default_quota_objects: int = _setting(10_000_000, "objects of a tenant that is made without a quota of its own")

    def __post_init__(self) -> None:
        """Raises ValueError naming the variable that is out of range."""
        self._check_numbers()
        _check_database(str(self.database_url))
        if (url := str(self.redis_url)) and urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("WAYBILL_REDIS_URL must begin with redis://, rediss:// or unix://")
        for proxy in self.trusted_proxies:
            try:
                ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"WAYBILL_TRUSTED_PROXIES: {error}") from error
        for origin in self.cors_origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"WAYBILL_CORS_ORIGINS has {origin!r}, which is not as browsers send it: https://app.example"
                )
        if self.log_level.upper() not in logging.getLevelNamesMapping():
            raise ValueError(f"WAYBILL_LOG_LEVEL is {self.log_level!r}; it must be DEBUG, INFO, WARNING or ERROR")
        for bucket in self.s3_buckets:
            if not _BUCKET.fullmatch(bucket):
                raise ValueError(f"WAYBILL_S3_BUCKETS names {bucket!r}, which cannot be a bucket")
        for name in ("s3_endpoint", "s3_public_endpoint"):
            if url := getattr(self, name):
                try:
                    Endpoint.of(url, "bucket", region=self.s3_region, path_style=self.s3_path_style)
                except ValueError as error:
                    raise ValueError(f"WAYBILL_{name.upper()}: {error}") from error
        if self.s3_events_queue_url:
            _check_url("WAYBILL_S3_EVENTS_QUEUE_URL", self.s3_events_queue_url)
        self._check_credentials()
        self._check_syncs()
        if self.s3_sse not in ("", "AES256", "aws:kms"):
            raise ValueError(f"WAYBILL_S3_SSE is {self.s3_sse!r}; it must be AES256 or aws:kms")

    def _check_numbers(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                least, most = int(field.name not in _MAY_BE_ZERO), _MOST.get(field.name, math.inf)
                if not least <= value <= most:
                    may_be = f"{least} or more" if most == math.inf else f"from {least} to {most:,}"
                    raise ValueError(f"WAYBILL_{field.name.upper()} is {value}; it must be {may_be}")
        if self.page_size > self.max_page_size:
            raise ValueError("WAYBILL_PAGE_SIZE must not be more than WAYBILL_MAX_PAGE_SIZE")

    def _check_credentials(self) -> None:
        if 0 < len(str(self.token_secret)) < 32:
            raise ValueError("WAYBILL_TOKEN_SECRET must have 32 characters or more")
        if self.oidc_issuer:
            _check_url("WAYBILL_OIDC_ISSUER", self.oidc_issuer)
            if not self.oidc_audience or not self.oidc_claim:
                raise ValueError("WAYBILL_OIDC_ISSUER needs WAYBILL_OIDC_AUDIENCE and WAYBILL_OIDC_CLAIM")
        if url := str(self.canary_webhook_url):
            _check_url("WAYBILL_CANARY_WEBHOOK_URL", url)
        if (url or str(self.canary_webhook_secret)) and len(str(self.canary_webhook_secret)) < 16:
            raise ValueError("WAYBILL_CANARY_WEBHOOK_SECRET must have 16 characters or more")

    def _check_syncs(self) -> None:
        _ = self.encryption_key_bytes
        if self.sync_root and not Path(self.sync_root).is_absolute():
            raise ValueError("WAYBILL_SYNC_ROOT must be an absolute path")
        for pair in self.sync_profiles:
            if not all(pair.partition(":")[::2]):
                raise ValueError(
                    f"WAYBILL_SYNC_PROFILES has {pair!r}, which is not a tenant and a profile: acme:backup"
                )
        for url in self.sync_endpoints:
            try:
                Endpoint.of(url, "bucket", region=self.s3_region, path_style=True)
            except ValueError as error:
                raise ValueError(f"WAYBILL_SYNC_ENDPOINTS: {error}") from error
        if self.sync_default_source and not all(self.sync_default_source.partition(".")[::2]):
            raise ValueError("WAYBILL_SYNC_DEFAULT_SOURCE must be a tenant and a source of it: acme.photos")
        if self.sync_limited_status not in (412, 429):
            raise ValueError(f"WAYBILL_SYNC_LIMITED_STATUS is {self.sync_limited_status}; it must be 429 or 412")

    @property
    def encryption_key_bytes(self) -> list[bytes]:
        """The newest first. Raises ValueError."""
        found = [one.strip() for one in str(self.encryption_keys).split(",") if one.strip()]
        if not all(re.fullmatch(r"[0-9a-fA-F]{64}", one, re.ASCII) for one in found):
            raise ValueError("WAYBILL_ENCRYPTION_KEYS must be 64 hexadecimal digits each: openssl rand -hex 32")
        return [bytes.fromhex(one) for one in found]

    @property
    def default_quotas(self) -> dict[str, int]:
        """By their names in a tenant."""
        return {"quota_bytes": self.default_quota_bytes, "quota_objects": self.default_quota_objects}

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ) -> "Settings":
        """Raises ValueError naming the variable whose value cannot be read."""
        config = Config(environ=environ, env_prefix="WAYBILL_")
        kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(cls)}
        # A default is cast like the rest, and a Secret made of a Secret prints as neither.
        defaults = {field.name: str(field.default) for field in dataclasses.fields(cls)}
        return cls(**{name: config(name.upper(), cast=kinds[name], default=defaults[name]) for name in kinds})


def _check_database(url: str) -> None:
    """Raises ValueError, which does not repeat the URL: it has a password. The rest is the driver's to say."""
    scheme, _, rest = url.partition("://")
    hosts = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].split(",")
    ports = [found[1] for host in hosts if (found := re.search(r":([^:\]]*)$", host))]
    is_port = [port.isdecimal() and int(port) <= _MOST["port"] for port in ports]
    if url and (scheme not in ("postgresql", "postgres") or not all(is_port)):
        raise ValueError(
            "WAYBILL_DATABASE_URL must be like postgresql://user:password@host:port/database; in a password"
            " / ? # and @ are written %2F, %3F, %23 and %40"
        )


def _check_url(variable: str, text: str) -> None:
    """Raises ValueError unless nobody on the way can read or change what is said there."""
    try:
        url = urlsplit(text)
        secure = url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK)
    except ValueError:
        secure = False
    if not secure or not url.hostname:
        raise ValueError(f"{variable} must be a URL that begins with https:// (or http:// on this machine)")
