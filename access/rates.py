"""How much a key, a tenant, a sync source and an address may ask for: the one place that decides."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from prometheus_client import Counter

from access.buckets import Bucket, Buckets
from models.errors import RateLimited, TooComplex, WaybillError

_MOST_KNOWN = 10_000
_IPV6_NETWORK = 64  # bits: the least that anybody gets, all of whose addresses are his

_failed_logins = Counter(
    "waybill_failed_logins_total", "requests without a valid key or signature, or for another's tenant"
)
_rate_limited = Counter("waybill_rate_limited_total", "requests that were refused, by what had too little", ["bucket"])


@dataclass(frozen=True, slots=True)
class RateLimits:
    """A minute; all are settings."""

    key_points: int = 200_000
    tenant_points: int = 2_000_000  # so that no single key can spend what all have
    failed_logins: int = 20  # of one address
    sync_notices: int = 100_000  # of one source


class Payer(Protocol):
    """Who spends points: a caller, or whoever has a signed URL."""

    @property
    def key_id(self) -> str: ...

    @property
    def tenant_id(self) -> int: ...


class Reservation(NamedTuple):
    """What became of the wish to spend points; nothing was spent where it is refused."""

    requested: int
    remaining: int  # in the bucket that has least
    reset_at: datetime  # when that will be full again
    refusal: WaybillError | None


class Rates:
    def __init__(self, buckets: Buckets, limits: RateLimits) -> None:
        self._buckets = buckets
        self._limits = limits
        self._known: dict[tuple[str, int], list[Bucket]] = {}  # of those who asked last

    async def reserve(self, caller: Payer, points: int, spent: int = 0, least: int = 0) -> Reservation:
        """Spend so many points of the key and its tenant, less those that the request has ``spent``.

        If there are fewer, none but the ``least`` that it costs to have asked, unless as much was spent already.
        """
        key, tenant = both = self._of(caller)
        most = min(key.points, tenant.points)
        fits, (of_key, of_tenant) = await self._buckets.take(both, points - spent if points <= most else 0)
        if least > spent and points > least and not (fits and points <= most):
            asked = await self.reserve(caller, least)
            if asked.refusal is not None:
                return asked
            spent, (_, (of_key, of_tenant)) = least, await self._buckets.take(both, 0)
        left, left_to_all = of_key.left(key.points), of_tenant.left(tenant.points)
        remaining, full_in = (left, of_key.full_in()) if left < left_to_all else (left_to_all, of_tenant.full_in())
        refusal: WaybillError | None = None
        if points > most:
            message = f"The operation costs {points:,} points, and {most:,} a minute are allowed: ask for less at once."
            refusal = TooComplex(message, limit="points", maximum=most, amount=points)
        elif not fits:
            # For all of it: who repeats the request has spent nothing of that one yet.
            seconds = max(of_key.fits_in(key.points, points), of_tenant.fits_in(tenant.points, points))
            _rate_limited.labels("key" if left < points - spent else "tenant").inc()
            refusal = RateLimited(
                f"The operation costs {points:,} points; {left:,} are left to the key, {left_to_all:,} to the tenant:"
                f" repeat it in {_shown(seconds)}.",
                retryAfter=seconds,
            )
        return Reservation(points, remaining, datetime.now(UTC) + timedelta(seconds=full_in), refusal)

    def _of(self, caller: Payer) -> list[Bucket]:
        # A token counts as a key of its user, and an operator's key is one, whomever he acts as. Who makes many keys
        # for himself is bounded by what his tenant has.
        who = caller.key_id, caller.tenant_id
        if (known := self._known.get(who)) is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            limits = self._limits
            self._known[who] = known = [
                Bucket(f"key/{caller.key_id}", limits.key_points),
                Bucket(f"tenant/{caller.tenant_id}", limits.tenant_points),
            ]
        return known

    async def reserve_notice(self, source_id: int) -> None:
        """Raises RateLimited after too many of them from this sync source."""
        bucket = Bucket(f"source/{source_id}", self._limits.sync_notices)
        fits, [level] = await self._buckets.take([bucket], 1)
        if not fits:
            _rate_limited.labels("source").inc()
            seconds = level.fits_in(bucket.points, 1)
            raise RateLimited(f"Too many notices: send it again in {_shown(seconds)}.", retryAfter=seconds)

    async def count_failed_login(self, address: str) -> None:
        """Raises RateLimited after too many of them from this address, which does not concern its good credentials."""
        _failed_logins.inc()
        bucket = Bucket(f"address/{_network(address)}", self._limits.failed_logins)
        fits, [level] = await self._buckets.take([bucket], 1)
        if not fits:
            _rate_limited.labels("address").inc()
            seconds = level.fits_in(bucket.points, 1)
            message = (
                f"Too many requests without a valid key or signature from this address: try again in {_shown(seconds)}."
            )
            raise RateLimited(message, retryAfter=seconds)


def _shown(seconds: int) -> str:
    return "1 second" if seconds == 1 else f"{seconds} seconds"


def _network(address: str) -> str:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address  # a name that a proxy gives, or none at all
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((int(ip), _IPV6_NETWORK), strict=False))
    return str(ip)
