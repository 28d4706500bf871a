"""S3 where sync sources have their files, in buckets that are not ours: by other endpoints, in other names.

Trouble                 what S3 does not give
├── NotThere            NOT_FOUND
├── Denied              ACCESS_DENIED
│   └── Unfit           ACCESS_DENIED
├── Changed             CHANGED
├── Away                NETWORK
└── Misconfigured       CONFIGURATION
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from botocore import UNSIGNED
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
)
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.parsers import ResponseParserError

from models.locations import Location
from storage.client import _BUSY, _NO_FILES
from storage.loopback import is_loopback
from storage.signing import Credentials

if TYPE_CHECKING:  # the types are not installed with the service
    from types_aiobotocore_s3.client import S3Client

_MOST_CLIENTS = 32  # beside those in use
_IDLE_SECONDS = 600.0
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0
_CONNECTIONS = 64

# What S3 says when it is not the file's fault.
_WRONG = {
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "InvalidAccessKeyId",
    "InvalidBucketName",
    "InvalidToken",
    "NoSuchBucket",
    "NotSignedUp",
    "PermanentRedirect",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
}


class Trouble(Exception):
    """S3 does not give the file."""

    code: ClassVar[str]

    def __init__(self, why: str = "") -> None:
        """``why`` is what S3 or its client says: a code or a few words."""
        super().__init__(f"{type(self).__doc__} ({why})" if why else str(type(self).__doc__))


class NotThere(Trouble):
    """S3 has no such file."""

    code = "NOT_FOUND"


class Denied(Trouble):
    """S3 refuses the file to the identity of the source."""

    code = "ACCESS_DENIED"


class Unfit(Denied):
    """S3 does not take the request."""  # for whoever it may be: the name is too long, for instance


class Changed(Trouble):
    """The file was replaced in S3 while it was read."""

    code = "CHANGED"


class Away(Trouble):
    """S3 does not answer."""

    code = "NETWORK"


class Misconfigured(Trouble):
    """S3 cannot be asked as the source says: its bucket, region or credentials are wrong."""

    code = "CONFIGURATION"


@dataclass(slots=True)
class _Client:
    """Closed when it is not ``wanted`` any more and the last of its users has gone."""

    s3: "S3Client"
    stack: AsyncExitStack
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)
    wanted: bool = True


class Locations:
    """A client for each identity at each endpoint, made when it is first needed and kept for a while.

    ``region`` is that of locations which name none. ``named`` are credentials by the profiles that name them; other
    profiles are those of the AWS configuration.
    """

    def __init__(self, region: str, named: Mapping[str, Credentials]) -> None:
        self._region = region
        self._named = named
        self._clients: dict[tuple[str, ...], _Client] = {}
        self._making: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._loader: Any = None  # of the SDK's descriptions of services, which take 0.1 s to read

    @asynccontextmanager
    async def client(self, place: Location, tenant_slug: str) -> AsyncIterator["S3Client"]:
        """Raises what is wrong with asking there, inside too, where ``asking`` has named it."""
        key = (place.endpoint, place.region, place.profile, place.role, tenant_slug if place.role else "")
        while (one := self._clients.get(key)) is None:
            if key not in self._making:
                self._making[key] = asyncio.create_task(self._new(key, place, tenant_slug))
            await asyncio.shield(self._making[key])
        one.users += 1
        try:
            yield one.s3
        except Misconfigured:
            # The next one reads the configuration anew, which may have been mended.
            if self._clients.get(key) is one:
                del self._clients[key]
            one.wanted = False
            raise
        finally:
            one.users -= 1
            one.used_at = time.monotonic()
            if not one.wanted and not one.users:
                await one.stack.aclose()

    async def close_idle(self, most: int = _MOST_CLIENTS) -> None:
        """Those that nobody has used for a while, and of more than so many those that were used longest ago."""
        for key, one in sorted(self._clients.items(), key=lambda item: item[1].used_at):
            is_old = len(self._clients) > most or time.monotonic() - one.used_at > _IDLE_SECONDS
            if is_old and not one.users and self._clients.get(key) is one:
                del self._clients[key]
                await one.stack.aclose()

    async def close(self) -> None:
        if self._making:
            await asyncio.wait(list(self._making.values()))
        for one in self._clients.values():
            await one.stack.aclose()
        self._clients.clear()

    async def _new(self, key: tuple[str, ...], place: Location, tenant_slug: str) -> None:
        """By one task for all who want it: credentials may take a while, for which nobody else waits."""
        try:
            await self.close_idle(_MOST_CLIENTS - 1)
            self._clients[key] = await self._made(place, tenant_slug)
        finally:
            del self._making[key]

    async def _made(self, place: Location, tenant_slug: str) -> _Client:
        given = self._named.get(place.profile)
        signed = bool(place.profile or place.role)
        how = AioConfig(
            signature_version="s3v4" if signed else UNSIGNED,
            # Other servers than AWS seldom have a host name for each bucket.
            s3={"addressing_style": "path"} if place.endpoint else None,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 2},  # the worker tries again by itself
            max_pool_connections=_CONNECTIONS,
            proxies={} if is_loopback(place.endpoint) else None,  # None are those of the environment
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        stack = AsyncExitStack()
        with asking():
            session = self._session(place, given)
            region = place.region or session.get_config_variable("region") or self._region
            if place.role:
                session = await self._assuming(session, region, place.role, tenant_slug)
            client = await stack.enter_async_context(
                session.create_client(
                    "s3",
                    endpoint_url=place.endpoint or None,
                    region_name=region,
                    aws_access_key_id=given and given.access_key,
                    aws_secret_access_key=given and given.secret_key,
                    aws_session_token=given and given.token,
                    config=how,
                )
            )
        # As a header and not as a parameter, for which the SDK would hash each byte once more, on the event loop.
        client.meta.events.register("before-call.s3.GetObject", _want_checksums)
        _do_once(client)
        return _Client(client, stack)

    def _session(self, place: Location, given: Credentials | None) -> Any:
        session = AioSession(session_vars=_NO_FILES) if given else AioSession(profile=place.profile or None)
        if self._loader is None:
            self._loader = session.get_component("data_loader")
        session.register_component("data_loader", self._loader)
        return session

    async def _assuming(self, own: Any, region: str, role: str, tenant_slug: str) -> Any:
        """A session in the name of the role, whose owner lets us in for this tenant alone."""
        credentials = await own.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        fetcher = AioAssumeRoleCredentialFetcher(
            client_creator=partial(own.create_client, region_name=region),
            source_credentials=credentials,
            role_arn=role,
            extra_args={"ExternalId": tenant_slug, "RoleSessionName": f"waybill-{tenant_slug}"[:64]},
        )
        session = AioSession()
        session.register_component("data_loader", self._loader)
        # There is no public way.
        session._credentials = AioDeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role")  # noqa: SLF001
        return session


def _do_once(client: Any) -> None:
    """A sixth of what a small file takes the SDK to ask for: it works out anew for each what is the same for all.

    That is the host, as if it hung on the key, by rules that do not ask for that; and how it calls itself.
    """
    # There is no public way to either.
    client._ruleset_resolver._param_definitions.pop("Key", None)  # noqa: SLF001
    client.meta.events.unregister(
        "request-created.s3",
        client._user_agent_creator.rebuild_and_replace_user_agent_handler,  # noqa: SLF001
    )


def _want_checksums(params: dict[str, Any], **_: object) -> None:
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"


@contextmanager
def asking() -> Iterator[None]:
    """Makes Trouble of what the SDK raises."""
    try:
        yield
    except ClientError as error:
        raise _translated(error) from error
    except (BotocoreConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError) as error:
        raise Away(type(error).__name__) from error
    except CredentialRetrievalError as error:
        raise Misconfigured(type(error).__name__) from error
    except BotoCoreError as error:  # of which some name a profile or a file, which are not everybody's business
        raise Misconfigured(type(error).__name__) from error
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is one
        raise Away(type(error).__name__) from error


def _translated(error: ClientError) -> Trouble:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    code = str(error.response.get("Error", {}).get("Code", status))
    if status >= 500 or status == 429 or code in _BUSY:
        return Away(code)
    if error.operation_name == "AssumeRole" or code in _WRONG or status in (301, 401):
        return Misconfigured(code)
    if status == 404:
        return NotThere()
    if status in (409, 412, 416):
        return Changed()
    return Denied(code) if status == 403 else Unfit(code)
