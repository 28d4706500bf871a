"""Everything that can go wrong by a caller's doing. The docstring is the message, ``code`` is the contract.

WaybillError
├── BadInput              BAD_INPUT
│   ├── BadCursor         BAD_CURSOR
│   └── TooComplex        TOO_COMPLEX
├── Unauthenticated       UNAUTHENTICATED
├── TenantSuspended       TENANT_SUSPENDED
├── Forbidden             FORBIDDEN
├── NotFound              NOT_FOUND
│   └── CopyMissing       COPY_MISSING
├── Conflict              CONFLICT
│   ├── AlreadyExists     ALREADY_EXISTS
│   ├── BatchNotEmpty     BATCH_NOT_EMPTY
│   ├── BatchNotComplete  BATCH_NOT_COMPLETE
│   ├── BatchSealed       BATCH_SEALED
│   ├── CopyChanged       COPY_CHANGED
│   ├── LastAdmin         LAST_ADMIN
│   └── IdempotencyConflict IDEMPOTENCY_CONFLICT
├── InProgress            IN_PROGRESS
├── CrossTenantGrant      CROSS_TENANT_GRANT
├── QuotaExceeded         QUOTA_EXCEEDED
├── FileNotComplete       FILE_NOT_COMPLETE
├── NoThumbnail           NO_THUMBNAIL
├── RateLimited           RATE_LIMITED
├── StorageUnavailable    STORAGE_UNAVAILABLE
└── Unavailable           UNAVAILABLE
    ├── TimedOut          TIMEOUT
    └── IssuerUnavailable ISSUER_UNAVAILABLE
"""

from typing import ClassVar

_MOST_ECHOED = 64  # characters of a text of the caller's in a message
_MOST_IN_EXTENSIONS = 600  # characters; no id is longer, whatever the settings


def short(text: str, most: int = _MOST_ECHOED) -> str:
    """``text`` as a message may quote it: callers send megabytes where an id belongs."""
    return text if len(text) <= most else f"{text[:most]}…"


class WaybillError(Exception):
    """Something went wrong."""

    code: ClassVar[str]

    def __init__(self, message: str | None = None, **extensions: object) -> None:
        """``message`` replaces the docstring where it can say more; ``extensions`` reach the client beside ``code``.

        A text in ``extensions``, or in a list there, that is longer than any id can be is shortened.
        """
        super().__init__(message or type(self).__doc__)
        shown = {name: _bounded(value) for name, value in extensions.items()}
        self.extensions: dict[str, object] = {"code": self.code, **shown}


def _bounded(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= _MOST_IN_EXTENSIONS else short(value)
    return [_bounded(one) for one in value] if isinstance(value, list) else value


class BadInput(WaybillError):
    """The input is not acceptable."""

    code = "BAD_INPUT"


class BadCursor(BadInput):
    """The cursor does not belong to this list: pass one that the same field gave with the same filter."""

    code = "BAD_CURSOR"


class TooComplex(BadInput):
    """The operation is too large: ask for less at once."""

    code = "TOO_COMPLEX"


class Unauthenticated(WaybillError):
    """A valid API key or token is needed: send the header "Authorization: Bearer wb_..."."""

    code = "UNAUTHENTICATED"


class TenantSuspended(WaybillError):
    """Your tenant is suspended: ask the operator of the service."""

    code = "TENANT_SUSPENDED"


class Forbidden(WaybillError):
    """Your access does not allow this."""

    code = "FORBIDDEN"


class NotFound(WaybillError):
    """There is no such thing, or it is not visible to you."""

    code = "NOT_FOUND"


class CopyMissing(NotFound):
    """The local copy is not where it should be: have it made again."""

    code = "COPY_MISSING"


class Conflict(WaybillError):
    """It was changed in the meantime: read it again and repeat the change."""

    code = "CONFLICT"


class AlreadyExists(Conflict):
    """The id is already in use."""

    code = "ALREADY_EXISTS"


class BatchNotEmpty(Conflict):
    """The batch still has objects: delete them first, or pass cascade: true."""

    code = "BATCH_NOT_EMPTY"


class BatchNotComplete(Conflict):
    """Not all files of the batch are complete: send what is missing, or delete those objects."""

    code = "BATCH_NOT_COMPLETE"


class BatchSealed(Conflict):
    """The batch is sealed: nothing in it changes any more."""

    code = "BATCH_SEALED"


class CopyChanged(Conflict):
    """The local copy was changed since it was made: have it made again."""

    code = "COPY_CHANGED"


class LastAdmin(Conflict):
    """The tenant would be left without an admin: make another user one first."""

    code = "LAST_ADMIN"


class IdempotencyConflict(Conflict):
    """This idempotency key was used for another request already: pass a new key, or repeat exactly that request."""

    code = "IDEMPOTENCY_CONFLICT"


class InProgress(WaybillError):
    """The first request with this idempotency key is still being answered: repeat it in a moment, with the same key."""

    code = "IN_PROGRESS"


class CrossTenantGrant(WaybillError):
    """There is no such user in your tenant: access is granted within a tenant only."""

    code = "CROSS_TENANT_GRANT"


class QuotaExceeded(WaybillError):
    """The tenant's quota does not allow for more: delete what is not needed, or ask the operator for more."""

    code = "QUOTA_EXCEEDED"


class FileNotComplete(WaybillError):
    """The file is not complete: there is nothing to read yet."""

    code = "FILE_NOT_COMPLETE"


class NoThumbnail(WaybillError):
    """There can be no thumbnail of this file."""

    code = "NO_THUMBNAIL"


class RateLimited(WaybillError):
    """More was asked for than is allowed in a minute: wait before you go on."""

    code = "RATE_LIMITED"


class Unavailable(WaybillError):
    """The database does not answer: try again in a moment. See what is there before you repeat a change."""

    code = "UNAVAILABLE"


class TimedOut(Unavailable):
    """The request took too long and was stopped: ask for less at once. See what is there before you repeat a change."""

    code = "TIMEOUT"


class IssuerUnavailable(Unavailable):
    """The issuer of this token does not answer: try again in a moment. API keys work meanwhile."""

    code = "ISSUER_UNAVAILABLE"


class StorageUnavailable(WaybillError):
    """S3 does not answer: try again in a moment. What was uploaded stays."""

    code = "STORAGE_UNAVAILABLE"
