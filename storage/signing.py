"""Presigned URLs: AWS Signature Version 4 in the query string, for S3. Pure functions; nothing is sent.

After "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" in the Amazon S3 API Reference. The
parameters come in the order in which botocore writes them, so that its signer and this one give the same URL.
"""

import hmac
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SECONDS = 7 * 24 * 3600

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOSTABLE = {"http": re.compile(r"[a-z0-9][a-z0-9.-]+[a-z0-9]"), "https": re.compile(r"[a-z0-9][a-z0-9-]+[a-z0-9]")}


@dataclass(frozen=True, slots=True)
class Credentials:
    """``token`` is that of temporary credentials."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a bucket is reached: ``host`` is signed (without a default port), ``prefix`` is the path before the key."""

    scheme: str
    host: str
    prefix: str
    region: str

    @classmethod
    def of(cls, url: str, bucket: str, *, region: str, path_style: bool) -> "Endpoint":
        """``url`` is that of S3 as the client of the presigned URL sees it. Raises ValueError when it is not one.

        Without ``path_style`` the bucket is in the host name, unless no host name or certificate can have it (an IP
        address; a dot under https; odd characters): botocore goes by the path then, too.
        """
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError(f"{url!r} is not the http or https URL of an S3 endpoint")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if parts.port not in (None, _DEFAULT_PORTS[parts.scheme]):
            host = f"{host}:{parts.port}"
        path = parts.path.rstrip("/")
        if path_style or not _HOSTABLE[parts.scheme].fullmatch(bucket) or _is_address(parts.hostname):
            return cls(parts.scheme, host, f"{path}/{quote(bucket, safe='~')}/", region)
        return cls(parts.scheme, f"{bucket}.{host}", f"{path}/", region)


def presign(
    credentials: Credentials,
    method: str,
    endpoint: Endpoint,
    key: str,
    *,
    now: datetime,
    expires_in: int,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> str:
    """The URL that allows one ``method`` on ``key`` for ``expires_in`` seconds from ``now`` (which knows its offset).

    The client must send each of ``headers`` (lower-case names) with exactly this value; the body is not signed.
    ``params`` are those of the operation, such as ``response-content-disposition``. Raises ValueError outside of 1
    second to 7 days.
    """
    if not 1 <= expires_in <= MAX_SECONDS:
        raise ValueError(f"a URL can be signed for 1 to {MAX_SECONDS} seconds, not {expires_in}")
    time = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    day = _day(credentials, time[:8], endpoint.region)
    signed = [("host", endpoint.host), *headers.items()] if headers else [("host", endpoint.host)]
    signed.sort()
    names = ";".join([name for name, _ in signed])

    query = [f"{_encoded_name(name)}={quote(value, safe='~')}" for name, value in params.items()] if params else []
    query += [
        f"X-Amz-Algorithm={ALGORITHM}",
        day.credential,
        f"X-Amz-Date={time}",
        f"X-Amz-Expires={expires_in}",
        f"X-Amz-SignedHeaders={_encoded_name(names)}",
        *day.token,
    ]
    path = endpoint.prefix + quote(key, safe="/~")
    lines = [method, path, "&".join(sorted(query, key=_split))]
    lines += [f"{name}:{' '.join(value.split())}" for name, value in signed]
    lines += ["", names, "UNSIGNED-PAYLOAD"]
    digest = sha256("\n".join(lines).encode()).hexdigest()
    signature = hmac.digest(day.key, f"{ALGORITHM}\n{time}\n{day.scope}\n{digest}".encode(), "sha256").hex()
    return f"{endpoint.scheme}://{endpoint.host}{path}?{'&'.join(query)}&X-Amz-Signature={signature}"


@dataclass(frozen=True, slots=True)
class _Day:
    """What all URLs of one day, region and credentials share."""

    scope: str
    credential: str
    token: tuple[str, ...]
    key: bytes


@lru_cache(maxsize=16)
def _day(credentials: Credentials, date: str, region: str) -> _Day:
    scope = f"{date}/{region}/s3/aws4_request"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"X-Amz-Credential={_encoded(f'{credentials.access_key}/{scope}')}"
    token = () if credentials.token is None else (f"X-Amz-Security-Token={_encoded(credentials.token)}",)
    return _Day(scope, credential, token, key)


def _encoded(text: str) -> str:
    return quote(text, safe="~")


_encoded_name = lru_cache(maxsize=256)(_encoded)  # the same few in all URLs


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _split(part: str) -> list[str]:
    """By name, then value: `=` sorts after characters that may follow in a longer name."""
    return part.split("=", 1)
