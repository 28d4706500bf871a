"""URLs of local copies, signed, so that whoever has one reads the copy without any other credential, for a while."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import urlencode

from models.errors import StorageUnavailable, Unauthenticated

PURPOSE = b"URLs of local copies"  # of the keys
_TENANT = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_EXPIRES = re.compile(r"[1-9][0-9]{0,10}", re.ASCII)


class Shown(NamedTuple):
    """What a URL shows of a copy: the file, or with ``width`` a thumbnail."""

    sync: str  # the primary key
    inline: bool = False
    width: int | None = None

    def target(self, **more: object) -> str:
        """The path, with what belongs to it and ``more`` as parameters."""
        own = {"disposition": "inline"} if self.inline else {}
        if self.width is None:
            return _joined(f"/copies/{self.sync}", {**own, **more})
        return _joined(f"/copies/{self.sync}/thumbnail", {**own, "width": self.width, **more})


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever has a signed URL: nobody in particular, but of one tenant, and paid for as one key."""

    tenant_id: int

    @property
    def key_id(self) -> str:
        return f"url:{self.tenant_id}"


class CopyUrls:
    """``keys`` sign, the first of them, and verify, all of them; without any there are no such URLs."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def sign(self, tenant_id: int, shown: Shown, until: datetime) -> str:
        """Relative to where the service is reached, which it does not know. Raises StorageUnavailable."""
        if not self._keys:
            raise StorageUnavailable(
                "The service signs no URLs of local copies: ask its operator to set WAYBILL_ENCRYPTION_KEYS."
            )
        target = shown.target(tenant=tenant_id, expires=int(until.timestamp()))
        return f"{target}&signature={_signature(self._keys[0], target)}"

    def holder(self, shown: Shown, tenant: str, expires: str, signature: str) -> Holder:
        """Raises Unauthenticated, and Expired where only the time is over."""
        target = shown.target(tenant=tenant, expires=expires)
        given = signature.encode(errors="replace")
        right = [hmac.compare_digest(_signature(key, target).encode(), given) for key in self._keys]
        if not any(right) or not _TENANT.fullmatch(tenant) or not _EXPIRES.fullmatch(expires):
            raise Unauthenticated
        if int(expires) < datetime.now(UTC).timestamp():
            raise Expired
        return Holder(int(tenant))


class Expired(Unauthenticated):
    """The URL is over: ask for another one."""


def _joined(path: str, parameters: dict[str, object]) -> str:
    return f"{path}?{urlencode(parameters)}" if parameters else path


def _signature(key: bytes, target: str) -> str:
    return hmac.new(key, target.encode(errors="replace"), hashlib.sha256).hexdigest()
