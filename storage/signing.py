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
from typing import Any
from urllib.parse import quote, urlsplit

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SECONDS = 7 * 24 * 3600

# Names of most files, types and keys: what they have of other characters is soon encoded, or nothing.
_IS_COMMON = re.compile(r'[\w.~ ;="/-]*', re.ASCII).fullmatch
_IS_PLAIN = re.compile(r"[\w.~/-]*", re.ASCII).fullmatch
_IS_PRINTABLE = re.compile(r"[!#-\[\]-~\xa1-\U0010ffff]*").fullmatch

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

        It has neither quotation marks nor backslashes, so that a presigned URL is the same in JSON.

        Without ``path_style`` the bucket is in the host name, unless no host name or certificate can have it (an IP
        address; a dot under https; odd characters): botocore goes by the path then, too.
        """
        parts = urlsplit(url)
        odd = parts.query or parts.fragment or parts.username or not _IS_PRINTABLE(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or odd:
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
    signed = [("host", endpoint.host), *headers.items()] if headers else [("host", endpoint.host)]
    signed.sort()
    names = ";".join([name for name, _ in signed])
    day, to_sign, query, ordered = _shared(credentials, endpoint.region, now, expires_in, names)
    if params:
        own = [f"{_encoded_again(name)}={_encoded(value)}" for name, value in params.items()]
        query = "&".join([*own, query])
        ordered = "&".join(sorted(query.split("&"), key=_split))
    path = endpoint.prefix + _encoded_key(key)
    lines = [method, path, ordered]
    lines += [f"{name}:{' '.join(value.split())}" for name, value in signed]
    lines += ["", names, "UNSIGNED-PAYLOAD"]
    signature = day.sign(to_sign + sha256("\n".join(lines).encode()).hexdigest())
    return f"{endpoint.scheme}://{endpoint.host}{path}?{query}&X-Amz-Signature={signature}"


class Reading:
    """Signs GETs of files of one endpoint, all at ``now`` and for ``expires_in`` seconds, as ``presign`` does.

    What all of them share is put together once. Raises ValueError outside of 1 second to 7 days.
    """

    __slots__ = ("_after", "_before", "_day", "_ends", "_origin", "_prefix", "_query", "_to_sign")

    def __init__(self, credentials: Credentials, endpoint: Endpoint, *, now: datetime, expires_in: int) -> None:
        self._day, self._to_sign, query, ordered = _shared(credentials, endpoint.region, now, expires_in, "host")
        self._prefix = endpoint.prefix
        self._origin = f"{endpoint.scheme}://{endpoint.host}"
        self._query = f"&{query}&X-Amz-Signature="
        # Capital letters come before others.
        self._before = f"\n{ordered}&response-content-disposition="
        self._after = f"\nhost:{endpoint.host}\n\nhost\nUNSIGNED-PAYLOAD"

    def url(self, key: str, disposition: str, content_type: str) -> str:
        """The answer has these two headers."""
        path = self._prefix + _encoded_key(key)
        disposition = _encoded(disposition)
        content_type = _encoded_again(content_type)
        request = f"GET\n{path}{self._before}{disposition}&response-content-type={content_type}{self._after}"
        signature = self._day.sign(self._to_sign + sha256(request.encode()).hexdigest())
        return (
            f"{self._origin}{path}?response-content-disposition={disposition}&response-content-type={content_type}"
            f"{self._query}{signature}"
        )


@lru_cache(maxsize=64)
def _shared(
    credentials: Credentials, region: str, now: datetime, expires_in: int, names: str
) -> "tuple[_Day, str, str, str]":
    """Of all URLs of one second, whose signed headers have the ``names``: the day, what is signed before the request's
    hash, and the query as it is sent and in the order in which it is signed.
    """
    if not 1 <= expires_in <= MAX_SECONDS:
        raise ValueError(f"a URL can be signed for 1 to {MAX_SECONDS} seconds, not {expires_in}")
    time = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    day = _day(credentials, time[:8], region)
    query = day.query(time, expires_in, names)
    return day, f"{ALGORITHM}\n{time}\n{day.scope}\n", "&".join(query), "&".join(sorted(query, key=_split))


@dataclass(frozen=True, slots=True)
class _Day:
    """What all URLs of one day, region and credentials share."""

    scope: str
    credential: str
    token: tuple[str, ...]
    inner: Any  # of HMAC (RFC 2104) the two hashes, begun with the day's key: half of the time of hmac.digest
    outer: Any

    def query(self, time: str, expires_in: int, signed_headers: str) -> list[str]:
        return [
            f"X-Amz-Algorithm={ALGORITHM}",
            self.credential,
            f"X-Amz-Date={time}",
            f"X-Amz-Expires={expires_in}",
            f"X-Amz-SignedHeaders={_encoded_again(signed_headers)}",
            *self.token,
        ]

    def sign(self, text: str) -> str:
        inner, outer = self.inner.copy(), self.outer.copy()
        inner.update(text.encode())
        outer.update(inner.digest())
        signature: str = outer.hexdigest()
        return signature


@lru_cache(maxsize=16)
def _day(credentials: Credentials, date: str, region: str) -> _Day:
    scope = f"{date}/{region}/s3/aws4_request"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"X-Amz-Credential={_encoded(f'{credentials.access_key}/{scope}')}"
    token = () if credentials.token is None else (f"X-Amz-Security-Token={_encoded(credentials.token)}",)
    inner, outer = (sha256(bytes(byte ^ pad for byte in key.ljust(64, b"\0"))) for pad in (0x36, 0x5C))
    return _Day(scope, credential, token, inner, outer)


def _encoded(text: str) -> str:
    """As ``quote`` does, which takes ten times as long."""
    if not _IS_COMMON(text):
        return quote(text, safe="~")
    text = text.replace(" ", "%20").replace('"', "%22").replace("/", "%2F")
    return text.replace(";", "%3B").replace("=", "%3D")


def _encoded_key(key: str) -> str:
    return key if _IS_PLAIN(key) else quote(key, safe="/~")


_encoded_again = lru_cache(maxsize=256)(_encoded)  # the same few in all URLs


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _split(part: str) -> list[str]:
    """By name, then value: `=` sorts after characters that may follow in a longer name."""
    return part.split("=", 1)
